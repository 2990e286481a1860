"""This module describes sessions whose bars were taken out on purpose, for the ledger, without a calendar.

What the calendar expected of them is in the ledger already.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from gb_pipeline.lake.datasets import SESSIONS
from gb_pipeline.lake.proofs import place_bars
from gb_pipeline.lake.report import DESCRIBED, SessionReport, SessionStatus, session_reports
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.fingerprint import describe_runs
from gb_pipeline.quality.gaps import GapReason

# Days without bars of these states say nothing about bars that were removed.
_NO_SESSIONS = [SessionStatus.CLOSED.value, SessionStatus.NOT_LISTED.value]
_COUNTS = {pl.Int64(), pl.Boolean()}
_GAPS = SESSIONS.polars["gaps"]
REMOVED = SessionStatus.REMOVED.value


def removable(recorded: pl.DataFrame) -> pl.DataFrame:
    """Of rows of the ledger, those of sessions that can be removed and are not yet."""
    return recorded.filter(~pl.col("status").is_in([*_NO_SESSIONS, REMOVED]))


def describe_removed(recorded: pl.DataFrame, resolution: Resolution, version: int) -> pl.DataFrame:
    """Rows of the ledger for sessions that hold no bar any more; what the calendar expected stays, and is `removed`.

    Args:
        recorded: what the ledger had of them.
        version: of the table of bars from which on it holds.
    """
    return _emptied(recorded, resolution, SessionStatus.REMOVED, GapReason.REMOVED, version)


def describe_restored(recorded: pl.DataFrame, resolution: Resolution, version: int) -> pl.DataFrame:
    """Rows of the ledger for removed sessions that may be fetched again: what they lack is not explained any more."""
    return _emptied(recorded, resolution, SessionStatus.EMPTY, GapReason.UNKNOWN, version)


def describe_rest(
    recorded: pl.DataFrame, rest: pl.DataFrame, source: str, resolution: Resolution, precision: Precision, version: int
) -> pl.DataFrame:
    """Rows of the ledger for sessions of which some bars stay in the sibling table; those that lose none are left out.

    Args:
        recorded: what the ledger had of them.
        rest: the bars that stay, of one precision, sorted by symbol and timestamp.
    """
    if rest.is_empty():
        return describe_removed(recorded, resolution, version)
    placed = _place(rest, recorded, source, resolution, precision)
    joined = recorded.join(placed, on=["symbol", "session"], how="left", maintain_order="left")
    gone = joined.filter(pl.col("rows").is_null()).select(recorded.columns)
    fewer = joined.filter(pl.col("rows") < pl.col("actual"))
    missing = pl.max_horizontal(pl.col("missing"), pl.col("expected") - pl.col("rows"))
    described = fewer.with_columns(
        pl.col("rows").alias("actual"),
        pl.col("new_fingerprint").alias("fingerprint"),
        missing.alias("missing"),
        pl.col("gaps").list.concat(pl.concat_list(_gap(resolution, missing - pl.col("missing"), GapReason.REMOVED))),
        pl.col("new_first").alias("first_timestamp"),
        pl.col("new_last").alias("last_timestamp"),
        pl.lit(SessionStatus.PARTIAL.value).alias("status"),
        pl.lit(version, pl.Int64).alias("table_version"),
    ).select(recorded.columns)
    return pl.concat([describe_removed(gone, resolution, version), described]).sort("symbol", "session")


def describe_renamed(
    recorded: pl.DataFrame, held: pl.DataFrame, source: str, resolution: Resolution, precision: Precision, version: int
) -> pl.DataFrame:
    """Rows of the ledger for a series under its new symbol: of sessions of which it holds bars, and of days without any.

    Args:
        recorded: what the ledger had of them under the old symbol, named by the new one already.
        held: the bars that it holds then, sorted by symbol and timestamp.
    """
    placed = _place(held, recorded, source, resolution, precision)
    # What was said to be removed has only been moved, in an entry before this one.
    gaps = pl.col("gaps").list.filter(pl.element().struct.field("reason") != GapReason.REMOVED.value)
    was_moved = gaps.list.len() != pl.col("gaps").list.len()
    counted = gaps.list.eval(pl.element().struct.field("missing")).list.sum().fill_null(0)
    waits = (pl.col("expected") - pl.col("rows") - counted).clip(lower_bound=0)
    rest = pl.when(waits > 0).then(pl.concat_list(_gap(resolution, waits, GapReason.UNKNOWN)).cast(_GAPS))
    is_whole = (waits == 0) & (counted == 0)
    joined = recorded.join(placed, on=["symbol", "session"], maintain_order="left")
    moved = joined.with_columns(
        pl.col("rows").alias("actual"),
        pl.col("new_fingerprint").alias("fingerprint"),
        pl.col("new_first").alias("first_timestamp"),
        pl.col("new_last").alias("last_timestamp"),
        (counted + waits).alias("missing"),
        pl.when(waits > 0).then(gaps.list.concat(rest)).otherwise(gaps).alias("gaps"),
        pl.when(was_moved | (waits > 0))
        .then(
            pl.when(is_whole).then(pl.lit(SessionStatus.COMPLETE.value)).otherwise(pl.lit(SessionStatus.PARTIAL.value))
        )
        .otherwise("status")
        .alias("status"),
        pl.lit(precision.value).alias("precision"),
        pl.lit(version, pl.Int64).alias("table_version"),
    ).select(recorded.columns)
    return pl.concat([moved, recorded.filter(pl.col("actual") == 0)]).sort("symbol", "session")


def removed_reports(recorded: pl.DataFrame) -> tuple[SessionReport, ...]:
    """A report for each row of the ledger, of sessions that nobody was asked for."""
    columns = [
        pl.col(name) if name in recorded.columns else pl.lit(0 if kind in _COUNTS else None).cast(kind).alias(name)
        for name, kind in DESCRIBED.items()
    ]
    return session_reports(recorded.select(columns).cast(DESCRIBED))


def _place(
    rows: pl.DataFrame, recorded: pl.DataFrame, source: str, resolution: Resolution, precision: Precision
) -> pl.DataFrame:
    """What some bars make of recorded sessions: `symbol, session, rows, new_fingerprint, new_first, new_last`."""
    runs, _ = place_bars(rows, recorded, resolution)
    stamps = runs.frame["timestamp"]
    return (
        describe_runs(runs, source, resolution, precision)
        .rename({"fingerprint": "new_fingerprint"})
        .with_columns(stamps[runs.starts].alias("new_first"), stamps[runs.starts + runs.counts - 1].alias("new_last"))
    )


def _emptied(
    recorded: pl.DataFrame, resolution: Resolution, status: SessionStatus, reason: GapReason, version: int
) -> pl.DataFrame:
    return recorded.with_columns(
        pl.lit(status.value).alias("status"),
        *(pl.lit(0, pl.Int64).alias(name) for name in ("actual", "quarantined", "warnings", "withdrawn")),
        pl.col("expected").alias("missing"),
        pl.concat_list(_gap(resolution, pl.col("expected"), reason)).cast(_GAPS).alias("gaps"),
        pl.lit(None, pl.Int64).alias("fingerprint"),
        *(pl.lit(None, INSTANT).alias(f"{edge}_timestamp") for edge in ("first", "last")),
        pl.lit(version, pl.Int64).alias("table_version"),
    )


def _gap(resolution: Resolution, missing: pl.Expr, reason: GapReason) -> pl.Expr:
    """One gap over all that the ledger knows of a session: its bars, and what it lacked."""
    midnight = pl.col("session").cast(INSTANT)
    length = resolution.duration or timedelta(days=1)
    gaps = pl.col("gaps").list.eval
    starts = gaps(pl.element().struct.field("start")).list.min()
    ends = gaps(pl.element().struct.field("end")).list.max()
    return pl.struct(
        pl.coalesce(pl.min_horizontal("first_timestamp", starts), midnight).alias("start"),
        pl.coalesce(pl.max_horizontal(pl.col("last_timestamp") + length, ends), midnight + length).alias("end"),
        missing.cast(pl.Int64).alias("missing"),
        pl.lit(reason.value).alias("reason"),
    )
