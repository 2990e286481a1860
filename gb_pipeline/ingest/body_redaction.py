"""This module takes credentials out of response bodies before they are kept.

Texts of errors are redacted where they are made (`providers.http.redaction`); a body has to stay byte for byte what came wherever
it holds no credential.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

# A shorter credential is a word or a number that stands in data as well: it only counts where it stands alone.
_UNMISTAKABLE = 8
# What stands in a kept body in place of a credential.
HIDDEN = b"***"


def redact_body(body: bytes, secrets: Iterable[str]) -> bytes:
    r"""A body with `***` in place of each credential, as it is, in a URL, or in a JSON text.

    Example:
        >>> redact_body(b'{"next_url":"https://x/?apiKey=s3cr3t%2Fkey","volume":1}', ["s3cr3t/key"])
        b'{"next_url":"https://x/?apiKey=***","volume":1}'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        json_text = json.dumps(secret)[1:-1]
        spellings = {
            secret,
            quote(secret),
            quote(secret, safe=""),
            quote_plus(secret),
            json_text,
            json_text.replace("/", "\\/"),
        }
        for spelling in sorted(filter(None, spellings), key=len, reverse=True):
            pattern = re.escape(spelling.encode())
            if len(secret) < _UNMISTAKABLE:
                pattern = rb"(?<![\w.+-])" + pattern + rb"(?![\w.+-])"
            body = re.sub(pattern, HIDDEN, body)
    return body
