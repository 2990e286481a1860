"""Which expected bars are not there, and why.

Belongs here: comparing stored bars with the calendar, and giving every run of missing ones a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
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


# Gaps that a later fetch may close.
OPEN_REASONS = frozenset({GapReason.FETCH_FAILED, GapReason.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of missing bars: from `start` up to `end` (both UTC, half-open), `missing` bars of it expected."""

    start: datetime
    end: datetime
    missing: int
    reason: GapReason


def find_gaps(
    expected: pl.DataFrame,
    actual: pl.Series,
    policy: GapPolicy,
    *,
    refused: pl.Series | None = None,
    failed: bool = False,
    not_listed: frozenset[date] = frozenset(),
) -> dict[date, tuple[Gap, ...]]:
    """Runs of missing bars of one series, by session.

    Args:
        expected: columns `session` (Date), `timestamp` (Datetime us UTC) and `end` (Datetime us UTC), sorted.
        actual: timestamps that are stored.
        policy: what an absent bar means at this vendor.
        refused: timestamps of rows that the vendor did deliver and that were refused: no "no trade".
        failed: the fetch of these sessions failed.
        not_listed: sessions before the listing or after the delisting.

    Returns:
        Gaps by session, in order of time; sessions without a gap are left out. A run ends where the reason changes.

    Example:
        >>> find_gaps(grid, stored["timestamp"], GapPolicy.NO_TRADE)[date(2024, 1, 2)][0].reason
        <GapReason.NO_TRADE: 'no_trade'>
    """
    indexed = expected.with_row_index("position")
    missing = indexed.join(actual.alias("timestamp").to_frame(), on="timestamp", how="anti")
    if missing.is_empty():
        return {}
    empty = set(expected["session"].unique()) - set(
        indexed.join(actual.alias("timestamp").to_frame(), on="timestamp", how="semi")["session"].unique()
    )
    marked = missing.sort("position").with_columns(
        _reason(policy, refused, empty, failed=failed, not_listed=not_listed).alias("reason")
    )
    new_run = (
        (pl.col("position").diff() != 1)
        | (pl.col("session") != pl.col("session").shift(1))
        | (pl.col("reason") != pl.col("reason").shift(1))
    )
    runs = (
        marked.with_columns(new_run.fill_null(True).cum_sum().alias("run"))
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("session", "reason", "timestamp").first(),
            pl.col("end").last(),
            pl.len().alias("missing"),
        )
    )
    found: dict[date, list[Gap]] = {}
    for row in runs.iter_rows(named=True):
        gap = Gap(row["timestamp"], row["end"], row["missing"], GapReason(row["reason"]))
        found.setdefault(row["session"], []).append(gap)
    return {session: tuple(gaps) for session, gaps in found.items()}


def _reason(
    policy: GapPolicy, refused: pl.Series | None, empty: set[date], *, failed: bool, not_listed: frozenset[date]
) -> pl.Expr:
    if failed:
        within = pl.lit(GapReason.FETCH_FAILED.value)
    else:
        absent = GapReason.NO_TRADE if policy is GapPolicy.NO_TRADE else GapReason.UNKNOWN
        was_refused = pl.col("timestamp").is_in(refused.implode()) if refused is not None else pl.lit(False)
        sessions_refused = (
            pl.col("session").is_in(list(empty)) & ~was_refused.any().over("session") if empty else pl.lit(False)
        )
        within = (
            pl.when(was_refused)
            .then(pl.lit(GapReason.UNKNOWN.value))
            .when(sessions_refused)
            .then(pl.lit(GapReason.VENDOR_EMPTY.value))
            .otherwise(pl.lit(absent.value))
        )
    if not not_listed:
        return within
    return pl.when(pl.col("session").is_in(list(not_listed))).then(pl.lit(GapReason.NOT_LISTED.value)).otherwise(within)


def count_by_reason(gaps: Mapping[date, tuple[Gap, ...]]) -> dict[str, int]:
    """Missing bars by reason, over all sessions."""
    counts: dict[str, int] = {}
    for runs in gaps.values():
        for gap in runs:
            counts[gap.reason] = counts.get(gap.reason, 0) + gap.missing
    return counts
