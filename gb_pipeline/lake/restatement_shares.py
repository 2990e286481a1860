"""This module measures restatements: by how much numbers changed, and which share of a month's bars each source changed."""

from __future__ import annotations

import polars as pl

from gb_pipeline.market.schema import CONTENT

_MONTH = ["source", "resolution", "month"]


def measure_changes(changes: pl.DataFrame) -> pl.DataFrame:
    """The changes with `change_<column>`, new minus old, and `relative_<column>` (Float64), that by the old number.

    Args:
        changes: columns of `versions.RESTATEMENTS`; null where one of the numbers is, and where the old one is 0.
    """
    difference = {name: pl.col(f"new_{name}") - pl.col(f"old_{name}") for name in CONTENT}
    absolute = [change.alias(f"change_{name}") for name, change in difference.items()]
    relative = [
        pl.when(pl.col(f"old_{name}") != 0)
        .then(change.cast(pl.Float64) / pl.col(f"old_{name}").cast(pl.Float64))
        .alias(f"relative_{name}")
        for name, change in difference.items()
    ]
    return changes.with_columns(*absolute, *relative)


def share_by_month(changes: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """Which share of the bars of each month was restated.

    Args:
        changes: what `measure_changes` returns.
        sessions: rows of the ledger with `source, resolution, session, actual`.

    Returns:
        `source, resolution, month` (first day, Date), `bars`, `restated` (bars, each once), `share` (Float64), `changes`, `largest`
        (Float64, the largest relative change of a close), `median_age` (Int64, microseconds); sorted by source, resolution and
        month. Months without a restatement are left out.
    """
    bars = (
        sessions.with_columns(pl.col("session").dt.truncate("1mo").alias("month"))
        .group_by(_MONTH)
        .agg(pl.col("actual").sum().alias("bars"))
    )
    restated = (
        changes.with_columns(pl.col("timestamp").dt.date().dt.truncate("1mo").alias("month"))
        .group_by(_MONTH)
        .agg(
            pl.struct("symbol", "timestamp").n_unique().cast(pl.Int64).alias("restated"),
            pl.len().cast(pl.Int64).alias("changes"),
            pl.col("relative_close").abs().max().alias("largest"),
            pl.col("age").median().cast(pl.Int64).alias("median_age"),
        )
    )
    joined = restated.join(bars, on=_MONTH, how="left").with_columns(
        pl.max_horizontal("bars", "restated").alias("bars")
    )
    share = (pl.col("restated") / pl.col("bars")).alias("share")
    return (
        joined.with_columns(share)
        .select(*_MONTH, "bars", "restated", "share", "changes", "largest", "median_age")
        .sort(_MONTH)
    )
