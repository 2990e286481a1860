"""What an HTTP answer means, and what may be said about it.

Belongs here: statuses to errors, strict bodies, Retry-After, and the removal of credentials from texts.
Does not belong here: sending requests or repeating them (`transport`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, quote_plus

from gb_pipeline.errors import (
    GbError,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    VendorError,
)

_SHOWN = 60
_SHORTEST_SECRET = 4
# A vendor's own explanation is worth more room than the beginning of any body.
_SHOWN_WORDS = 200
# Where vendors put what a person should read.
_WORDS = ("message", "error", "error_message", "msg", "description")
# RFC 9110: a request time-out, and Cloudflare's "too early" and own 52x codes, which lie above 500 anyway.
_TRANSIENT = frozenset({408, 425})
_RATE_LIMITED = frozenset({418, 429})
_NOT_ENTITLED = frozenset({401, 402, 403})
_URL_SECRETS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?:[^/\s@]*@)?(?P<rest>[^\s?#'\"]*)(?:[?#][^\s'\"]*)?", re.I
)
_NAMED_SECRETS = re.compile(
    r"(?P<name>\b(?:api[-_]?key|apikey|key|token|secret|signature|password|passphrase|authorization)\b['\"]?\s*[=:]\s*)"
    r"(?:bearer\s+|basic\s+)?['\"]?[^\s'\"&,;]+",
    re.I,
)


def scrub(text: str) -> str:
    """The text without what could be a credential: queries and user names of URLs, values of telling names.

    Example:
        >>> scrub("GET https://u:p@api.example.com/v1/bars?apikey=abc failed, token=abc")
        'GET https://api.example.com/v1/bars failed, token=***'
    """
    return _NAMED_SECRETS.sub(r"\g<name>***", _URL_SECRETS.sub(r"\g<scheme>\g<rest>", text))


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text with `***` in place of each secret: some vendors repeat the key in what they answer.

    A secret is found in either case, and as URLs and JSON write it. What is shorter than four characters is no secret.

    Example:
        >>> hide("your key abc123 has no plan", ["abc123"])
        'your key *** has no plan'
    """
    forms = {
        form
        for secret in secrets
        if len(secret) >= _SHORTEST_SECRET
        for form in (secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1])
    }
    if not forms:
        return text
    # The longest first: a key that another one begins with would leave the rest of that one standing.
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, "***", text, flags=re.IGNORECASE)


@contextmanager
def redact_errors(secrets: Iterable[str]) -> Iterator[None]:
    """Errors of this package that leave the block say `***` in place of each secret, whoever made their texts.

    Example:
        >>> with redact_errors(["abc123"]):
        ...     raise NotEntitled("we have detected your API key as abc123")
        Traceback (most recent call last):
        gb_pipeline.errors.NotEntitled: we have detected your API key as ***
    """
    try:
        yield
    except GbError as error:
        error.reword(lambda text: hide(text, secrets))
        raise


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
    what = f"{who} answered HTTP {status}{_shown(body)}"
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
        f"{who} answered HTTP {status} with {content_type or 'no content type'} instead of its data{_shown(body)}",
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
    found = dict(pairs)
    if len(found) < len(pairs):
        raise KeyTwice("a key stands twice")
    return found


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def vendor_message(value: Any) -> str:
    """What a vendor's parsed error body says to a person, without credentials; empty where it says nothing.

    Example:
        >>> vendor_message({"code": 40410000, "message": "asset not found for ZZZZ"})
        'asset not found for ZZZZ'
    """
    said = [value[name] for name in _WORDS if isinstance(value.get(name), str)] if isinstance(value, dict) else []
    return scrub(" ".join(said[0].split())[:1000])[:_SHOWN_WORDS] if said else ""


def _shown(body: str) -> str:
    try:
        words = vendor_message(json.loads(body))
    except (ValueError, RecursionError):
        words = ""
    text = " ".join(body.split())
    # Scrubbed before it is cut: half a key is still half a key.
    shown = words or scrub(text[:1000])[:_SHOWN]
    return f": {shown!r}" if shown else ""
