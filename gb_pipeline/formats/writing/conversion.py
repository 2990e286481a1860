"""Bars in the numbers of other formats, and which values that changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.formats.numbers import shortest_text
from gb_pipeline.formats.writing.base import NUMBERS, Converted
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.exact import read_numbers
from gb_pipeline.reading.floats import as_floats

EXAMPLES = 3
_WIDE = Precision.WIDE.decimal


@dataclass(frozen=True, slots=True)
class ChangedValue:
    """One number that a format cannot hold.

    Attributes:
        timestamp: of the bar, in UTC.
        column: such as `close`.
        stored: what the lake holds.
        written: what the files give back.
    """

    timestamp: datetime
    column: str
    stored: str
    written: str

    def __str__(self) -> str:
        """`volume of 2024-01-02T00:00Z: 88888889 becomes 88888888`."""
        return f"{self.column} of {self.timestamp:%Y-%m-%dT%H:%MZ}: {self.stored} becomes {self.written}"


def plain_text(name: str) -> pl.Expr:
    """A column of decimals as a person writes them: all digits, no trailing zeros, never an exponent.

    Example:
        >>> pl.DataFrame({"close": ["1.50", "20"]}).cast(pl.Decimal(18, 8)).select(plain_text("close")).to_series().to_list()
        ['1.5', '20']
    """
    text = pl.col(name).cast(pl.String)
    # A zero before the point is one of the number.
    return (
        pl.when(text.str.contains(".", literal=True))
        .then(text.str.strip_chars_end("0").str.strip_chars_end("."))
        .otherwise(text)
        .alias(name)
    )


def as_float_columns(bars: pl.DataFrame, kind: type[pl.Float32 | pl.Float64]) -> pl.DataFrame:
    """`open` to `volume` as the floats that are nearest."""
    return as_floats(bars.select(NUMBERS)).cast(kind)


def read_back(floats: pl.DataFrame) -> pl.DataFrame:
    """Floats as the decimals that they stand for: the shortest text that reads back as the same float. Null for none."""
    texts = floats.select(shortest_text(column).alias(column.name) for column in floats.iter_columns())
    return read_numbers(texts, Precision.WIDE)[0]


def rounded(bars: pl.DataFrame, decimals: int, *columns: str) -> pl.DataFrame:
    """`open` to `volume`, some of them rounded half to even."""
    return bars.select(NUMBERS).with_columns(pl.col(columns).round(decimals))


def find_changes(converted: Converted) -> tuple[int, list[ChangedValue]]:
    """How many values change, and the first of them.

    Example:
        >>> find_changes(Converted(bars, bars.select(NUMBERS)))
        (0, [])
    """
    stored = converted.bars.select(pl.col(NUMBERS).cast(_WIDE))
    written = converted.values.select(pl.col(NUMBERS).cast(_WIDE, strict=False))
    differs = {name: stored[name].ne_missing(written[name]) for name in NUMBERS}
    count = sum(int(column.sum()) for column in differs.values())
    if not count:
        return 0, []
    rows = converted.bars.select("timestamp").with_columns(
        [stored[name].alias(f"{name}_stored") for name in NUMBERS]
        + [written[name].alias(f"{name}_written") for name in NUMBERS]
    )
    found: list[ChangedValue] = []
    for name, column in differs.items():
        first = (
            rows.filter(column).head(EXAMPLES).with_columns(plain_text(f"{name}_stored"), plain_text(f"{name}_written"))
        )
        found += [_changed(row, name) for row in first.to_dicts()]
    return count, sorted(found, key=lambda value: value.timestamp)[:EXAMPLES]


def _changed(row: dict[str, Any], name: str) -> ChangedValue:
    return ChangedValue(row["timestamp"], name, row[f"{name}_stored"], row[f"{name}_written"] or "nothing")


def most_decimals(bars: pl.DataFrame, columns: tuple[str, ...], known: int) -> int:
    """Digits after the point that any of the numbers has, and at least `known`."""
    scale = max(_scale_of(bars.schema[name]) for name in columns)
    for decimals in range(known, scale):
        if bars.select(
            pl.all_horizontal((pl.col(name).round(decimals) == pl.col(name)).all() for name in columns)
        ).item():
            return decimals
    return max(known, scale)


def _scale_of(kind: pl.DataType) -> int:
    return kind.scale if isinstance(kind, pl.Decimal) else 0
