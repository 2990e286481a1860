"""This module asks for corporate actions, many symbols at a time, and stores the answers.

What an action is, is decided in `quality`; how it is kept in `lake.corporate_actions`; what a split does to history in `splits`.
Vendor trouble never raises: it is the outcome of the symbol that it concerns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError, QuotaExhausted, WindowRefused
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.ingest.recorder import Recorder
from gb_pipeline.lake.corporate_actions import TABLE, ActionsReport
from gb_pipeline.lake.fetches import FetchRecord
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.base import ActionsProvider, Fetched, Provider

# Symbols whose answers are stored together.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class _Fetch:
    """What became of a symbol at the vendor; without a record it was not asked."""

    symbol: Symbol
    answer: Fetched | GbError
    record: FetchRecord | None


@dataclass(frozen=True, slots=True)
class Refetch:
    """History that was fetched again because a split changed it.

    Attributes:
        resolution: of the bars.
        splits: ex dates of the splits that the stored prices were fetched before.
        outcome: what became of the range, as of any ingestion.
    """

    resolution: Resolution
    splits: tuple[date, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ActionsOutcome:
    """What became of one symbol.

    Attributes:
        start, end: the half-open range of ex dates that was asked for.
        error: why there is no answer, or why the history that a split changed could not be fetched again.
        deferred: why the vendor was not asked: the calls of its day are used up; nothing failed.
        received: actions in the answer.
        new, restated, unchanged, withdrawn, quarantined, repeated, late: what they were; see
            `lake.corporate_actions.ActionsReport`.
        doubtful: splits that look like one split under two dates.
        worst: the first few refused rows.
        latency_ms, calls, vendor_bytes: of the vendor.
        version: the table's version after the commit; None when nothing had to be committed.
        refetched: ranges of bars that were fetched again.
    """

    symbol: Symbol
    start: date
    end: date
    error: GbError | None = None
    deferred: QuotaExhausted | None = None
    received: int = 0
    new: int = 0
    restated: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    quarantined: int = 0
    repeated: int = 0
    late: int = 0
    doubtful: tuple[str, ...] = ()
    worst: tuple[dict[str, str], ...] = ()
    latency_ms: int = 0
    calls: int = 0
    vendor_bytes: int = 0
    version: int | None = None
    refetched: tuple[Refetch, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether the lake holds what the vendor says, history included."""
        return self.error is None and self.deferred is None

    @property
    def deferred_until(self) -> datetime | None:
        """When the vendor can be asked again, in UTC; None where it was asked."""
        return None if self.deferred is None else self.deferred.until

    @property
    def restated_by_split(self) -> tuple[date, ...]:
        """Ex dates of the splits because of which history was fetched again."""
        return tuple(sorted({day for refetch in self.refetched for day in refetch.splits}))


def equities(symbols: Sequence[Symbol]) -> list[Symbol]:
    """Those that can have corporate actions."""
    return [symbol for symbol in symbols if symbol.asset_class is AssetClass.EQUITY]


def actions_of(source: SourceSettings, provider: Provider) -> ActionsProvider:
    """The provider, as one that knows corporate actions.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(provider, ActionsProvider):
        raise ConfigError(
            f"source {source.name}: {provider.name} knows no corporate actions",
            fix="fetch them from a source that does, such as massive, alpaca, alpha_vantage or yahoo",
        )
    return provider


async def ask_actions(
    recorder: Recorder, provider: Provider, symbols: Sequence[Symbol], start: date, end: date
) -> list[ActionsOutcome]:
    """Ask for every symbol and store the answers.

    Args:
        recorder: of the source that is asked.
        provider: of that source.
        symbols: in the order of the outcomes.
        start, end: half-open range of ex dates.

    Raises:
        ConfigError: the provider knows no corporate actions.
        LakeError: the lake cannot be written.
    """
    actions = actions_of(recorder.source, provider)
    outcomes: list[ActionsOutcome] = []
    exhausted: QuotaExhausted | None = None
    for first in range(0, len(symbols), _BATCH):
        batch = _Batch(recorder, actions, provider.normaliser, start, end, exhausted)
        outcomes += await batch.run(symbols[first : first + _BATCH])
        exhausted = batch.exhausted
    return outcomes


@dataclass
class _Batch:
    """Symbols whose answers are stored together."""

    recorder: Recorder
    provider: ActionsProvider
    normaliser: str
    start: date
    end: date
    exhausted: QuotaExhausted | None

    async def run(self, symbols: Sequence[Symbol]) -> list[ActionsOutcome]:
        turns = asyncio.Semaphore(self.recorder.source.max_concurrency)
        tasks = [asyncio.create_task(self._fetch(symbol, turns)) for symbol in symbols]
        try:
            fetches = [await task for task in tasks]
        except BaseException:
            await self.recorder.stop(tasks)
            raise
        return await asyncio.to_thread(self._store, fetches)

    async def _fetch(self, symbol: Symbol, turns: asyncio.Semaphore) -> _Fetch:
        async with turns:
            if self.exhausted is not None:
                # Asking would only be refused: nothing is sent, and nothing was asked.
                return _Fetch(symbol, self.exhausted, None)
            question = self.recorder.question(
                TABLE,
                symbol=symbol.code,
                start=datetime.combine(self.start, time(), UTC),
                end=datetime.combine(self.end, time(), UTC),
                normaliser=self.normaliser,
            )
            answer, record = await self.recorder.ask(question, self._request(symbol))
            if isinstance(answer, QuotaExhausted):
                self.exhausted = answer
            return _Fetch(symbol, answer, record)

    async def _request(self, symbol: Symbol) -> Fetched:
        answer = await self.provider.fetch_corporate_actions(symbol, self.start, self.end)
        if answer.frame.schema != ACTIONS_RECEIVED:
            raise WindowRefused(
                f"the actions of {symbol} came with other columns or types", fix="the provider's author must fix it"
            )
        return answer

    def _store(self, fetches: Sequence[_Fetch]) -> list[ActionsOutcome]:
        self.recorder.record(fetch.record for fetch in fetches)
        frames = {fetch.symbol.code: fetch.answer.frame for fetch in fetches if isinstance(fetch.answer, Fetched)}
        report = None
        if frames:
            tagged = [frame.select(pl.lit(code).alias("symbol"), pl.all()) for code, frame in frames.items()]
            asked_at = {fetch.symbol.code: fetch.record.fetched_at for fetch in fetches if fetch.record is not None}
            report = self.recorder.store.write_actions(
                self.recorder.source.name, list(frames), (self.start, self.end), pl.concat(tagged),
                fetched_at=asked_at, run_id=self.recorder.run_id,
            )  # fmt: skip
        return [self._outcome(fetch, report) for fetch in fetches]

    def _outcome(self, fetch: _Fetch, report: ActionsReport | None) -> ActionsOutcome:
        code, answer, record = fetch.symbol.code, fetch.answer, fetch.record
        base = ActionsOutcome(fetch.symbol, self.start, self.end)
        if record is not None:
            base = replace(base, latency_ms=record.latency_ms, calls=record.calls, vendor_bytes=record.bytes)
        if isinstance(answer, QuotaExhausted):
            return replace(base, deferred=answer)
        if isinstance(answer, GbError):
            return replace(base, error=answer)
        assert report is not None, "there is an answer"
        counts = report.by_symbol.get(code, {})
        return replace(
            base,
            received=answer.frame.height,
            new=counts.get("new", 0),
            restated=counts.get("restated", 0),
            unchanged=counts.get("unchanged", 0),
            withdrawn=counts.get("withdrawn", 0),
            quarantined=counts.get("quarantined", 0),
            repeated=counts.get("repeated", 0),
            late=counts.get("late", 0),
            doubtful=report.doubtful.get(code, ()),
            worst=tuple(dict(item) for item in report.worst if item["symbol"] == code),
            version=report.version,
        )
