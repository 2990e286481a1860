"""This module is the one way of bars from a provider into the lake: of Dagster's assets, and of `gb fetch`.

It cuts jobs into chunks, has them fetched (`fetcher`) and stored in batches (`batch_writer`), and returns what became of every
session. Vendors are in `providers`, the write itself is in `lake`.

Vendor trouble never raises: the sessions it concerns are `failed`, all others are stored. Once the calls of the vendor's day
are used up, what is left is `deferred`: the ledger says nothing new about it. Bugs do raise, after what was fetched has been
written.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError
from gb_pipeline.ingest.batch_writer import BatchWriter
from gb_pipeline.ingest.fetcher import Fetcher
from gb_pipeline.ingest.job import Chunk, Fetch, Job, Outcome, Progress, chunk_jobs, request_window
from gb_pipeline.ingest.recorder import Recorder
from gb_pipeline.ingest.removed import find_removed, removed_reports_of, without_removed
from gb_pipeline.ingest.splits import prepare_splits
from gb_pipeline.lake import ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.providers.base import Provider
from gb_pipeline.providers.registry import build_provider, missing_credentials

# One commit per so many rows: large enough that commits cost nothing, small enough that memory stays flat.
BATCH_ROWS = 500_000
# A slow vendor's rows do not wait longer than this for company.
BATCH_SECONDS = 20.0


def ingest(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    jobs: Sequence[Job],
    *,
    provider: Provider | None = None,
    run_id: str | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_answer: Callable[[Chunk], None] | None = None,
    again: bool = False,
) -> list[Outcome]:
    """Fetch, validate and store. Sessions that were removed on purpose are left out.

    Args:
        store: where to; its clock is the present, of which bars are still open and which days have begun.
        source: whose data, and how it is validated.
        jobs: symbols and ranges of sessions; one symbol may stand in several jobs.
        provider: instead of the one that the settings name; it is not closed.
        run_id: kept with refused rows and fetches.
        on_outcome: called as soon as a job is stored, in the order in which they are.
        on_answer: called as soon as the answer to a chunk has come, well or not, which may be long before it is stored.
        again: also sessions that were removed on purpose, which brings them back.

    Returns:
        One outcome per job, in the order of the jobs. Nothing raises for vendor trouble.

    Raises:
        ConfigError: the source's provider or calendar cannot be built, or a credential is missing.
        LakeError: the lake cannot be written.

    Example:
        >>> day = Job(Symbol.crypto("BTC-USD"), date(2024, 1, 2), date(2024, 1, 3))
        >>> ingest(LakeStore.at("data"), settings.source("coinbase"), Resolution.MINUTE, [day])[0].ok
        True
    """
    run = _Run(store, source, resolution, jobs, provider, run_id, on_outcome, on_answer, again=again)
    return asyncio.run(run.run())


class _Run:
    """One call of `ingest`, or of `refetch`."""

    def __init__(
        self,
        store: LakeStore,
        source: SourceSettings,
        resolution: Resolution,
        jobs: Sequence[Job],
        provider: Provider | None,
        run_id: str | None,
        on_outcome: Callable[[Outcome], None] | None,
        on_answer: Callable[[Chunk], None] | None = None,
        *,
        again: bool = False,
    ) -> None:
        self.store, self.source, self.resolution = store, source, resolution
        self.rules = source.rules(resolution)
        self.recorder = Recorder(store, source, run_id)
        self._given_provider = provider
        self._on_answer = on_answer
        self._planned_at = ledger.newest_moment(store.tables, resolution)
        removed = find_removed(store, source.name, resolution, [] if again else jobs)
        self._chunks = without_removed(chunk_jobs(jobs, self.rules), removed, self.rules)
        counts = Counter(chunk.job for chunk in self._chunks)
        self._progress = [
            Progress(job, counts[position], on_outcome, removed_reports_of(job, removed))
            for position, job in enumerate(jobs)
        ]
        self._listings = {job.symbol.code: source.listing(job.symbol) for job in jobs}

    async def run(self, *, splits_settled: bool = False) -> list[Outcome]:
        for progress in self._progress:
            progress.report()
        if self._chunks:
            # Before anything is asked: without a key every session would fail, one by one.
            if self._given_provider is None and (missing := missing_credentials(self.source)):
                raise missing[0]
            provider = self._given_provider or build_provider(self.source, state_dir=self.store.storage.state)
            try:
                self.rules = replace(self.rules, adjustment=provider.adjustment)
                blocked = {} if splits_settled else await self._settle_splits(provider)
                await self._fetch_and_store(provider, blocked)
            finally:
                if self._given_provider is None:
                    await provider.aclose()
        return [progress.outcome() for progress in self._progress]

    async def _settle_splits(self, provider: Provider) -> dict[str, GbError]:
        """Where splits change a vendor's history, settle them first; symbols of which nothing may be stored, and why.

        Raises:
            ConfigError: the settings contradict what the provider says of its prices.
        """
        if self.source.adjustment not in {None, provider.adjustment}:
            raise ConfigError(
                f"source {self.source.name}: {provider.name} serves {provider.adjustment.value} prices,"
                f" not {self.source.adjustment}",
                fix="leave `adjustment` out: the provider knows",
            )
        if provider.adjustment is not Adjustment.SPLIT:
            return {}
        begun = [
            chunk
            for chunk in self._chunks
            if request_window(chunk, self.rules, self._listings[chunk.symbol.code], self.store.clock()) is not None
        ]
        settled = await prepare_splits(
            self.recorder,
            provider,
            list({chunk.symbol.code: chunk.symbol for chunk in begun}.values()),
            min((chunk.start for chunk in begun), default=self.source.start),
            refetch,
        )
        return {code: error for code, outcome in settled.items() if (error := outcome.error or outcome.deferred)}

    async def _fetch_and_store(self, provider: Provider, blocked: dict[str, GbError]) -> None:
        fetcher = Fetcher(self.recorder, provider, self.resolution, self.rules, self._listings, blocked, self._progress)
        # A provider that was given may be less than the protocol asks for.
        zone = provider.stamp_zone if isinstance(provider, Provider) else None
        writer = BatchWriter(
            self.recorder, self.resolution, self.rules, self._listings, self._progress, self._planned_at, zone
        )
        batch: list[Fetch] = []
        rows, since = 0, time.monotonic()
        async with aclosing(fetcher.fetch_all(self._chunks)) as stream:
            try:
                async for fetch in stream:
                    batch.append(fetch)
                    rows += fetch.rows
                    if self._on_answer is not None:
                        self._on_answer(fetch.chunk)
                    if rows >= BATCH_ROWS or time.monotonic() - since > BATCH_SECONDS:
                        full, batch, rows, since = batch, [], 0, time.monotonic()
                        await _in_a_thread(writer, full)
            finally:
                # What was fetched is written even when a bug stops the rest.
                writer.write(batch)


async def _in_a_thread(writer: BatchWriter, batch: Sequence[Fetch]) -> None:
    """Store a batch while others are fetched; whoever is stopped meanwhile stops when it is stored."""
    writing = asyncio.create_task(asyncio.to_thread(writer.write, batch))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await writing
        raise


async def refetch(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    jobs: Sequence[Job],
    *,
    provider: Provider,
    run_id: str | None,
) -> list[Outcome]:
    """Fetch history again that a split changed, within a running event loop; see `ingest`.

    The splits are known, and settled by the caller.
    """
    return await _Run(store, source, resolution, jobs, provider, run_id, None).run(splits_settled=True)
