"""Which expected bars are not there, and why.

This module compares stored bars with the calendar and gives every run of missing ones a reason. What the calendar expects,
and what is stored, it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import polars as pl

from gb_pipeline.quality.rules import GapPolicy


class GapReason(StrEnum):
    """Why expected bars are absent."""

    CLOSED = "closed"
    NOT_LISTED = "not_listed"
    NO_TRADE = "no_trade"
    VENDOR_EMPTY = "vendor_empty"
    FETCH_FAILED = "fetch_failed"
    UNKNOWN = "unknown"


_BAR = ["symbol", "timestamp"]
_SESSION = ["symbol", "session"]

# Gaps that a later fetch may close.
OPEN_REASONS = frozenset({GapReason.FETCH_FAILED, GapReason.UNKNOWN})

GAPS = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "start": pl.Datetime("us", "UTC"),
        "end": pl.Datetime("us", "UTC"),
        "missing": pl.Int64(),
        "reason": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of missing bars: from `start` up to `end` (both UTC, half-open), `missing` bars of it expected."""

    start: datetime
    end: datetime
    missing: int
    reason: GapReason


def find_gaps(
    expected: pl.DataFrame,
    actual: pl.DataFrame,
    policy: GapPolicy,
    *,
    refused: pl.DataFrame | None = None,
    failed: bool = False,
) -> pl.DataFrame:
    """Runs of missing bars of any number of series.

    Args:
        expected: `symbol`, `session` (Date), `timestamp` and `end` (Datetime us UTC), sorted by symbol and timestamp.
        actual: `symbol`, `timestamp` of the bars that are stored.
        policy: what an absent bar means at this vendor.
        refused: `symbol`, `timestamp` of rows that the vendor did deliver and that were refused: no "no trade".
        failed: the fetch of these sessions failed.

    Returns:
        Columns of `GAPS`, one row per gap, in the order of `expected`: from `start` up to `end` (half-open), `missing` bars
        of it expected, `reason` one of `GapReason`. A run ends where the session or the reason changes.

    Example:
        >>> find_gaps(grid, stored, GapPolicy.NO_TRADE).select("session", "missing", "reason").rows()
        [(datetime.date(2024, 1, 2), 3, 'no_trade')]
    """
    indexed = expected.with_row_index("position")
    missing = indexed.join(actual, on=_BAR, how="anti", maintain_order="left")
    if missing.is_empty():
        return pl.DataFrame(schema=GAPS)
    marked = missing.with_columns(_reason(missing, expected, policy, refused, failed=failed))
    new_run = (pl.col("position").diff() != 1) | pl.any_horizontal(
        pl.col(name) != pl.col(name).shift(1) for name in ("symbol", "session", "reason")
    )
    return (
        marked.with_columns(new_run.fill_null(True).cum_sum().alias("run"))
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("symbol", "session", "timestamp", "reason").first(), pl.col("end").last(), pl.len().alias("missing")
        )
        .rename({"timestamp": "start"})
        .select(GAPS.names())
        .cast(GAPS)
    )


def _reason(
    missing: pl.DataFrame, expected: pl.DataFrame, policy: GapPolicy, refused: pl.DataFrame | None, *, failed: bool
) -> pl.Series:
    """The reason of every missing bar, as a column `reason`."""
    if failed:
        return pl.Series("reason", [GapReason.FETCH_FAILED.value]).new_from_index(0, missing.height)
    absent = GapReason.NO_TRADE if policy is GapPolicy.NO_TRADE else GapReason.UNKNOWN
    delivered = missing.select(_BAR).clear() if refused is None else refused.select(_BAR).unique()
    marked = missing.join(
        delivered.with_columns(pl.lit(True).alias("delivered")), on=_BAR, how="left", maintain_order="left"
    )
    # A session of which the vendor sent nothing at all was answered empty; one refused row is not nothing.
    bars = expected.group_by("symbol", "session").agg(pl.len().alias("bars"))
    empty = (pl.len().over(_SESSION) == pl.col("bars")) & ~pl.col("delivered").any().over(_SESSION)
    return (
        marked.with_columns(pl.col("delivered").fill_null(False))
        .join(bars, on=_SESSION, how="left", maintain_order="left")
        .select(
            pl.when("delivered")
            .then(pl.lit(GapReason.UNKNOWN.value))
            .when(empty)
            .then(pl.lit(GapReason.VENDOR_EMPTY.value))
            .otherwise(pl.lit(absent.value))
            .alias("reason")
        )
        .to_series()
    )
