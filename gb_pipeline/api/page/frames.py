"""This module writes frames as JSON for the page's scripts: exact numbers as text, times as ISO 8601 in UTC."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import polars as pl

from gb_pipeline.api.page.parameters import Parameters
from gb_pipeline.api.page.sorting import Sort, sort_rows

# What one answer holds at most; the page asks for further rows when they are scrolled to.
MOST_ROWS = 1000


def to_json(
    frame: pl.DataFrame, *, total: int | None = None, offset: int = 0, unsorted: Collection[str] = ()
) -> dict[str, Any]:
    """A frame as `columns`, `rows`, the `total` number of rows and the `offset` of the first of these.

    A column has a `name`, a `kind`, and `sorts`: whether rows can be sorted by it.

    Args:
        frame: the rows of the answer.
        total: how many there are in all; those of the frame by default.
        offset: place of the first one among all.
        unsorted: columns that rows cannot be sorted by.

    Returns:
        Values that JSON has. Decimals are text without trailing zeros, so no digit is lost; Int64 beyond 2**53 would be, and no
        column of the lake has any.

    Example:
        >>> to_json(pl.DataFrame({"close": [Decimal("1.50")]}))["rows"]
        [['1.5']]
    """
    columns = [
        {"name": name, "kind": _kind(kind), "sorts": name not in unsorted} for name, kind in frame.schema.items()
    ]
    rows = frame.select(_plain(name, kind) for name, kind in frame.schema.items()).rows()
    return {"columns": columns, "rows": rows, "total": frame.height if total is None else total, "offset": offset}


def window(frame: pl.DataFrame, ask: Parameters) -> dict[str, Any]:
    """The rows that a grid asks for by `offset`, `limit` and `sort`, of a frame that is there already, as `to_json` has them.

    Raises:
        ConfigError: it is no number, or the frame has no such column.
    """
    offset, limit = ask.whole("offset", 0), ask.whole("limit", 100)
    rows = sort_rows(frame, Sort.parse(ask.text("sort")))
    return to_json(rows.slice(offset, min(limit, MOST_ROWS)), total=frame.height, offset=offset)


def _kind(kind: pl.DataType) -> str:
    if kind.is_numeric():
        return "number"
    if isinstance(kind, pl.Datetime | pl.Date):
        return "time"
    return "duration" if isinstance(kind, pl.Duration) else "text"


def _plain(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, pl.Decimal):
        text = column.cast(pl.String)
        short = text.str.strip_chars_end("0").str.strip_chars_end(".")
        return pl.when(text.str.contains(".", literal=True)).then(short).otherwise(text).alias(name)
    if isinstance(kind, pl.Datetime | pl.Date):
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ" if isinstance(kind, pl.Datetime) else "%Y-%m-%d")
    if isinstance(kind, pl.Duration):
        return column.dt.total_microseconds() / 1_000_000
    if isinstance(kind, pl.List) and kind.inner == pl.String():
        return column.list.join(", ")
    # JSON knows neither infinity nor "not a number".
    whole = column if kind in {pl.String(), pl.Boolean()} or kind.is_integer() else column.cast(pl.String)
    return pl.when(column.is_finite()).then(column) if kind.is_float() else whole
