"""Errors as `application/problem+json` (RFC 9457): our two sentences, what was wrong and what to do, and never a credential.

This module turns exceptions into answers; `client.errors` turns the answers back into the same exceptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from gb_pipeline.errors import (
    ConfigError,
    FormatRefused,
    GbError,
    InvalidResolution,
    InvalidSymbol,
    LakeError,
    NaiveTimestamp,
    NoDataInRange,
    ReadError,
    UniverseRefused,
    UnknownSeries,
    WindowRefused,
)
from gb_pipeline.providers.http.redaction import scrub

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[GbError], int], ...] = (
    (UnknownSeries, 404),
    (NoDataInRange, 404),
    (InvalidSymbol, 400),
    (InvalidResolution, 400),
    (NaiveTimestamp, 400),
    (ConfigError, 400),
    (WindowRefused, 422),
    (FormatRefused, 422),
    (UniverseRefused, 422),
    (ReadError, 400),
    (LakeError, 503),
)
_TITLES = {
    400: "Bad request", 401: "Token needed", 403: "Not allowed", 404: "Not found", 405: "Wrong method", 406: "Not acceptable",
    408: "Too slow", 409: "Conflict", 413: "Too large", 415: "Unknown format", 416: "Not in range", 421: "Wrong host",
    422: "Refused", 429: "Too many requests", 500: "Internal error", 503: "Not available",
}  # fmt: skip
# A folder of the machine says more of it than whoever asks needs to know.
_ABSOLUTE = re.compile(r"(?<![\w:/.])/(?:[\w.@+~-]+/)+([\w.@+~-]*)|[A-Za-z]:\\(?:[^\\\s]+\\)*([^\\\s]*)")


@dataclass
class Problem(Exception):
    """A refusal of the API itself, with the status that HTTP has for it.

    Attributes:
        status: of HTTP.
        what, fix: as of `GbError`.
        kind: a name that programs can look for, such as `TokenNeeded`.
        headers: of the answer.
        more: further fields of the answer.
    """

    status: int
    what: str
    fix: str = ""
    kind: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


def to_problem(error: GbError, folders: Iterable[Path] = ()) -> Problem:
    """What a refusal of the lake is over HTTP.

    Args:
        error: of any kind.
        folders: whose names are left out of the sentences.
    """
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    more: dict[str, Any] = {}
    if isinstance(error, UnknownSeries):
        more["near"] = list(error.near)
    if isinstance(error, NoDataInRange) and error.available is not None:
        more["available"] = [moment.isoformat() for moment in error.available]
    hidden = tuple(folders)
    return Problem(
        status, hide_places(error.what, hidden), hide_places(error.fix, hidden), type(error).__name__, more=more
    )


def hide_places(text: str, folders: Iterable[Path]) -> str:
    """A sentence without credentials, and without folders of this machine; the names of files stay.

    Example:
        >>> hide_places("/srv/lake/bars_1m/part-1.parquet is damaged", [Path("/srv/lake")])
        'bars_1m/part-1.parquet is damaged'
    """
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the lake")
    return _ABSOLUTE.sub(lambda found: found[1] or found[2] or "a folder", scrub(text))


def answer(problem: Problem, request_id: str) -> Response:
    """The response of a problem."""
    return JSONResponse(
        {
            "type": f"urn:gb:problem:{problem.kind or _TITLES.get(problem.status, 'Error').title().replace(' ', '')}",
            "title": _TITLES.get(problem.status, "Error"),
            "status": problem.status,
            "detail": problem.what,
            "fix": problem.fix,
            "kind": problem.kind,
            "request_id": request_id,
            **problem.more,
        },
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers),
    )


def handle_errors(app: FastAPI, folders: Iterable[Path]) -> None:
    """Let every refusal of the app become a problem; what is none, a bug, is the guard's."""
    hidden = tuple(folders)

    def id_of(request: Request) -> str:
        return str(request.scope.get("gb.request_id", ""))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(error, id_of(request))

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, GbError)
        return answer(to_problem(error, hidden), id_of(request))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer(_invalid(error), id_of(request))

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = {404: "nothing is at", 405: f"{request.method} is no method of"}.get(error.status_code)
        told = str(error.detail) if what is None else f"{what} {request.url.path:.100}"
        problem = Problem(error.status_code, told, "see /v1/openapi.json", headers=error.headers or {})
        return answer(problem, id_of(request))

    app.add_exception_handler(Problem, refused)
    app.add_exception_handler(GbError, failed)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)


def _invalid(error: RequestValidationError) -> Problem:
    problems = []
    for item in error.errors()[:5]:
        place = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
        problems.append(f"{place:.80}: {str(item['msg'])[:200]}")
    return Problem(
        422, "; ".join(problems), "correct the request; /v1/openapi.json has every parameter", "InvalidRequest"
    )
