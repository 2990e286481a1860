"""This module mends what a verification found.

It restores logs, takes damaged files out of their tables, and records in the ledger which sessions lack bars until they are
fetched again. Damage is found in `verification`, and bars are fetched in `gb_pipeline.ingest`.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.lake.datasets import SESSIONS, bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import VerifyReport
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.storage import reading, repair

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class LostSessions:
    """Sessions of one series whose bars are to be fetched again."""

    source: str
    symbol: str
    resolution: Resolution
    sessions: tuple[date, ...]


def mend(store: LakeStore, report: VerifyReport) -> tuple[list[str], list[LostSessions]]:
    """Restore logs and take damaged files out; what was done, and what has to be fetched again.

    Whole row groups of a damaged file stay with the history they had. The lost sessions are `failed` in the ledger until they are
    fetched again.

    Raises:
        LakeError: a log can be restored neither from its entries nor from their mirrors.
    """
    repairs: list[str] = []
    for name in dict.fromkeys(damage.table for damage in report.damages if not damage.file and not damage.sessions):
        repairs += repair.restore_log(store.tables[name])
    lost: dict[tuple[str, str, Resolution], set[date]] = {}
    # Sessions that can be read but are not as recorded: they are not trusted before they are fetched again.
    doubtful: dict[tuple[str, str, Resolution], set[date]] = {}
    for name in dict.fromkeys(damage.table for damage in report.damages if damage.broken is not None):
        file_damages = [damage for damage in report.damages if damage.table == name and damage.broken is not None]
        broken = [damage.broken for damage in file_damages if damage.broken is not None]
        if name == SESSIONS.name:
            # What the ledger has not taken over yet is left out of it; the rest is taken out below.
            without = frozenset(str(item.row["path"]) for item in broken)
            ledger.take_over_all(store.tables, without=without, clock=store.clock)
        kept_rows = repair.remove_damaged(store.tables[name], broken, clock=store.clock)
        rows = sum(int(item.row["rows"] or 0) for item in broken)
        files = "1 damaged file was" if len(broken) == 1 else f"{len(broken):,} damaged files were"
        repairs.append(f"{files} taken out of {name}; {kept_rows:,} of their {rows:,} rows were kept")
    for damage in report.damages:
        if damage.resolution is not None and damage.current:
            for symbol in damage.symbols:
                key = damage.source, symbol, damage.resolution
                lost.setdefault(key, set()).update(damage.sessions)
                if damage.broken is None:
                    doubtful.setdefault(key, set()).update(damage.sessions)
    lost_sessions = [LostSessions(*key, tuple(sorted(days))) for key, days in sorted(lost.items()) if days]
    for item in lost_sessions:
        _mark_failed(store, item, doubtful.get((item.source, item.symbol, item.resolution), set()))
    return repairs, lost_sessions


def _mark_failed(store: LakeStore, lost: LostSessions, doubtful: Set[date]) -> None:
    """Record in the ledger what is left of the sessions, so that they count as gaps until they are fetched again.

    Without its fingerprint a session is compared bar by bar then.
    """
    first, last = lost.sessions[0], lost.sessions[-1]
    recorded = ledger.current(store.tables, lost.source, lost.resolution, [lost.symbol], (first, last + _DAY)).filter(
        pl.col("session").is_in(list(lost.sessions))
    )
    if recorded.is_empty():
        return
    readable = _count_readable(store, lost, recorded)
    gap = pl.struct(
        pl.coalesce("first_timestamp", pl.col("session").cast(pl.Datetime("us", "UTC"))).alias("start"),
        pl.coalesce("last_timestamp", pl.col("session").cast(pl.Datetime("us", "UTC"))).alias("end"),
        (pl.col("actual") - pl.col("readable")).alias("missing"),
        pl.lit("fetch_failed").alias("reason"),
    )
    fewer = pl.col("readable") < pl.col("actual")
    ledger_rows = (
        recorded.join(readable, on="session", how="left")
        .with_columns(pl.col("readable").fill_null(0))
        .filter(fewer | pl.col("session").is_in(list(doubtful)))
    )
    ledger_rows = ledger_rows.with_columns(
        pl.when(fewer).then(pl.concat_list(gap)).otherwise("gaps").alias("gaps"),
        pl.when(fewer)
        .then(pl.col("missing") + pl.col("actual") - pl.col("readable"))
        .otherwise("missing")
        .alias("missing"),
        pl.col("readable").alias("actual"),
        pl.lit("failed").alias("status"),
        pl.lit(None, pl.Int64).alias("fingerprint"),
        pl.lit(-1, pl.Int64).alias("table_version"),
    )
    ledger.append_changed(store.tables, ledger_rows.select(SESSIONS.columns.names), clock=store.clock)


def _count_readable(store: LakeStore, lost: LostSessions, recorded: pl.DataFrame) -> pl.DataFrame:
    """How many bars of each session can still be read."""
    counts = []
    for precision in Precision:
        snapshot = store.tables.newest(bars_dataset(lost.resolution, precision).name)
        files = reading.current_files(
            snapshot, snapshot.select({"source": lost.source}, holding={"symbol": [lost.symbol]})
        )
        rows = reading.read(store.storage, snapshot.dataset, files, ["symbol", "timestamp"])
        bars = rows.filter(pl.col("symbol") == lost.symbol).select("timestamp")
        edges = recorded.drop_nulls("first_timestamp").select("session", "first_timestamp", "last_timestamp")
        counts.append(
            bars.join_where(
                edges,
                pl.col("timestamp") >= pl.col("first_timestamp"),
                pl.col("timestamp") <= pl.col("last_timestamp"),
            ).select("session")
        )
    return pl.concat(counts).group_by("session").agg(pl.len().cast(pl.Int64).alias("readable"))
