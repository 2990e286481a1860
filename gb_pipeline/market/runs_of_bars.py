"""This module adds up runs of bars whose prices and volumes are whole numbers, in the order in which they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Integers = npt.NDArray[np.int64]


def lines_of_the_clock(stamps: pl.Series, length: int, finer: int) -> tuple[pl.Series, bool]:
    """The stamp of the longer bar in UTC that each bar belongs to, for a market that never closes.

    Args:
        stamps: Datetime us UTC.
        length, finer: of the longer bars and of these, in microseconds.

    Returns:
        The stamps, and whether each bar lies within its longer one.
    """
    micro = stamps.cast(pl.Int64).to_numpy()
    lines = micro // length
    lines *= length
    fits = bool((micro - lines <= length - finer).all())
    return pl.Series(stamps.name, lines).cast(stamps.dtype), fits


def aggregate_runs(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """One bar of each run of rows with the same keys and stamp.

    Args:
        rows: `timestamp`, prices and `volume` (Int64), optionally the keys, `trade_count` and `known_at`; sorted, none null but
            counts.

    Returns:
        The same columns, and `_size`, the sum of the volumes' magnitudes as floats: where it says that 64 bits do not hold the
        volume, that is wrong.
    """
    changes = np.ones(rows.height, dtype=bool)
    stamps = rows["timestamp"].cast(pl.Int64).to_numpy()
    np.not_equal(stamps[1:], stamps[:-1], out=changes[1:])
    for key in keys:
        changes[1:] |= (rows[key] != rows[key].shift())[1:].to_numpy()
    starts = np.flatnonzero(changes)
    ends = np.append(starts[1:], rows.height) - 1
    columns = []
    for column in rows.iter_columns():
        name = column.name
        if name in {"high", "low", "volume"}:
            fold = {"high": np.maximum, "low": np.minimum, "volume": np.add}[name]
            columns.append(pl.Series(name, fold.reduceat(column.to_numpy(), starts)))
        elif name == "known_at":
            latest = np.maximum.reduceat(column.cast(pl.Int64).to_numpy(), starts)
            columns.append(pl.Series(name, latest).cast(column.dtype))
        elif name == "trade_count":
            columns.append(_counts(column, starts))
        else:
            columns.append(column.gather(ends if name == "close" else starts))
    magnitudes = np.add.reduceat(np.abs(rows["volume"].to_numpy().astype(np.float64)), starts)
    return pl.DataFrame([*columns, pl.Series("_size", magnitudes)])


def _counts(column: pl.Series, starts: Integers) -> pl.Series:
    """Sums of 128 bits, null where any count is."""
    if column.null_count() == len(column):
        return pl.Series(column.name, [None], dtype=pl.Int128).new_from_index(0, len(starts))
    run = np.zeros(len(column), dtype=np.int64)
    run[starts[1:]] = 1
    count = pl.col(column.name)
    sums = pl.DataFrame({"run": np.cumsum(run), column.name: column}).group_by("run", maintain_order=True)
    return sums.agg(pl.when(count.null_count() == 0).then(count.cast(pl.Int128).sum()))[column.name]
