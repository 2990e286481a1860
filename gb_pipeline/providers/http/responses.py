"""This module reads HTTP answers: statuses become errors, bodies become strict JSON, Retry-After becomes seconds.

Requests are sent by `client` and repeated by `transport`; what may be shown of an answer is decided by `redaction`.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from gb_pipeline.errors import (
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    VendorError,
)
from gb_pipeline.providers.http.redaction import excerpt

# RFC 9110: a request time-out, and Cloudflare's "too early" and own 52x codes, which lie above 500 anyway.
_TRANSIENT = frozenset({408, 425})
_RATE_LIMITED = frozenset({418, 429})
_NOT_ENTITLED = frozenset({401, 402, 403})


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date in HTTP's format.

    Args:
        value: the header, None where it is absent.
        now: for the date form; the wall clock by default.

    Returns:
        Seconds from now, at least 0; None where the header is absent or cannot be read.

    Example:
        >>> retry_after("1.5")
        1.5
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def status_error(who: str, status: int, body: str = "", *, wait: str | None = None) -> VendorError:
    """The error for an HTTP status of 400 or above.

    Args:
        who: the vendor, for the message.
        status: the status.
        body: the answer, of which the first characters are shown.
        wait: the Retry-After header.
    """
    what = f"{who} answered HTTP {status}{excerpt(body)}"
    if status in _RATE_LIMITED:
        return RateLimited(
            what,
            retry_after=retry_after(wait),
            fix="lower `rate_limit` of the source, or wait; it is asked again later",
        )
    if status in _TRANSIENT or status >= 500:
        return TransientVendorError(what, fix="the vendor has a problem; the same call may succeed later")
    if status in _NOT_ENTITLED:
        return NotEntitled(what, fix="check the key and what its plan covers")
    if status == 451:
        return PermanentVendorError(what, fix="the vendor does not serve this location; use another one")
    return PermanentVendorError(what, fix="the vendor refuses this request; do not retry")


def broken_body(who: str, status: int, content_type: str, body: str) -> TransientVendorError:
    """The error for an answer that is not what the vendor's protocol promises."""
    return TransientVendorError(
        f"{who} answered HTTP {status} with {content_type or 'no content type'} instead of its data{excerpt(body)}",
        fix="a proxy or a maintenance page answered in its place; the same call may succeed later",
    )


def read_json(who: str, status: int, content_type: str, body: str) -> Any:
    """Parse a JSON object or list; numbers with a fraction or exponent stay the vendor's own text.

    Raises:
        TransientVendorError: it is neither, such as HTML or half an answer, or a key stands twice in one object.

    Example:
        >>> read_json("x", 200, "application/json", '[0.00000001, 12345678901234567.891]')
        ['0.00000001', '12345678901234567.891']
    """
    try:
        value = json.loads(body, parse_float=str, parse_constant=_refuse, object_pairs_hook=one_of_each)
    except KeyTwice:
        raise TransientVendorError(
            f"{who} answered HTTP {status} with JSON in which a key stands twice",
            fix="nobody knows which of the two holds; the same call may succeed later",
        ) from None
    # A hundred thousand opening brackets are no data either.
    except (ValueError, RecursionError):
        raise broken_body(who, status, content_type, body) from None
    if not isinstance(value, dict | list):
        raise broken_body(who, status, content_type, body)
    return value


class KeyTwice(ValueError):
    """A JSON object has two values under one key."""


def one_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads(..., object_pairs_hook=one_of_each)`: of two values under one key the last would win in silence.

    Raises:
        KeyTwice: a key stands twice.
    """
    members = dict(pairs)
    if len(members) < len(pairs):
        raise KeyTwice("a key stands twice")
    return members


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
