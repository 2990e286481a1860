"""Asking for corporate actions, and storing the answers.

Belongs here: many symbols concurrently within bounds, a row of every question, and what became of each symbol.
Does not belong here: what an action is (`quality`), how it is kept (`lake.corporate_actions`), what a split does
to history (`splits`).

Vendor trouble never raises: it is the outcome of the symbol that it concerns.
"""

from __future__ import annotations

import asyncio
import time as clock
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError, QuotaExhausted, WindowRefused
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.ingest.recorder import failed, persist_response, stop
from gb_pipeline.lake.corporate_actions import TABLE, ActionsReport
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.base import ActionsProvider, Fetched, Provider

# Symbols whose answers are stored together.
_BATCH = 200

_Answer = tuple[Symbol, "Fetched | GbError", FetchRecord | None]


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
    store: LakeStore,
    source: SourceSettings,
    provider: Provider,
    symbols: Sequence[Symbol],
    start: date,
    end: date,
    *,
    run_id: str | None,
) -> list[ActionsOutcome]:
    """Ask for every symbol and store what is said; the row of a question is written once its answer is stored.

    Raises:
        ConfigError: the provider knows no corporate actions.
    """
    actions = actions_of(source, provider)
    found: list[ActionsOutcome] = []
    exhausted: QuotaExhausted | None = None
    for first in range(0, len(symbols), _BATCH):
        batch = _Batch(store, source, actions, provider.normaliser, start, end, run_id, exhausted)
        found += await batch.run(symbols[first : first + _BATCH])
        exhausted = batch.exhausted
    return found


@dataclass
class _Batch:
    """Symbols whose answers are stored together."""

    store: LakeStore
    source: SourceSettings
    provider: ActionsProvider
    normaliser: str
    start: date
    end: date
    run_id: str | None
    exhausted: QuotaExhausted | None

    async def run(self, symbols: Sequence[Symbol]) -> list[ActionsOutcome]:
        turns = asyncio.Semaphore(self.source.max_concurrency)
        tasks = [asyncio.create_task(self._ask(symbol, turns)) for symbol in symbols]
        try:
            answers = [await task for task in tasks]
        except BaseException:
            await stop(self.store, tasks)
            raise
        return await asyncio.to_thread(self._store, answers)

    async def _ask(self, symbol: Symbol, turns: asyncio.Semaphore) -> _Answer:
        async with turns:
            if self.exhausted is not None:
                # Asking would only be refused: nothing is sent, and nothing was asked.
                return symbol, self.exhausted, None
            row, began = self._row(symbol), clock.monotonic()
            try:
                answer = await self.provider.fetch_corporate_actions(symbol, self.start, self.end)
                if answer.frame.schema != ACTIONS_RECEIVED:
                    raise WindowRefused(
                        f"the actions of {symbol} came with other columns or types",
                        fix="the provider's author must fix it",
                    )
            except QuotaExhausted as error:
                self.exhausted = error
                return symbol, error, failed(row, error, clock.monotonic() - began)
            except GbError as error:
                return symbol, error, failed(row, error, clock.monotonic() - began)
            except BaseException as error:
                # A bug, or everything is being stopped: the vendor was asked all the same.
                self.store.record_fetches([failed(row, error, clock.monotonic() - began)])
                raise
            return symbol, *await persist_response(self.store, self.source, row, answer)

    def _row(self, symbol: Symbol) -> FetchRecord:
        return FetchRecord(
            source=self.source.name,
            symbol=symbol.code,
            resolution="",
            window_start=datetime.combine(self.start, time(), UTC),
            window_end=datetime.combine(self.end, time(), UTC),
            fetched_at=self.store.clock(),
            outcome=FetchOutcome.ERROR,
            run_id=self.run_id,
            kind=TABLE,
            normaliser=self.normaliser,
        )

    def _store(self, answers: Sequence[_Answer]) -> list[ActionsOutcome]:
        frames = {symbol.code: answer.frame for symbol, answer, _ in answers if isinstance(answer, Fetched)}
        report = None
        if frames:
            tagged = [frame.select(pl.lit(code).alias("symbol"), pl.all()) for code, frame in frames.items()]
            report = self.store.write_actions(
                self.source.name, list(frames), (self.start, self.end), pl.concat(tagged),
                fetched_at={symbol.code: row.fetched_at for symbol, _, row in answers if row is not None},
                run_id=self.run_id,
            )  # fmt: skip
        self.store.record_fetches([row for _, _, row in answers if row is not None])
        return [self._outcome(symbol, answer, row, report) for symbol, answer, row in answers]

    def _outcome(
        self, symbol: Symbol, answer: Fetched | GbError, row: FetchRecord | None, report: ActionsReport | None
    ) -> ActionsOutcome:
        base = ActionsOutcome(symbol, self.start, self.end)
        if row is not None:
            base = replace(base, latency_ms=row.latency_ms, calls=row.calls, vendor_bytes=row.bytes)
        if isinstance(answer, QuotaExhausted):
            return replace(base, deferred=answer)
        if isinstance(answer, GbError):
            return replace(base, error=answer)
        assert report is not None, "there is an answer"
        counts = report.by_symbol.get(symbol.code, {})
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
            doubtful=report.doubtful.get(symbol.code, ()),
            worst=tuple(dict(item) for item in report.worst if item["symbol"] == symbol.code),
            version=report.version,
        )
