"""Suspicious is not wrong: bars that are stored, and worth a look.

Belongs here: outliers, bars without volume, stale runs. A real print of 0.06 in a flash crash is data, not an error.
"""

from __future__ import annotations

import polars as pl

# A bar's range, or its jump from the close before, is an outlier beyond both: this share of the price, and this many
# times the series' own median range. Twenty times the median alone would flag every quiet series' first trade.
OUTLIER_SHARE = 0.20
OUTLIER_MEDIANS = 20
# So many identical bars in a row, volume included, look like a feed that repeats itself.
STALE_RUN = 10

OUTLIER, ZERO_VOLUME, STALE = "outlier", "zero_volume", "stale"
_SAID = ("open", "high", "low", "close", "volume")


def suspicious(frame: pl.DataFrame) -> pl.DataFrame:
    """Warnings on bars that passed every rule.

    Args:
        frame: `symbol, session, timestamp` and decimal `open, high, low, close, volume`, sorted by symbol and timestamp.

    Returns:
        Columns `symbol`, `session`, `timestamp`, `warning` (`outlier`, `zero_volume` or `stale`), one row each.
    """
    same_symbol = pl.col("symbol") == pl.col("symbol").shift(1)
    prices = frame.select(
        "symbol",
        pl.col("high", "low").cast(pl.Float64),
        pl.when(same_symbol).then(pl.col("close").shift(1)).cast(pl.Float64).alias("prior"),
        (pl.col("volume") == 0).alias(ZERO_VOLUME),
        (same_symbol & pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in _SAID))
        .fill_null(False)
        .alias("repeated"),
    )
    spread = pl.max_horizontal("high", "prior") - pl.min_horizontal("low", "prior")
    share = spread / pl.max_horizontal(pl.col("low").abs(), pl.lit(1e-12))
    marks = {
        OUTLIER: _outliers(prices.select("symbol", share.alias("share"))),
        ZERO_VOLUME: prices[ZERO_VOLUME],
        STALE: _stale(prices["repeated"]),
    }
    parts = [
        frame.filter(mark).select("symbol", "session", "timestamp", pl.lit(code).alias("warning"))
        for code, mark in marks.items()
    ]
    return pl.concat(parts).sort("symbol", "timestamp")


def _outliers(shares: pl.DataFrame) -> pl.Series:
    wide = shares["share"] > OUTLIER_SHARE
    if not wide.any():
        return wide.fill_null(False)
    limits = shares.group_by("symbol").agg((pl.col("share").median() * OUTLIER_MEDIANS).alias("limit"))
    far = shares.join(limits, on="symbol", how="left", maintain_order="left").select(pl.col("share") > pl.col("limit"))
    return (wide & far.to_series()).fill_null(False)


def _stale(repeated: pl.Series) -> pl.Series:
    """Bars that repeat the one before and belong to a run of at least STALE_RUN equal bars."""
    if not repeated.any():
        return repeated
    runs = pl.DataFrame({"repeated": repeated, "run": (~repeated).cum_sum()})
    return runs.select(pl.col("repeated") & (pl.len().over("run") >= STALE_RUN)).to_series()
