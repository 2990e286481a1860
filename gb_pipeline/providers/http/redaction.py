"""This module removes credentials from texts and errors, and decides how much of an answer a message may show.

It knows no vendor and sends nothing; `client` and `transport` tell it which texts are secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, quote_plus

from gb_pipeline.errors import GbError

_SHORTEST_SECRET = 4
# How much of a body may stand in a message; a vendor's own explanation is worth more room than the beginning of any body.
_EXCERPT_LENGTH, _MESSAGE_LENGTH = 60, 200
# Where vendors put what a person should read.
_MESSAGE_FIELDS = ("message", "error", "error_message", "msg", "description")
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


def vendor_message(value: Any) -> str:
    """What a vendor's parsed error body says to a person, without credentials; empty where it says nothing.

    Example:
        >>> vendor_message({"code": 40410000, "message": "asset not found for ZZZZ"})
        'asset not found for ZZZZ'
    """
    fields = value if isinstance(value, dict) else {}
    messages = [fields[name] for name in _MESSAGE_FIELDS if isinstance(fields.get(name), str)]
    return scrub(" ".join(messages[0].split())[:1000])[:_MESSAGE_LENGTH] if messages else ""


def excerpt(body: str) -> str:
    """The end of a message that shows a body: the vendor's own words where it has any, else its first characters.

    Example:
        >>> excerpt('{"message": "too many requests"}')
        ": 'too many requests'"
    """
    try:
        words = vendor_message(json.loads(body))
    except (ValueError, RecursionError):
        words = ""
    # Scrubbed before it is cut: half a key is still half a key.
    shown = words or scrub(" ".join(body.split())[:1000])[:_EXCERPT_LENGTH]
    return f": {shown!r}" if shown else ""
