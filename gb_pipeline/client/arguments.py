"""What is sent for the keywords of `Lake`'s methods: texts, numbers and lists of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import date
from enum import Enum
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.reading.arguments import moment
from gb_pipeline.reading.listed_instrument import ListedInstrument
from gb_pipeline.reading.price_adjustment import PriceAdjustment


def to_document(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A question as a JSON document.

    Args:
        arguments: keywords of a method; those that are None are left out.

    Raises:
        ConfigError: a value that cannot be sent, such as a calendar of one's own; or what cannot be a moment.
        NaiveTimestamp: a time of day without a zone.

    Example:
        >>> to_document({"symbols": Symbol.crypto("BTC/USD"), "start": date(2024, 1, 2), "end": None})
        {'symbols': ['BTC-USD'], 'start': '2024-01-02T00:00:00+00:00'}
    """
    listed = {"symbols", "columns", "symbol", "items"}
    document = {}
    for name, value in arguments.items():
        if value is None:
            continue
        sent = _plain(name, value)
        one = name in listed and not isinstance(sent, list)
        document[name] = [sent] if one else sent
    return document


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Enum | Symbol):
        return value.code if isinstance(value, Symbol) else value.value
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Calendar | ListedInstrument):
        return calendar_name(value) if isinstance(value, Calendar) else value.instrument
    if isinstance(value, pl.DataFrame | pl.LazyFrame):
        raise ConfigError(f"{name} is a table, which is not sent", fix="name what the server has stored")
    if isinstance(value, date | np.datetime64):
        return _instant(value)
    if isinstance(value, Iterable):
        return [_plain(name, item) for item in value]
    return _adjustment(value) if isinstance(value, PriceAdjustment) else str(value)


def calendar_name(calendar: Calendar | str) -> str:
    """The name by which the server knows a calendar.

    Raises:
        ConfigError: it has hours of its own, which a name does not say.
    """
    if isinstance(calendar, str):
        return calendar
    if calendar.extended_hours:
        raise ConfigError("a calendar with extended hours is not sent", fix="name a calendar")
    return calendar.name


def _instant(value: Any) -> str | int:
    """A moment in ISO 8601; what is finer than a microsecond as nanoseconds since 1970."""
    if isinstance(value, np.datetime64) and np.datetime_data(value)[0] == "ns" and not np.isnat(value):
        nanoseconds = int(value.astype(np.int64))
        if nanoseconds % 1000:
            return nanoseconds
    found = moment(value)
    assert found is not None
    return found.isoformat()


def _adjustment(value: PriceAdjustment) -> str:
    given = {name: item for name, item in asdict(value).items() if item is not None}
    if "as_known" in given:
        given["as_known"] = _plain("as_known", given["as_known"])
    return json.dumps(given)
