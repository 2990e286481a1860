"""This module joins partitions that are due into few runs.

A run of Dagster is a rectangle: some series, and one range of partitions for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

# So many runs are few enough. Where exact rectangles would be more, sessions that are stored may lie between those that are due.
FEW = 10


@dataclass(frozen=True, slots=True)
class Batch:
    """One run.

    Attributes:
        symbols: codes, sorted.
        first, last: partitions, both included.
    """

    symbols: tuple[str, ...]
    first: str
    last: str


def join_batches(due: pl.DataFrame, held: pl.DataFrame, keys: Sequence[str], most: int) -> list[Batch]:
    """Few runs that hold everything that is due, the newest partitions first.

    Neighbouring partitions of a series are one range, and series with the same range are one run. Where that leaves more than
    `FEW` runs, as with gaps that are scattered over many series, ranges of up to `most` partitions are asked for as a whole: a
    partition that is stored is asked for along, one that is held never is.

    Args:
        due: `symbol` and `key`, the partitions to be asked for; those that are not among `keys` are left out.
        held: `symbol` and `key` of partitions that must not be asked for now, as they wait or were given up.
        keys: all partitions, in order.
        most: partitions of one run.

    Example:
        >>> due = pl.DataFrame({"symbol": ["A", "A", "B", "B"], "key": ["2024-01-02", "2024-01-03"] * 2})
        >>> join_batches(due, due.clear(), ["2024-01-01", "2024-01-02", "2024-01-03"], 100)
        [Batch(symbols=('A', 'B'), first='2024-01-02', last='2024-01-03')]
    """
    places = pl.DataFrame({"key": list(keys)}).with_row_index("place").cast({"place": pl.Int64})
    wanted = _place(due, places)
    if wanted.is_empty():
        return []
    exact = _exact(wanted, most)
    if exact.height > FEW:
        kept = _place(held, places).join(wanted, on=["symbol", "place"], how="anti")
        exact = min(exact, _whole_windows(wanted, kept, most), key=lambda one: one.height)
    names = places["key"]
    return [
        Batch(tuple(symbols), names[first], names[last])
        for symbols, first, last in exact.sort("last", "first", descending=True)
        .select("symbols", "first", "last")
        .rows()
    ]


def _place(rows: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.select("symbol", "key").unique().join(places, on="key").select("symbol", "place").sort("symbol", "place")
    )


def _exact(wanted: pl.DataFrame, most: int) -> pl.DataFrame:
    """Rectangles without anything else in them: `symbols`, `first`, `last`."""
    starts = (pl.col("symbol") != pl.col("symbol").shift()) | (pl.col("place") != pl.col("place").shift() + 1)
    runs = wanted.with_columns(starts.fill_null(True).cum_sum().alias("run"))
    part = (pl.col("place") - pl.col("place").min().over("run")) // most
    ranges = (
        runs.with_columns(part.alias("part"))
        .group_by("run", "part")
        .agg(pl.col("symbol").first(), pl.col("place").min().alias("first"), pl.col("place").max().alias("last"))
    )
    return _same_range(ranges)


def _whole_windows(wanted: pl.DataFrame, held: pl.DataFrame, most: int) -> pl.DataFrame:
    """Rectangles over windows of `most` partitions; series that have something held in one get exact ones there."""
    windows = wanted.with_columns((pl.col("place") // most).alias("window"))
    spans = windows.group_by("window").agg(pl.col("place").min().alias("first"), pl.col("place").max().alias("last"))
    inside = held.with_columns((pl.col("place") // most).alias("window")).join(spans, on="window")
    barred = inside.filter(pl.col("place").is_between("first", "last")).select("symbol", "window").unique()
    whole = windows.join(barred, on=["symbol", "window"], how="anti").select("symbol", "window").unique()
    alone = windows.join(barred, on=["symbol", "window"], how="semi").select("symbol", "place")
    joined = [_same_range(whole.join(spans, on="window"))]
    return pl.concat([*joined, *([_exact(alone, most)] if alone.height else [])])


def _same_range(ranges: pl.DataFrame) -> pl.DataFrame:
    return (
        ranges.group_by("first", "last")
        .agg(pl.col("symbol").sort().alias("symbols"))
        .select("symbols", "first", "last")
    )
