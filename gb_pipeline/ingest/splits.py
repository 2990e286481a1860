"""This module fetches history again that a split changed at a vendor which adjusts its prices.

Which sessions these are, `adjustment.staleness` finds. They are fetched before anything newer is stored, so that a series never
mixes prices of before and after a split longer than the fetching takes; old and new content are recorded as any other restatement.
The splits are asked for by `corporate_actions`, and the fetching as such (`bars`) is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Protocol

import polars as pl

from gb_pipeline.adjustment.split_timeline import last_splits, split_periods
from gb_pipeline.adjustment.staleness import first_stored, split_adjusted, stale_sessions
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError, LakeError, TransientVendorError
from gb_pipeline.ingest.corporate_actions import ActionsOutcome, Refetch, ask_actions, equities
from gb_pipeline.ingest.job import Fetch, Job, Outcome
from gb_pipeline.ingest.recorder import Recorder, as_failed
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import ActionsProvider, Fetched, Provider


class Refetcher(Protocol):
    """`bars.refetch`: fetches stored sessions again, within a running event loop."""

    async def __call__(
        self,
        store: LakeStore,
        source: SourceSettings,
        resolution: Resolution,
        jobs: Sequence[Job],
        *,
        provider: Provider,
        run_id: str | None,
    ) -> list[Outcome]:
        """One outcome per job, in the order of the jobs."""
        ...


async def prepare_splits(
    recorder: Recorder, provider: Provider, symbols: Sequence[Symbol], start: date, refetch: Refetcher
) -> dict[str, ActionsOutcome]:
    """What has to happen before bars of a split-adjusting vendor may be stored: know its splits, and settle them.

    Returns:
        Outcomes by symbol; of one that has an error or is deferred nothing may be stored. What is no equity has none. Empty
        where the provider knows no corporate actions: then nobody can tell, and no fetch of them is recorded.
    """
    store, source = recorder.store, recorder.source
    symbols = equities(symbols)
    if not symbols or not isinstance(provider, ActionsProvider):
        return {}
    first = min(start, source.start, first_stored(store.tables, source.name, [item.code for item in symbols]) or start)
    until = store.clock().date() + timedelta(days=1)
    outcomes = await ask_actions(recorder, provider, symbols, first, max(until, first))
    settled = await settle_splits(recorder, provider, outcomes, refetch)
    return {outcome.symbol.code: outcome for outcome in settled}


def without_overtaken(store: LakeStore, source: SourceSettings, batch: Sequence[Fetch]) -> list[Fetch]:
    """Answers, with an error in place of each of which another process has learned of a split since it was asked for.

    It may lack the split, and stored now it would count as newer than that.
    """
    asked_at: dict[str, datetime] = {}
    for fetch in batch:
        if isinstance(fetch.answer, Fetched) and fetch.record is not None:
            code, moment = fetch.chunk.symbol.code, fetch.record.fetched_at
            asked_at[code] = min(asked_at.get(code, moment), moment)
    if not last_splits(store.tables, source.name).keys() & asked_at.keys():
        return list(batch)
    periods = split_periods(store.tables, source.name, list(asked_at))
    overtaken = {
        code
        for code, mine in periods.items()
        if any(edge.latest > asked_at[code] for period in mine for edge in period.edges)
    }
    return [_as_overtaken(fetch, source) if fetch.chunk.symbol.code in overtaken else fetch for fetch in batch]


def find_stale(store: LakeStore, source: SourceSettings, resolution: Resolution, codes: Sequence[str]) -> pl.DataFrame:
    """Stored sessions whose prices are of before a split, and that can be fetched again.

    Returns:
        `symbol`, `session` and `since` (when the newest of these splits was known, UTC), sorted.
    """
    nothing = pl.DataFrame(schema={"symbol": pl.String(), "session": pl.Date(), "since": INSTANT})
    if not last_splits(store.tables, source.name).keys() & set(codes):
        return nothing
    if resolution not in split_adjusted(store.tables, source.name):
        return nothing
    stale = stale_sessions(store.tables, source.name, resolution, codes, store.clock()).filter(~pl.col("lost"))
    if stale.is_empty():
        return nothing
    periods = split_periods(store.tables, source.name, codes)
    edges = [
        (code, period.ex_date, edge.latest) for code, own in periods.items() for period in own for edge in period.edges
    ]
    known = pl.DataFrame(edges, schema={"symbol": pl.String(), "splits": pl.Date(), "since": INSTANT}, orient="row")
    each = stale.explode("splits").join(known, on=["symbol", "splits"], how="left")
    return each.group_by("symbol", "session").agg(pl.col("since").max()).sort("symbol", "session")


def _as_overtaken(fetch: Fetch, source: SourceSettings) -> Fetch:
    record = fetch.record
    if not isinstance(fetch.answer, Fetched) or record is None:
        return fetch
    error = TransientVendorError(
        f"{source.name} {fetch.chunk.symbol.code}: a split became known while its bars were on their way",
        fix="run it again",
    )
    failed = as_failed(record, error, record.latency_ms / 1000, calls=record.calls, size=record.bytes)
    return Fetch(fetch.chunk, error, failed)


async def settle_splits(
    recorder: Recorder, provider: Provider, outcomes: Sequence[ActionsOutcome], refetch: Refetcher
) -> list[ActionsOutcome]:
    """Fetch again what splits made stale, and say so in the outcomes."""
    store, source = recorder.store, recorder.source
    answered = {outcome.symbol.code: outcome for outcome in outcomes if outcome.ok}
    for resolution in split_adjusted(store.tables, source.name) if answered else ():
        stale = stale_sessions(store.tables, source.name, resolution, list(answered), store.clock())
        stale = stale.filter(~stale["lost"])
        jobs, splits = [], []
        for (code,), rows in stale.group_by("symbol", maintain_order=True):
            sessions = rows["session"].to_list()
            jobs.append(Job(answered[str(code)].symbol, min(sessions), max(sessions) + timedelta(days=1)))
            splits.append(tuple(rows["splits"].explode().unique().drop_nulls().sort().to_list()))
        again = await refetch(store, source, resolution, jobs, provider=provider, run_id=recorder.run_id)
        for outcome, days in zip(again, splits, strict=True):
            known = answered[outcome.symbol.code]
            refetched = (*known.refetched, Refetch(resolution, days, outcome))
            answered[outcome.symbol.code] = replace(known, refetched=refetched)
        for code, error in _unsettled(store, source, resolution, answered).items():
            answered[code] = replace(answered[code], error=answered[code].error or error)
    return [answered.get(outcome.symbol.code, outcome) for outcome in outcomes]


def _unsettled(
    store: LakeStore, source: SourceSettings, resolution: Resolution, answered: dict[str, ActionsOutcome]
) -> dict[str, GbError]:
    """Symbols whose stored bars are still of before a split, although the vendor has them, and why."""
    errors: dict[str, GbError] = {}
    for code, outcome in answered.items():
        again = [item.outcome for item in outcome.refetched if item.resolution is resolution]
        if not again:
            continue
        stale = stale_sessions(store.tables, source.name, resolution, [code], store.clock())
        left = stale.filter(~stale["lost"])["session"].to_list()
        if not left:
            continue
        reason = next((item.error or item.deferred for item in again if item.error or item.deferred), None)
        what = f"{source.name} {code} {resolution}: {len(left)} sessions from {left[0]} on are of before a split"
        fix = "nothing newer is stored until they can be fetched again; run it again"
        if isinstance(reason, TransientVendorError):
            reason.what, reason.fix = f"{what}: {reason.what}", reason.fix or fix
            errors[code] = reason
        else:
            why = f": {reason.what}" if reason is not None else ", and the vendor's answer still has them so"
            errors[code] = LakeError(what + why, fix=fix)
    return errors
