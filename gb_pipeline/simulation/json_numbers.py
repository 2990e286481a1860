"""JSON numbers from decimal text, digit by digit, that were never floats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")


def number(text: str) -> str:
    """A decimal text as a JSON number without idle zeros; what is none, such as a planted defect, as a JSON text.

    Example:
        >>> number("189.50"), number("42"), number("oops")
        ('189.5', '42', '"oops"')
    """
    if not _NUMBER.fullmatch(text):
        return json.dumps(text)
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_object(fields: Mapping[str, str]) -> str:
    """An object of values that are JSON already.

    Example:
        >>> json_object({"t": "1", "o": number("189.50")})
        '{"t":1,"o":189.5}'
    """
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"


class Exact(str):
    """Decimal text that `dumps` writes as a number."""

    __slots__ = ()


def dumps(value: Any) -> str:
    """JSON without spaces, as vendors send it.

    Example:
        >>> dumps({"rate": Exact("0.2400"), "special": False})
        '{"rate":0.24,"special":false}'
    """
    if isinstance(value, Exact):
        return number(value)
    if isinstance(value, dict):
        return json_object({name: dumps(item) for name, item in value.items()})
    if isinstance(value, list):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value)
