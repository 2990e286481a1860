"""This module turns Yahoo's error objects into typed errors, by the words that it uses.

Statuses without such an object are read by `http.responses`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from gb_pipeline.errors import (
    HistoryNotAvailable,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSymbol,
    VendorError,
)
from gb_pipeline.providers.http.redaction import scrub

WHO = "Yahoo"
# Charts answer under the first name, cookies, crumbs and searches under the second.
_ROOTS = ("chart", "finance", "quoteResponse", "spark")
_WITHIN = re.compile(r"within the last (\d+) days", re.I)
# The first that fits; all were seen in answers.
_SAYINGS: tuple[tuple[str, type[VendorError], str], ...] = (
    (
        r"no data found|delisted|symbol not found",
        UnknownSymbol,
        "check the spelling (`gb symbols search`); Yahoo forgets delisted shares",
    ),
    (
        r"only \d+ days? worth of",
        HistoryNotAvailable,
        "fetch shorter windows: Yahoo lowered what it answers at once",
    ),
    (
        r"data doesn't exist for startdate",
        HistoryNotAvailable,
        "set `listed_from` of the symbol: Yahoo has nothing of it in that time",
    ),
    (r"too many requests", RateLimited, "lower `rate_limit` of the source, or wait; it is asked again later"),
    (r"invalid (crumb|cookie)", TransientVendorError, "Yahoo refused its own cookie; the same call may succeed later"),
    (r"internal.{0,3}(server.)?error|right back", TransientVendorError, "the same call may succeed later"),
)
# An error that comes with 200 says nothing about whether it passes, and is asked for again.
_STATUSES: tuple[tuple[frozenset[int] | range, type[VendorError], str], ...] = (
    (frozenset({418, 429}), RateLimited, "lower `rate_limit` of the source, or wait; it is asked again later"),
    (frozenset({401, 402, 403}), NotEntitled, "Yahoo refuses this to those without a subscription"),
    (frozenset({408, 425}), TransientVendorError, "the same call may succeed later"),
    (range(200, 400), TransientVendorError, "the same call may succeed later"),
    (range(500, 600), TransientVendorError, "the same call may succeed later"),
)


def refusal(status: int, body: str) -> VendorError | None:
    """The typed error that an answer's error object stands for; None where it has none.

    Args:
        status: HTTP status; Yahoo sends errors with 200 as well.
        body: the answer's text.

    Example:
        >>> text = '{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}'
        >>> type(refusal(404, text)).__name__
        'UnknownSymbol'
    """
    try:
        return refusal_in(status, json.loads(body))
    except (ValueError, RecursionError):
        return None


def refusal_in(status: int, document: Any) -> VendorError | None:
    """The same for an answer that is parsed already."""
    error = _error_object(document)
    if error is None:
        return None
    return _typed_error(status, str(error.get("code") or ""), str(error.get("description") or ""))


def _error_object(document: Any) -> dict[str, Any] | None:
    if not isinstance(document, dict):
        return None
    for root in _ROOTS:
        part = document.get(root)
        error = part.get("error") if isinstance(part, dict) else None
        if isinstance(error, dict):
            return error
        if error:
            return {"description": str(error)}
    return None


def _typed_error(status: int, code: str, description: str) -> VendorError:
    words = " ".join(f"{code}: {description}".split())
    what = f"{WHO}: {scrub(words)[:200]}"
    within = _WITHIN.search(words)
    if within is not None:
        first = datetime.now(UTC) - timedelta(days=int(within[1]))
        return HistoryNotAvailable(what, first=first, fix="fetch more often, a coarser resolution, or another source")
    for pattern, kind, fix in _SAYINGS:
        if re.search(pattern, words, re.I):
            return kind(what, fix=fix)
    for statuses, kind, fix in _STATUSES:
        if status in statuses:
            return kind(what, fix=fix)
    return PermanentVendorError(what, fix="the vendor refuses this request; do not retry")
