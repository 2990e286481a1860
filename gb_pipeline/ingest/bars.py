"""Provider -> quality -> lake: the one code path of Dagster's assets and `gb fetch`.

Belongs here: cutting jobs into windows, fetching them concurrently within bounds, writing many symbols in one commit, and
saying what became of every session. Does not belong here: vendors (`providers`), the write itself (`lake`), Dagster.

Vendor trouble never raises: the sessions it concerns are `failed`, all others are stored. Once the calls of the vendor's day
are used up, what is left is `deferred`: the ledger says nothing new about it. Bugs do raise, after what was fetched has been
written.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import date, datetime
from itertools import chain

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    GbError,
    NotEntitled,
    PermanentVendorError,
    QuotaExhausted,
    UnknownSymbol,
    WindowRefused,
)
from gb_pipeline.ingest.job import Chunk, Fetch, Job, Outcome, Progress, asked, chunk_jobs, concat_answers
from gb_pipeline.ingest.recorder import failed, persist_response, stop
from gb_pipeline.ingest.splits import prepare, without_overtaken
from gb_pipeline.lake.coverage import deferred_sessions
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.report import SessionReport, session_reports
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED, Adjustment
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched, Provider
from gb_pipeline.providers.http.redaction import redact_errors
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
) -> list[Outcome]:
    """Fetch, judge and store.

    Args:
        store: where to; its clock is the present, of which bars are still open and which days have begun.
        source: whose data, and how it is judged.
        jobs: symbols and ranges of sessions; one symbol may stand in several jobs.
        provider: instead of the one that the settings name; it is not closed.
        run_id: kept with refused rows and fetches.
        on_outcome: called as soon as a job is stored, in the order in which they are.

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
    run = _Run(store, source, resolution, jobs, provider, run_id, on_outcome)
    return asyncio.run(run.all())


class _Run:
    """One call of `ingest`."""

    def __init__(
        self,
        store: LakeStore,
        source: SourceSettings,
        resolution: Resolution,
        jobs: Sequence[Job],
        provider: Provider | None,
        run_id: str | None,
        on_outcome: Callable[[Outcome], None] | None,
    ) -> None:
        self.store, self.source, self.resolution, self.run_id = store, source, resolution, run_id
        self.rules = source.rules(resolution)
        self._given = provider
        self._parts = chunk_jobs(jobs, self.rules)
        parts = Counter(part.job for part in self._parts)
        self._progress = [Progress(job, parts[position]) for position, job in enumerate(jobs)]
        self._listings = {job.symbol.code: source.listing(job.symbol) for job in jobs}
        self._on_outcome = on_outcome
        # Symbols of which nothing may be stored, and why: their splits are not known, or not settled.
        self._held: dict[str, GbError] = {}
        # Whether a row says that the calls of the vendor's day are used up: one says it for all that wait.
        self._told = False

    def now(self) -> datetime:
        return self.store.clock()

    async def all(self) -> list[Outcome]:
        for progress in self._progress:
            self._finish(progress)
        if self._parts:
            # Before anything is asked: without a key every session would fail, one by one.
            if self._given is None and (missing := missing_credentials(self.source)):
                raise missing[0]
            provider = self._given or build_provider(self.source, state_dir=self.store.storage.state)
            try:
                await self._prepare(provider)
                await self._store_everything(provider)
            finally:
                if self._given is None:
                    await provider.aclose()
        return [progress.outcome() for progress in self._progress]

    async def _prepare(self, provider: Provider) -> None:
        """Say what was done to the prices; where splits change a vendor's history, settle them before anything is stored."""
        adjustment = provider.adjustment
        if self.source.adjustment not in {None, adjustment}:
            raise ConfigError(
                f"source {self.source.name}: {provider.name} serves {adjustment.value} prices, not {self.source.adjustment}",
                fix="leave `adjustment` out: the provider knows",
            )
        self.rules = replace(self.rules, adjustment=adjustment)
        if adjustment is Adjustment.SPLIT:
            begun = [
                part
                for part in self._parts
                if asked(part, self.rules, self._listings[part.symbol.code], self.now()) is not None
            ]
            symbols = {part.symbol.code: part.symbol for part in begun}
            start = min((part.start for part in begun), default=self.source.start)
            settled = await prepare(
                self.store,
                self.source,
                provider,
                list(symbols.values()),
                start,
                refetch,
                run_id=self.run_id,
            )
            self._held = {code: error for code, item in settled.items() if (error := item.error or item.deferred)}

    async def _store_everything(self, provider: Provider) -> None:
        batch: list[Fetch] = []
        rows, since = 0, time.monotonic()
        async with aclosing(self._fetched(provider)) as stream:
            try:
                async for item in stream:
                    batch.append(item)
                    rows += item[1].frame.height if isinstance(item[1], Fetched) else 0
                    if rows >= BATCH_ROWS or time.monotonic() - since > BATCH_SECONDS:
                        full, batch, rows, since = batch, [], 0, time.monotonic()
                        await asyncio.to_thread(self._store, full)
            finally:
                # What was fetched is written even when a bug stops the rest.
                self._store(batch)

    async def _fetched(self, provider: Provider) -> AsyncGenerator[Fetch, None]:
        """Every part's answer as it arrives; at most `max_concurrency` are asked for, and as many wait to be stored."""
        waiting: Iterator[Chunk] = iter(self._parts)
        running: set[asyncio.Task[Fetch]] = set()
        try:
            while True:
                while len(running) < self.source.max_concurrency and (part := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self._fetch(provider, part)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                # A bug comes last: what the others brought is stored before it ends everything.
                for task in sorted(done, key=lambda task: task.exception() is not None):
                    item = task.result()
                    halves = self._bisect(item)
                    if halves:
                        self._progress[item[0].job].expect(1)
                        waiting = chain(halves, waiting)
                        self.store.record_fetches([item[2]] if item[2] is not None else [])
                    else:
                        yield item
        finally:
            await stop(self.store, running)

    def _bisect(self, item: Fetch) -> tuple[Chunk, ...]:
        """A window that fails for good may fail because of one of its sessions: find out which."""
        part, answer, record = item
        unsplittable = (
            record is None
            or isinstance(answer, UnknownSymbol | NotEntitled)
            or not isinstance(answer, PermanentVendorError)
        )
        sessions = [] if unsplittable else self.rules.calendar.sessions(part.start, part.end)
        return part.split(sessions) if len(sessions) > 1 else ()

    async def _fetch(self, provider: Provider, part: Chunk) -> Fetch:
        window = asked(part, self.rules, self._listings[part.symbol.code], self.now())
        if window is None:
            return part, None, None
        if part.symbol.code in self._held:
            return part, self._held[part.symbol.code], None
        row, clock = self._row(provider, part, window), time.monotonic()
        try:
            if not provider.supports(part.symbol, self.resolution):
                raise PermanentVendorError(
                    f"{self.source.name} has no {self.resolution} bars of {part.symbol}",
                    fix="choose another resolution for this source in gb.yaml",
                )
            with redact_errors(self.source.secrets):
                answer = await provider.fetch_bars(part.symbol, window, self.resolution)
        except QuotaExhausted as error:
            # The others are put to the provider all the same: it may have their answer already, and sends nothing.
            told, self._told = self._told, True
            return part, error, None if told and not error.calls else failed(row, error, time.monotonic() - clock)
        except GbError as error:
            return part, error, failed(row, error, time.monotonic() - clock)
        except BaseException as error:
            # A bug, or everything is being stopped: the vendor was asked all the same.
            self.store.record_fetches([failed(row, error, time.monotonic() - clock)])
            raise
        # From here on memory holds the rows only.
        lean, record = await persist_response(self.store, self.source, row, answer)
        return part, lean, replace(record, unplaced=self._unplaced(lean.frame))

    def _unplaced(self, frame: pl.DataFrame) -> int | None:
        """Rows of no session, or without a stamp that can be read; None of a frame that has no stamps to look at."""
        stamps = frame.get_column("timestamp", default=None)
        if stamps is None or stamps.dtype != RECEIVED["timestamp"]:
            return None
        return self.rules.calendar.session_of(stamps, self.resolution).null_count()

    def _row(self, provider: Provider, part: Chunk, asked: Window) -> FetchRecord:
        return FetchRecord(
            source=self.source.name,
            symbol=part.symbol.code,
            resolution=self.resolution.value,
            window_start=asked.start,
            window_end=asked.end,
            fetched_at=self.now(),
            outcome=FetchOutcome.ERROR,
            run_id=self.run_id,
            normaliser=provider.normaliser,
        )

    # --- storing -----------------------------------------------------------------------------------------------------

    def _store(self, batch: Sequence[Fetch]) -> None:
        """Write a batch: one commit for all symbols of a window, then tell of every job that is complete."""
        if self.rules.adjustment is Adjustment.SPLIT:
            batch = without_overtaken(self.store, self.source, batch)
        # Before any bar: what is stored has a fetch that brought it, wherever this process may die.
        self.store.record_fetches([record for _, _, record in batch if record is not None])
        groups: dict[tuple[date, date], list[Fetch]] = defaultdict(list)
        for item in batch:
            groups[item[0].start, item[0].end].append(item)
        for group in groups.values():
            fine = [item for item in group if not isinstance(item[1], GbError)]
            self._write(fine)
            self._fail(
                [
                    (part, error, record)
                    for part, error, record in group
                    if isinstance(error, GbError) and not isinstance(error, QuotaExhausted)
                ]
            )
            self._defer(group)
        for part, _, _ in batch:
            self._finish(self._progress[part.job])

    def _write(self, group: Sequence[Fetch]) -> None:
        if not group:
            return
        part = group[0][0]
        window = self.rules.calendar.window(part.start, part.end, self.resolution)
        try:
            report = self.store.write_bars(
                self.source.name,
                [item.symbol for item, _, _ in group],
                self.resolution,
                window,
                concat_answers(group),
                rules=self.rules,
                fetched_at=_asked_at(group, self.now()),
                run_id=self.run_id,
                listings=self._listings,
            )
        except WindowRefused as refusal:
            if len(group) > 1:
                # One vendor answer of the batch is broken; find out whose.
                for item in group:
                    self._write([item])
                return
            self._fail([(part, refusal, group[0][2])])
            return
        by_symbol: dict[str, list[SessionReport]] = defaultdict(list)
        for session in report.sessions:
            by_symbol[session.symbol].append(session)
        for done, _, record in group:
            self._progress[done.job].add(by_symbol[done.symbol.code], record, report)

    def _fail(self, group: Sequence[tuple[Chunk, GbError, FetchRecord | None]]) -> None:
        """One commit for all symbols of a window: a vendor that is down fails for hundreds at once."""
        if not group:
            return
        first = group[0][0]
        window = self.rules.calendar.window(first.start, first.end, self.resolution)
        by_symbol: dict[str, list[SessionReport]] = defaultdict(list)
        for session in self.store.record_failure(
            self.source.name,
            list(dict.fromkeys(part.symbol.code for part, _, _ in group)),
            window,
            rules=self.rules,
            listings=self._listings,
        ):
            by_symbol[session.symbol].append(session)
        for part, error, record in group:
            self._progress[part.job].add(by_symbol[part.symbol.code], record, None, error)

    def _defer(self, group: Sequence[Fetch]) -> None:
        waiting = [(item[0], item[1], item[2]) for item in group if isinstance(item[1], QuotaExhausted)]
        if not waiting:
            return
        first = waiting[0][0]
        window = self.rules.calendar.window(first.start, first.end, self.resolution)
        codes = list(dict.fromkeys(part.symbol.code for part, _, _ in waiting))
        by_symbol: dict[str, list[SessionReport]] = defaultdict(list)
        waited_for = deferred_sessions(codes, self.rules, window, self.now(), self._listings)
        for session in session_reports(waited_for):
            by_symbol[session.symbol].append(session)
        for part, error, record in waiting:
            self._progress[part.job].add(by_symbol[part.symbol.code], record, None, error)

    def _finish(self, progress: Progress) -> None:
        if progress.complete and not progress.told:
            progress.told = True
            if self._on_outcome is not None:
                self._on_outcome(progress.outcome())


def _asked_at(group: Sequence[Fetch], now: datetime) -> dict[str, datetime]:
    """When the vendor was asked about each symbol: what was open then is open in its answer, however late that is written.

    Of two answers of one symbol the earlier one counts; whoever was not asked is not older than the present.
    """
    moments: dict[str, datetime] = {}
    for part, _, record in group:
        moment = now if record is None else record.fetched_at
        moments[part.symbol.code] = min(moment, moments.get(part.symbol.code, moment))
    return moments


class _Refetch(_Run):
    """The same, for history that a split changed: the splits are known and settled by the caller."""

    async def _prepare(self, provider: Provider) -> None:
        self.rules = replace(self.rules, adjustment=provider.adjustment)


async def refetch(
    store: LakeStore,
    source: SourceSettings,
    resolution: Resolution,
    jobs: Sequence[Job],
    *,
    provider: Provider,
    run_id: str | None,
) -> list[Outcome]:
    """Fetch stored sessions again within a running event loop; see `ingest`."""
    return await _Refetch(store, source, resolution, jobs, provider, run_id, None).all()
