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


def suspicious(frame: pl.DataFrame) -> pl.DataFrame:
    """Warnings on bars that passed every rule.

    Args:
        frame: `symbol, session, timestamp` and decimal `open, high, low, close, volume`, sorted by symbol and timestamp.

    Returns:
        Columns `symbol`, `session`, `timestamp`, `warning` (`outlier`, `zero_volume` or `stale`), one row each.
    """
    floats = frame.select(
        "symbol", "session", "timestamp", pl.col("open", "high", "low", "close", "volume").cast(pl.Float64)
    )
    same_symbol = pl.col("symbol") == pl.col("symbol").shift(1)
    prior = pl.when(same_symbol).then(pl.col("close").shift(1))
    spread = pl.max_horizontal("high", prior) - pl.min_horizontal("low", prior)
    share = spread / pl.max_horizontal(pl.col("low").abs(), pl.lit(1e-12))
    repeated = same_symbol & pl.all_horizontal(
        pl.col(name) == pl.col(name).shift(1) for name in ("open", "high", "low", "close", "volume")
    )
    marked = floats.with_columns(share.alias("share"), repeated.fill_null(False).alias("repeated"))
    limits = marked.group_by("symbol").agg(pl.col("share").median().alias("median"))
    marked = marked.join(limits, on="symbol", how="left", maintain_order="left").with_columns(
        (pl.col("share") > pl.max_horizontal(pl.lit(OUTLIER_SHARE), OUTLIER_MEDIANS * pl.col("median"))).alias(OUTLIER),
        (pl.col("volume") == 0).alias(ZERO_VOLUME),
        _in_stale_run().alias(STALE),
    )
    parts = [
        marked.filter(pl.col(code)).select("symbol", "session", "timestamp", pl.lit(code).alias("warning"))
        for code in (OUTLIER, ZERO_VOLUME, STALE)
    ]
    return pl.concat(parts).sort("symbol", "timestamp")


def _in_stale_run() -> pl.Expr:
    """Whether a bar repeats the one before and belongs to a run of at least STALE_RUN equal bars."""
    run = (~pl.col("repeated")).cum_sum()
    return pl.col("repeated") & (pl.len().over(run) >= STALE_RUN)
