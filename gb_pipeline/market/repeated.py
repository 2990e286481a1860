"""This module makes columns that hold one value in every row."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import polars as pl

from gb_pipeline.market.moments import microseconds


def repeated(name: str, value: Any, kind: pl.DataType, height: int) -> pl.Series:
    """A column of one value; `hstack` adds it to a frame far more quickly than a literal in a query.

    Args:
        name: of the column.
        value: of the type, an aware moment for a Datetime in UTC, or None.
        kind: the type.
        height: how many rows.

    Example:
        >>> repeated("source", "sim", pl.String(), 2).to_list()
        ['sim', 'sim']
    """
    if isinstance(value, datetime):
        # Polars would convert the moment's zone with a query of its own.
        return pl.Series(name, [microseconds(value)]).cast(kind).new_from_index(0, height)
    if value is None:
        return _missing(kind).new_from_index(0, height).alias(name)
    return pl.Series(name, [value], dtype=kind).new_from_index(0, height)


@lru_cache(maxsize=64)
def _missing(kind: pl.DataType) -> pl.Series:
    return pl.Series([None], dtype=kind)
