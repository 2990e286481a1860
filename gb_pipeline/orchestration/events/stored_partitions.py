"""This module says which partitions are stored, out of the lake's ledger, in the shape in which a run would report them.

So what was fetched without Dagster can be told to it (`project_events`). A partition is stored if everything of it is that has
ended by now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime

import polars as pl

from gb_pipeline.ingest.backlog import Why, find_backlog
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake import ledger
from gb_pipeline.lake.explained import explain_sessions
from gb_pipeline.lake.report import DESCRIBED, SessionReport, SessionStatus, session_reports
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.events.outcome import PartitionOutcome
from gb_pipeline.orchestration.series_group import SeriesGroup

# What keeps a partition from being stored; unexplained gaps do not: they are said.
ABSENT = [why.value for why in (Why.NEW, Why.FAILED, Why.REFUSED, Why.MORE_BARS, Why.NOT_LISTED)]
_KEYS = ["symbol", "key"]
_COUNTS = {pl.Int64(), pl.Boolean()}


def find_stored_partitions(
    store: LakeStore, group: SeriesGroup, symbols: Sequence[Symbol], start: date, end: date | None
) -> pl.DataFrame:
    """The partitions of a group that are stored as a whole.

    Args:
        store: whose ledger tells.
        group: the series, and how they are cut.
        symbols: of the group.
        start, end: days [start, end); everything from the start on by default. Both lie between partitions.

    Returns:
        `symbol` and `key`, sorted: sessions of them are recorded, and none that has ended is absent, failed or refused.
    """
    backlog = find_backlog(store, group.source, group.resolution, symbols, start, end)
    ended = backlog.days.filter("finished")["session"]
    absent = backlog.sessions.filter(pl.col("why").is_in(ABSENT) & pl.col("session").is_in(ended.implode()))
    recorded = recorded_sessions(store, group, [symbol.code for symbol in symbols], (start, backlog.end))
    stored = recorded.filter(pl.col("status") != SessionStatus.CLOSED.value).select(_KEYS).unique()
    blocked = absent.select("symbol", group.partitioning.keys(absent["session"]).alias("key"))
    return stored.join(blocked, on=_KEYS, how="anti").sort(_KEYS)


def stored_outcomes(
    store: LakeStore,
    group: SeriesGroup,
    symbols: Sequence[Symbol],
    partitions: pl.DataFrame,
    jobs: Sequence[Outcome] = (),
) -> Iterator[tuple[Symbol, PartitionOutcome]]:
    """Some partitions as the ledger has them, by symbol and key.

    Args:
        store: whose ledger tells.
        group: of the series.
        symbols: of the group.
        partitions: `symbol` and `key` of those that are wanted.
        jobs: that have just been fetched: their reports of sessions know more than the ledger does.
    """
    if partitions.is_empty():
        return
    spans = [group.partitioning.sessions(key) for key in partitions["key"].unique()]
    start, end = min(first for first, _ in spans), max(last for _, last in spans)
    codes = partitions["symbol"].unique().to_list()
    recorded = recorded_sessions(store, group, codes, (start, end)).join(
        partitions, on=_KEYS, how="semi", maintain_order="left"
    )
    reports = {(report.symbol, report.session): report for report in session_reports(_as_described(recorded))}
    wanted = set(partitions.select(_KEYS).iter_rows())
    job_of: dict[tuple[str, str], Outcome] = {}
    for job in jobs:
        for report in job.sessions:
            if (place := (report.symbol, group.partitioning.key(report.session))) in wanted:
                reports[report.symbol, report.session] = report
                job_of[place] = job
    sessions: dict[tuple[str, str], list[SessionReport]] = defaultdict(list)
    for (code, session), report in sorted(reports.items(), key=lambda item: item[0]):
        sessions[code, group.partitioning.key(session)].append(report)
    known = {symbol.code: symbol for symbol in symbols}
    for place, own in sessions.items():
        code, key = place
        blank = Outcome(known[code], own[0].session, own[-1].session)
        yield known[code], PartitionOutcome(key, tuple(own), job_of.get(place, blank))


def existing_keys(group: SeriesGroup, now: datetime) -> frozenset[str]:
    """The partitions that Dagster knows of by now, and that can be stored as a whole."""
    keys = group.partitions.get_partition_keys(current_time=now)
    # Only the newest ones can have sessions that are not over.
    return frozenset([*keys[:-3], *group.find_over(keys[-3:], now)])


def recorded_sessions(
    store: LakeStore, group: SeriesGroup, codes: Sequence[str], between: tuple[date, date] | None = None
) -> pl.DataFrame:
    """What the ledger holds of a group, with what incidents explain, and the partition of each session as `key`."""
    rows = ledger.current(store.tables, group.source.name, group.resolution, codes, between)
    if store.incidents is not None:
        rows = explain_sessions(rows, store.incidents())
    return rows.with_columns(group.partitioning.keys(rows["session"]).alias("key"))


def _as_described(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the ledger as a write describes them; what only the write knew is zero or null."""
    columns = [
        pl.col(name) if name in rows.columns else pl.lit(0 if kind in _COUNTS else None).cast(kind).alias(name)
        for name, kind in DESCRIBED.items()
    ]
    # Gaps that incidents explain say more than those that are stored.
    return rows.select(columns).cast({name: kind for name, kind in DESCRIBED.items() if name != "gaps"})
