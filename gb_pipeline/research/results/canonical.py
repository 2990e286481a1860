"""This module writes parameters and other values of a run as JSON that keeps their types, in one way only, and reads it again.

Keys are sorted and nothing is rounded. What JSON has no type for is an object of one key: `{"$decimal": "0.10"}`,
`{"$date": ...}`, `{"$datetime": ...}`, `{"$seconds": ...}` and `{"$float": "nan"}`. Equal values have equal texts, so that texts
may be compared and hashed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from gb_pipeline.errors import ConfigError, NaiveTimestamp

_MOST_NESTED = 32
# Python itself refuses to write or read longer integers, of 4,300 digits.
_MOST_BITS = 14_000
_MOST_SECONDS = 10**14
# Integers up to here are the same as floats.
_EXACT_FLOAT = 2**53
_TYPES = (
    "text, numbers, booleans, decimals, dates, datetimes with a zone, timedeltas, None, and lists and mappings of them"
)


class Leaf(NamedTuple):
    """One value of nested parameters: its dotted name, as a number where it is one, else as canonical JSON."""

    name: str
    number: float | None
    text: str | None


def to_json(value: object, where: str = "the value") -> str:
    """A value as canonical JSON.

    Args:
        value: text, a number, a boolean, a decimal, a date, a datetime with a zone, a timedelta, None, NumPy's scalars, an enum
            of these, or lists, tuples and mappings of them.
        where: what it is, for the message.

    Raises:
        ConfigError: a type that cannot be kept, a key that is no text or begins with `$`, or values nested too deeply.
        NaiveTimestamp: a datetime without a zone.

    Example:
        >>> to_json({"window": 20, "fee": Decimal("0.10")})
        '{"fee":{"$decimal":"0.10"},"window":20}'
    """
    return _dump(_plain(value, where, 0))


def from_json(text: str) -> Any:
    """The value that `to_json` wrote; tuples are lists, enums their values, datetimes in UTC."""
    return json.loads(text, object_hook=_revive)


def flatten(parameters: Mapping[str, Any]) -> list[Leaf]:
    """Parameters by dotted names, for queries: `{"exit": {"stop": 2}}` is `exit.stop`. Lists stay whole."""
    leaves: list[Leaf] = []
    stack = list(parameters.items())[::-1]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping) and value:
            stack += [(f"{name}.{key}", item) for key, item in list(value.items())[::-1]]
            continue
        number = as_number(value)
        leaves.append(Leaf(name, number, None if number is not None else to_json(value, name)))
    return leaves


def as_number(value: object) -> float | None:
    """A value by which parameters are compared as numbers; None for what is no number, or would be rounded."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return float(value) if abs(value) <= _EXACT_FLOAT else None
    if isinstance(value, Decimal):
        if value.is_nan():
            return math.nan
        number = float(value)
        return number if math.isfinite(number) or value.is_infinite() else None
    return value if isinstance(value, float) else None


def valid_text(text: str, where: str) -> str:
    """Itself, if it can be stored.

    Raises:
        ConfigError: it has a lone surrogate, as names of files may have.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where} is no valid text", fix="remove lone surrogates from it") from None
    return text


def _dump(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object, where: str, depth: int) -> Any:
    if depth > _MOST_NESTED:
        raise ConfigError(
            f"{where} is nested more than {_MOST_NESTED} times", fix="flatten it, or save it as an artifact"
        )
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key.startswith("$"):
                raise ConfigError(
                    f"{where} has the key {str(key)[:40]!r}", fix="use keys that are text and do not begin with $"
                )
            valid_text(key, f"a key of {where}")
        return {key: _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    return _plain_scalar(value, where)


def _plain_scalar(value: object, where: str) -> Any:  # noqa: PLR0911
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            raise ConfigError(f"{where} is an integer of {value.bit_length():,} bits", fix="save it as text")
        return value
    if isinstance(value, str):
        return valid_text(value, where)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NaiveTimestamp(f"{where} is a datetime without a zone: {value}", fix="add tzinfo=UTC")
        return {"$datetime": value.astimezone(UTC).isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, timedelta):
        return {"$seconds": str(Decimal(value // timedelta(microseconds=1)) / 1_000_000)}
    raise ConfigError(f"{where} is of type {type(value).__name__}", fix=f"use {_TYPES}")


def _revive(item: dict[str, Any]) -> Any:
    if len(item) != 1:
        return item
    (key, text), *_ = item.items()
    readers: dict[str, Callable[[str], Any]] = {
        "$decimal": Decimal,
        "$float": float,
        "$date": date.fromisoformat,
        "$datetime": datetime.fromisoformat,
        "$seconds": _seconds,
    }
    return readers[key](text) if key in readers else item


def _seconds(text: str) -> timedelta:
    seconds = Decimal(text)
    # A few letters may stand for an integer of a million digits.
    if not abs(seconds) <= _MOST_SECONDS:
        raise OverflowError(f"{text[:40]} seconds are no timedelta")
    return timedelta(microseconds=int(seconds * 1_000_000))
