"""This module reads Kalshi's numbers and times: dollars as text, or cents as integers, which older messages have.

A contract pays one dollar. Prices here are those of its YES side: an offer to buy NO at 0.40 is an offer to sell YES at 0.60.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

_ONE = Decimal(1)
_SECOND = 1_000_000_000


def dollars(said: Mapping[str, Any], name: str, *more: str) -> str:
    """A price in dollars as text, from `name_dollars`, or from `name` in cents.

    Raises:
        ValueError: it has neither.

    Example:
        >>> dollars({"price": 46, "price_dollars": "0.4600"}, "price"), dollars({"price": 7}, "price")
        ('0.4600', '0.07')
    """
    for key in (name, *more):
        text = said.get(f"{key}_dollars")
        if text:
            return str(text)
    for key in (name, *more):
        cents = said.get(key)
        if cents is not None:
            return cents_to_dollars(cents)
    raise ValueError(f"no {name}")


def cents_to_dollars(cents: Any) -> str:
    """Cents, a whole number or text with decimals, in dollars.

    Example:
        >>> cents_to_dollars(7), cents_to_dollars("45.5")
        ('0.07', '0.455')
    """
    return format(Decimal(str(cents)).scaleb(-2), "f")


@lru_cache(maxsize=4096)
def other_side(price: str) -> str:
    """What a price of NO is on the YES side, with as many decimals.

    Example:
        >>> other_side("0.4000")
        '0.6000'
    """
    return format(_ONE - Decimal(price), "f")


@lru_cache(maxsize=4096)
def price_number(text: str) -> Decimal:
    """A price as a number; there are few of them."""
    return Decimal(text)


def contracts(said: Mapping[str, Any], name: str) -> str:
    """A number of contracts as text, from `name_fp`, or from `name`.

    Raises:
        ValueError: it has neither.
    """
    value = said.get(f"{name}_fp")
    if value is None or value == "":
        value = said.get(name)
    if value is None:
        raise ValueError(f"no {name}")
    return str(value)


def nanoseconds(said: Mapping[str, Any]) -> int | None:
    """The time of a message, ns since 1970 UTC, from `ts_ms`, or from `ts` as seconds or as ISO text; None where it has none.

    Raises:
        ValueError: it is no time.

    Example:
        >>> nanoseconds({"ts": "2026-02-14T15:30:00.5Z"}), nanoseconds({"ts": 1707667200})
        (1771083000500000000, 1707667200000000000)
    """
    milliseconds = said.get("ts_ms")
    if milliseconds is not None:
        return int(milliseconds) * 1_000_000
    value = said.get("ts")
    if value is None or value == "":
        return None
    return iso_nanoseconds(value) if isinstance(value, str) else int(value) * _SECOND


def iso_nanoseconds(text: str) -> int:
    """ISO text with up to nine decimals, in nanoseconds since 1970 UTC.

    Raises:
        ValueError: it is none, or has no offset.
    """
    body, zone = (text[:-1], "+00:00") if text.endswith("Z") else (text[:-6], text[-6:])
    seconds, _, fraction = body.partition(".")
    if fraction and not fraction.isdigit():
        raise ValueError(f"{text[:40]!r} is no time")
    return _whole_seconds(seconds + zone) + int(fraction[:9].ljust(9, "0"))


# Many messages come within a second.
@lru_cache(maxsize=256)
def _whole_seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no offset")
    return int(moment.timestamp()) * _SECOND
