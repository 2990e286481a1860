"""This module leaves sessions that were removed on purpose out of what vendors are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import polars as pl

from gb_pipeline.ingest.job import Chunk, Job
from gb_pipeline.lake import ledger, removals
from gb_pipeline.lake.removed_sessions import REMOVED, removed_reports
from gb_pipeline.lake.report import SessionReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.rules import BarRules

_DAY = timedelta(days=1)


def find_removed(store: LakeStore, source: str, resolution: Resolution, jobs: Sequence[Job]) -> pl.DataFrame:
    """Rows of the ledger for the removed sessions of some jobs."""
    if not jobs or not removals.exist(store.tables, resolution):
        return ledger.SESSIONS_EMPTY
    days = min(job.start for job in jobs), max(job.end for job in jobs)
    codes = sorted({job.symbol.code for job in jobs})
    rows = ledger.current(store.tables, source, resolution, codes, days)
    return rows.filter(pl.col("status") == REMOVED)


def without_removed(chunks: Sequence[Chunk], removed: pl.DataFrame, rules: BarRules) -> list[Chunk]:
    """The chunks without these sessions; one that has some inside falls into several."""
    if removed.is_empty():
        return list(chunks)
    sessions = {code: set(own["session"]) for (code,), own in removed.group_by("symbol")}
    return [part for chunk in chunks for part in _stretches(chunk, sessions.get(chunk.symbol.code, set()), rules)]


def removed_reports_of(job: Job, removed: pl.DataFrame) -> tuple[SessionReport, ...]:
    """What an outcome says of the removed sessions of a job."""
    own = (pl.col("symbol") == job.symbol.code) & (pl.col("session") >= job.start) & (pl.col("session") < job.end)
    return removed_reports(removed.filter(own)) if removed.height else ()


def _stretches(chunk: Chunk, removed: set[object], rules: BarRules) -> Iterator[Chunk]:
    """The parts of a chunk between removed sessions; closed days after one go with it."""
    if not removed:
        yield chunk
        return
    if rules.resolution.intraday:
        days = rules.calendar.sessions(chunk.start, chunk.end)
    else:
        days = rules.calendar.expected(chunk.start, chunk.end, rules.resolution, rules.alignment)["session"].to_list()
    start, is_asked = chunk.start, not days
    for day, following in zip(days, [*days[1:], chunk.end], strict=True):
        if day not in removed:
            is_asked = True
            continue
        if is_asked:
            yield replace(chunk, start=start, end=day)
        start, is_asked = following, False
    if is_asked:
        yield replace(chunk, start=start)
