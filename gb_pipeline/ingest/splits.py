"""A split at a vendor that adjusts its history: every earlier bar changes, and is fetched again.

Belongs here: fetching again what `adjustment.staleness` finds, before anything newer is stored, so that a series never mixes
prices of before and after a split longer than the fetching takes. Old and new content are recorded as any other restatement.
Does not belong here: asking for the splits (`corporate_actions`), and fetching as such (`bars`), which is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Protocol

from gb_pipeline.adjustment.split_timeline import last_splits, split_periods
from gb_pipeline.adjustment.staleness import first_stored, split_adjusted, stale_sessions
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import GbError, LakeError, TransientVendorError
from gb_pipeline.ingest.corporate_actions import ActionsOutcome, Refetch, ask_actions, equities
from gb_pipeline.ingest.job import Fetch, Job, Outcome
from gb_pipeline.ingest.recorder import failed
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import ActionsProvider, Fetched, Provider


class Refetcher(Protocol):
    """`pipeline.refetch`: fetches stored sessions again, within a running event loop."""

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


async def prepare(
    store: LakeStore,
    source: SourceSettings,
    provider: Provider,
    symbols: Sequence[Symbol],
    start: date,
    refetch: Refetcher,
    *,
    run_id: str | None,
) -> dict[str, ActionsOutcome]:
    """What has to happen before bars of a split-adjusting vendor may be stored: know its splits, and settle them.

    Returns:
        Outcomes by symbol; of one that has an error or is deferred nothing may be stored. What is no share has none. Empty
        where the provider knows no corporate actions: then nobody can tell, and no fetch of them is recorded.
    """
    symbols = equities(symbols)
    if not symbols or not isinstance(provider, ActionsProvider):
        return {}
    first = min(start, source.start, first_stored(store.tables, source.name, [item.code for item in symbols]) or start)
    until = store.clock().date() + timedelta(days=1)
    asked = await ask_actions(store, source, provider, symbols, first, max(until, first), run_id=run_id)
    settled = await settle(store, source, provider, asked, refetch, run_id=run_id)
    return {outcome.symbol.code: outcome for outcome in settled}


def without_overtaken(store: LakeStore, source: SourceSettings, batch: Sequence[Fetch]) -> list[Fetch]:
    """Answers, with an error in place of each of which another process has learned of a split since it was asked for.

    It may lack the split, and stored now it would count as newer than that.
    """
    asked: dict[str, datetime] = {}
    for part, answer, record in batch:
        if isinstance(answer, Fetched) and record is not None:
            asked[part.symbol.code] = min(asked.get(part.symbol.code, record.fetched_at), record.fetched_at)
    if not last_splits(store.tables, source.name).keys() & asked.keys():
        return list(batch)
    periods = split_periods(store.tables, source.name, list(asked))
    late = {
        code
        for code, mine in periods.items()
        if any(edge.latest > asked[code] for period in mine for edge in period.edges)
    }
    kept: list[Fetch] = []
    for part, answer, record in batch:
        code = part.symbol.code
        if code in late and isinstance(answer, Fetched) and record is not None:
            error = TransientVendorError(
                f"{source.name} {code}: a split became known while its bars were on their way", fix="run it again"
            )
            kept.append((part, error, failed(record, error, record.latency_ms / 1000)))
        else:
            kept.append((part, answer, record))
    return kept


async def settle(
    store: LakeStore,
    source: SourceSettings,
    provider: Provider,
    outcomes: Sequence[ActionsOutcome],
    refetch: Refetcher,
    *,
    run_id: str | None,
) -> list[ActionsOutcome]:
    """Fetch again what splits made stale, and say so in the outcomes."""
    fine = {outcome.symbol.code: outcome for outcome in outcomes if outcome.error is None and outcome.deferred is None}
    for resolution in split_adjusted(store.tables, source.name) if fine else ():
        stale = stale_sessions(store.tables, source.name, resolution, list(fine), store.clock())
        stale = stale.filter(~stale["lost"])
        jobs, splits = [], []
        for (code,), rows in stale.group_by("symbol", maintain_order=True):
            sessions = rows["session"].to_list()
            symbol = fine[str(code)].symbol
            jobs.append(Job(symbol, min(sessions), max(sessions) + timedelta(days=1)))
            splits.append(tuple(rows["splits"].explode().unique().drop_nulls().sort().to_list()))
        done = await refetch(store, source, resolution, jobs, provider=provider, run_id=run_id)
        for outcome, days in zip(done, splits, strict=True):
            code = outcome.symbol.code
            fine[code] = replace(fine[code], refetched=(*fine[code].refetched, Refetch(resolution, days, outcome)))
        for code, error in _unsettled(store, source, resolution, fine).items():
            fine[code] = replace(fine[code], error=fine[code].error or error)
    return [fine.get(outcome.symbol.code, outcome) for outcome in outcomes]


def _unsettled(
    store: LakeStore, source: SourceSettings, resolution: object, fine: dict[str, ActionsOutcome]
) -> dict[str, GbError]:
    """Symbols whose stored bars are still of before a split, although the vendor has them, and why."""
    found: dict[str, GbError] = {}
    for code, outcome in fine.items():
        again = [item.outcome for item in outcome.refetched if item.resolution is resolution]
        if not again:
            continue
        stale = stale_sessions(store.tables, source.name, outcome.refetched[-1].resolution, [code], store.clock())
        left = stale.filter(~stale["lost"])["session"].to_list()
        if not left:
            continue
        reason = next((item.error or item.deferred for item in again if item.error or item.deferred), None)
        what = f"{source.name} {code} {resolution}: {len(left)} sessions from {left[0]} on are of before a split"
        fix = "nothing newer is stored until they can be fetched again; run it again"
        if isinstance(reason, TransientVendorError):
            reason.what, reason.fix = f"{what}: {reason.what}", reason.fix or fix
            found[code] = reason
        else:
            said = f": {reason.what}" if reason is not None else ", and the vendor's answer still has them so"
            found[code] = LakeError(what + said, fix=fix)
    return found
