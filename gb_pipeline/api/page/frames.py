"""This module writes frames as JSON for the page's scripts: exact numbers as text, times as ISO 8601 in UTC."""

from __future__ import annotations

from typing import Any

import polars as pl

# What one answer holds at most; the page asks for further rows when they are scrolled to.
MOST_ROWS = 1000


def to_json(frame: pl.DataFrame, *, total: int | None = None, offset: int = 0) -> dict[str, Any]:
    """A frame as `columns` (name and kind), `rows`, the `total` number of rows and the `offset` of the first of these.

    Args:
        frame: the rows of the answer.
        total: how many there are in all; those of the frame by default.
        offset: place of the first one among all.

    Returns:
        Values that JSON has. Decimals are text without trailing zeros, so no digit is lost; Int64 beyond 2**53 would be, and no
        column of the lake has any.

    Example:
        >>> to_json(pl.DataFrame({"close": [Decimal("1.50")]}))["rows"]
        [['1.5']]
    """
    columns = [{"name": name, "kind": _kind(kind)} for name, kind in frame.schema.items()]
    rows = frame.select(_plain(name, kind) for name, kind in frame.schema.items()).rows()
    return {"columns": columns, "rows": rows, "total": frame.height if total is None else total, "offset": offset}


def window(frame: pl.DataFrame, offset: int, limit: int) -> dict[str, Any]:
    """Some rows of a frame that is there already, as `to_json` has them."""
    return to_json(frame.slice(offset, min(limit, MOST_ROWS)), total=frame.height, offset=offset)


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
