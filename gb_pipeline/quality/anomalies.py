"""This module marks bars that are suspicious but not wrong: outliers, bars without volume, and runs of equal bars.

They are stored, and worth a look: a real print of 0.06 in a flash crash is data, not an error. Few frames have any of them, so
columns are searched for rows that could be marked, and only those are examined.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.exact import halves
from gb_pipeline.quality.runs import expand, true_rows

# A bar's range, or its jump from the close before, is an outlier beyond both: this share of the price, and this many
# times the series' own median range. Twenty times the median alone would flag every quiet series' first trade.
OUTLIER_SHARE = 0.20
OUTLIER_MEDIANS = 20
# This many identical bars in a row, volume included, look like a feed that repeats itself.
STALE_RUN = 10

OUTLIER, ZERO_VOLUME, STALE = "outlier", "zero_volume", "stale"
# Rows whose highest and lowest price are looked at before the rows themselves.
_STRETCH = 1_024
# Columns that a stale bar repeats; those that seldom stay the same come first.
_CONTENT = ("volume", "close", "open", "high", "low")
_Rows = npt.NDArray[np.int64]


def find_anomalies(frame: pl.DataFrame) -> pl.DataFrame:
    """Warnings on bars that passed every rule.

    Args:
        frame: `symbol, session, timestamp` and decimal `open, high, low, close, volume` without nulls, sorted by symbol and
            timestamp.

    Returns:
        Columns `symbol`, `session`, `timestamp`, `warning` (`outlier`, `zero_volume` or `stale`), one row each, sorted.
    """
    rows_by_warning = {
        OUTLIER: _outlier_rows(frame),
        ZERO_VOLUME: true_rows(frame["volume"] == 0),
        STALE: _stale_rows(frame),
    }
    keys = frame[["symbol", "session", "timestamp"]]
    parts = [
        keys[rows].with_columns(pl.lit(code).alias("warning")) for code, rows in rows_by_warning.items() if len(rows)
    ]
    if not parts:
        return keys.clear().hstack([pl.Series("warning", [], dtype=pl.String)])
    return pl.concat(parts).sort("symbol", "timestamp", maintain_order=True)


def _outlier_rows(frame: pl.DataFrame) -> _Rows:
    """Bars whose share is above OUTLIER_SHARE and above their series' own limit."""
    rows = _candidate_rows(frame)
    if not len(rows):
        return rows
    series = frame["symbol"].gather(rows).unique()
    prices = frame.select(
        "symbol", pl.col("high", "low", "close").cast(pl.Float64), pl.int_range(pl.len()).alias("row")
    ).filter(pl.col("symbol").is_in(series.implode()))
    previous_close = pl.col("close").shift(1).over("symbol")
    spread = pl.max_horizontal("high", previous_close) - pl.min_horizontal("low", previous_close)
    shares = prices.select("symbol", "row", (spread / pl.max_horizontal(pl.col("low").abs(), 1e-12)).alias("share"))
    limit = (pl.col("share").median() * OUTLIER_MEDIANS).over("symbol")
    outliers = shares.filter((pl.col("share") > OUTLIER_SHARE) & (pl.col("share") > limit))
    return outliers["row"].to_numpy()


def _candidate_rows(frame: pl.DataFrame) -> _Rows:
    """Rows whose range and jump together exceed three sixteenths of the low: every outlier, and few others."""
    if frame.is_empty() or frame.schema["low"] != Precision.STANDARD.decimal:
        return np.arange(frame.height)
    high, low, close = (halves(frame[name])[:, 0] for name in ("high", "low", "close"))
    near = _wide_stretches(high, low)
    spread, limit = high[near] - low[near], np.abs(low[near]) * 3 >> 4
    wide_rows = near[spread > limit]
    limit, near = limit[near > 0], near[near > 0]
    jump = np.maximum(high[near], close[near - 1]) - np.minimum(low[near], close[near - 1])
    rows = near[jump > limit]
    # Before the first bar of a series there is the last one of another.
    rows = rows[(frame["symbol"][rows] == frame["symbol"][rows - 1]).to_numpy()]
    return np.union1d(rows, wide_rows)


def _wide_stretches(high: _Rows, low: _Rows) -> _Rows:
    """The rows of all stretches whose highest and lowest price are as far from each other as candidates are."""
    starts = np.arange(0, len(high), _STRETCH)
    # What a stretch jumps from is the close of the row before it, which lies between its high and its low.
    before = np.maximum(starts - 1, 0)
    top = np.maximum(np.maximum.reduceat(high, starts), high[before])
    bottom = np.minimum(np.minimum.reduceat(low, starts), low[before])
    # Where all prices are above zero, the lowest has the lowest limit.
    is_wide = (bottom <= 0) | (top - bottom > bottom * 3 >> 4)
    return expand(starts[is_wide], np.diff(starts, append=len(high))[is_wide])


def _stale_rows(frame: pl.DataFrame) -> _Rows:
    """Bars that repeat the one before and belong to a run of at least STALE_RUN equal bars."""
    first, *others = _CONTENT
    repeats = frame[first].slice(1) == frame[first].slice(0, max(frame.height - 1, 0))
    rows = true_rows(repeats) + 1
    for name in (*others, "symbol"):
        if len(rows) < STALE_RUN - 1:
            return rows[:0]
        rows = rows[(frame[name][rows] == frame[name][rows - 1]).to_numpy()]
    # Rows beside each other are one run; the bar that they repeat belongs to it.
    starts = np.flatnonzero(np.diff(rows, prepend=-1) != 1)
    counts = np.diff(starts, append=len(rows))
    is_stale = counts >= STALE_RUN - 1
    return rows[expand(starts[is_stale], counts[is_stale])]
