"""Problems of the API as the exceptions that `Lake` raises for the same reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from gb_pipeline import errors
from gb_pipeline.errors import (
    ConfigError,
    GbError,
    LakeError,
    NoDataInRange,
    ReadError,
    ServerUnavailable,
    UnknownSeries,
)

# Who asks has to change something about the connection.
_OF_CONNECTION = {401, 403, 421}
# The same request may succeed later.
_LATER = {408, 425, 429, 502, 503, 504}
# A damaged lake, the other reason of 503, stays damaged.
_BUSY = {"", "TooManyRequests", "TooManyUploads", "TooSlow", "NotReady"}


def _kinds(kind: type[GbError]) -> Iterator[type[GbError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def may_succeed_later(status: int, kind: str) -> bool:
    """Whether a refusal is of the moment."""
    return status in _LATER and kind in _BUSY


def to_error(status: int, body: bytes, where: str) -> GbError:
    """The exception for an answer that is a refusal.

    Args:
        status: of the answer.
        body: of the answer; a problem, unless something between here and the server answered.
        where: the server, for messages.
    """
    try:
        problem: dict[str, Any] = json.loads(body)
        what, fix, kind = str(problem["detail"]), str(problem.get("fix", "")), str(problem.get("kind", ""))
    except (ValueError, KeyError, TypeError):
        return ServerUnavailable(
            f"{where} answered {status}, and not as a lake does", fix="check the URL of the server"
        )
    if status in _OF_CONNECTION:
        return ConfigError(what, fix=fix)
    if may_succeed_later(status, kind):
        return ServerUnavailable(what, fix=fix)
    return _of_lake(kind, problem, what, fix)


def _of_lake(kind: str, problem: dict[str, Any], what: str, fix: str) -> GbError:
    """The exception that the server's lake raised."""
    if kind == "UnknownSeries":
        return UnknownSeries(what, near=problem.get("near", ()), fix=fix)
    if kind == "NoDataInRange":
        ends = [datetime.fromisoformat(text) for text in problem.get("available", ())]
        return NoDataInRange(what, available=(ends[0], ends[1]) if len(ends) == 2 else None, fix=fix)
    # Those of lower modules, such as a damaged file, count as what they are kinds of.
    known = {kind.__name__: kind for kind in _kinds(GbError) if kind.__module__ == errors.__name__}
    try:
        return known.get(kind, LakeError if problem.get("status") == 503 else ReadError)(what, fix=fix)
    except TypeError:
        return ReadError(what, fix=fix)
