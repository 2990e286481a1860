"""This module has what the adapters share: moments with a zone, plain numbers, and frames of what tools keep row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.moments import INSTANT


def moments(values: Iterable[Any], zone: str) -> list[datetime]:
    """Moments in UTC; those without a zone are of the named one."""
    return [_moment(value, zone) for value in values]


def _moment(value: Any, zone: str) -> datetime:
    found = value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day)
    if not isinstance(found, datetime):
        raise ConfigError(f"{value!r:.60} is no moment", fix="give the result an index of datetimes")
    return (found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def curves(index: Iterable[Any], columns: Mapping[str, Iterable[Any]], zone: str) -> pl.DataFrame:
    """A frame of `timestamp` and floats."""
    stamps = pl.Series("timestamp", moments(index, zone), dtype=INSTANT)
    values = {name: pl.Series([float(item) for item in column], dtype=pl.Float64) for name, column in columns.items()}
    return pl.DataFrame([stamps, *(column.alias(name) for name, column in values.items())])


def events(rows: Sequence[Mapping[str, Any]], numbers: Sequence[str], texts: Sequence[str]) -> pl.DataFrame | None:
    """A frame of `timestamp, symbol` and floats and texts; None without rows."""
    if not rows:
        return None
    schema: dict[str, Any] = {
        "timestamp": INSTANT,
        "symbol": pl.String(),
        **dict.fromkeys(numbers, pl.Float64()),
        **dict.fromkeys(texts, pl.String()),
    }
    columns = {name: [row.get(name) for row in rows] for name in schema}
    for name in numbers:
        columns[name] = [None if value is None else float(value) for value in columns[name]]
    return pl.DataFrame(columns, schema=schema)


def plain_number(value: Any) -> float | int | None:
    """A number of Python's; None for what is no number."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def numbers_in(values: Mapping[Any, Any], prefix: str = "") -> dict[str, float | int]:
    """The numbers of nested mappings by dotted names."""
    found: dict[str, float | int] = {}
    for key, value in values.items():
        name = f"{prefix}{str(key).replace('/', '_')}"
        if isinstance(value, Mapping):
            found |= numbers_in(value, f"{name}.")
        elif (number := plain_number(value)) is not None:
            found[name] = number
    return found


def finite(value: Any) -> float | None:
    """A float, or None where a tool says that there is none."""
    return None if value is None or math.isnan(float(value)) else float(value)


def symbol_of(asset: Any) -> str:
    """The code of what was traded: of an asset its `symbol`, else its text."""
    return str(getattr(asset, "symbol", asset))


def require(thing: Any, names: Sequence[str], what: str) -> None:
    """Raise ConfigError where something lacks what the adapter reads."""
    missing = [name for name in names if not hasattr(thing, name)]
    if missing:
        raise ConfigError(f"{type(thing).__name__} has no {missing[0]}", fix=f"pass {what}")
