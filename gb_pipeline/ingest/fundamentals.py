"""This module is the one way of fundamentals and listings from a provider into the lake: of Dagster and of `gb fundamentals`.

Many symbols are asked about at a time, those first that have waited longest: of a vendor with few calls a day each run goes on
where the last one ended. Vendor trouble never raises: it is the outcome of the symbol that it concerns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError, QuotaExhausted, WindowRefused
from gb_pipeline.ingest.corporate_actions import equities
from gb_pipeline.ingest.recorder import Recorder, ask_vendor
from gb_pipeline.lake import fetches, fundamentals, listings
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.fundamentals import FundamentalsReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.fundamental_schema import FUNDAMENTALS_RECEIVED, Statement
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import Fetched, FundamentalsProvider, ListingsProvider, Provider
from gb_pipeline.providers.registry import build_provider, missing_credentials

# Symbols whose answers are stored together: ten thousand rows each.
_BATCH = 50
# In `fetches`, of a question that is about no symbol in particular.
_EVERY = "*"


@dataclass(frozen=True, slots=True)
class FundamentalsOutcome:
    """What became of one symbol.

    Attributes:
        statements: what was asked for.
        error: why there is no answer.
        deferred: why the vendor was not asked: the calls of its day are used up; nothing failed.
        nothing: statements of which the vendor has nothing.
        received: rows in the answer.
        new, restated, unchanged, withdrawn, quarantined, repeated, late: what they were; see
            `lake.fundamentals.FundamentalsReport`.
        worst: the first few refused rows.
        latency_ms, calls, vendor_bytes: of the vendor.
        version: the table's version after the commit; None when nothing had to be committed.
    """

    symbol: Symbol
    statements: tuple[Statement, ...]
    error: GbError | None = None
    deferred: QuotaExhausted | None = None
    nothing: tuple[str, ...] = ()
    received: int = 0
    new: int = 0
    restated: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    quarantined: int = 0
    repeated: int = 0
    late: int = 0
    worst: tuple[dict[str, str], ...] = ()
    latency_ms: int = 0
    calls: int = 0
    vendor_bytes: int = 0
    version: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the lake holds what the vendor says."""
        return self.error is None and self.deferred is None


@dataclass(frozen=True, slots=True)
class _Fetch:
    """What became of a symbol at the vendor; without a record it was not asked."""

    symbol: Symbol
    answer: Fetched | GbError
    record: FetchRecord | None


def ingest_fundamentals(
    store: LakeStore,
    source: SourceSettings,
    symbols: Sequence[Symbol | str] | None = None,
    *,
    statements: Sequence[Statement | str] | None = None,
    provider: Provider | None = None,
    run_id: str | None = None,
) -> list[FundamentalsOutcome]:
    """Fetch fundamentals and store them.

    Args:
        store: where to; its clock is the present.
        source: whose companies.
        symbols: by default all equities of the source whose last answer is older than `fundamentals.refresh_days`, those that
            have waited longest first.
        statements: those of the source's `fundamentals` by default.
        provider: instead of the one that the settings name; it is not closed.
        run_id: kept with refused rows and fetches.

    Returns:
        One outcome per symbol that was due, in the order in which they were asked for. Nothing raises for vendor trouble.

    Raises:
        ConfigError: the provider cannot be built, knows no fundamentals, no statement is wanted, or a credential is missing.
        LakeError: the lake cannot be written.

    Example:
        >>> ingest_fundamentals(LakeStore.at("data"), settings.source("alpha_vantage"), ["IBM"])[0].new
        7412
    """
    wanted = tuple(
        dict.fromkeys(map(parse_statement, source.fundamentals.statements if statements is None else statements))
    )
    if not wanted:
        raise ConfigError(
            f"source {source.name} wants no statements", fix="name some under `fundamentals: {statements: [...]}`"
        )
    listed = {symbol.code: symbol for symbol in source.instruments}
    if symbols is None:
        chosen = due_symbols(store, source, equities(list(listed.values())))
    else:
        named = [Symbol.of(str(item), source.asset_class) for item in symbols]
        chosen = [listed.get(item.code, item) for item in named]
    if provider is None and (missing := missing_credentials(source)):
        raise missing[0]
    recorder = Recorder(store, source, run_id)

    async def run() -> list[FundamentalsOutcome]:
        client = provider or build_provider(source, state_dir=store.storage.state)
        try:
            return await _ask(recorder, client, chosen, wanted)
        finally:
            if provider is None:
                await client.aclose()

    return asyncio.run(run())


def ingest_listings(
    store: LakeStore, source: SourceSettings, *, provider: Provider | None = None, run_id: str | None = None
) -> FundamentalsReport:
    """Fetch everything that a source's vendor lists and listed, and store it.

    Raises:
        VendorError: the list could not be had.
        ConfigError: the provider cannot be built, has no such list, or a credential is missing.
        LakeError: the lake cannot be written.

    Example:
        >>> ingest_listings(LakeStore.at("data"), settings.source("alpha_vantage")).received
        18841
    """
    if provider is None and (missing := missing_credentials(source)):
        raise missing[0]

    async def run() -> tuple[Fetched, datetime]:
        client = provider or build_provider(source, state_dir=store.storage.state)
        asked_at = store.clock()
        try:
            if not isinstance(client, ListingsProvider):
                raise ConfigError(
                    f"source {source.name}: {client.name} has no list of what is and was listed",
                    fix="fetch it from a source that does, such as alpha_vantage",
                )
            answer = await ask_vendor(
                store, source, client.fetch_listings(), kind=listings.TABLE, symbol=_EVERY,
                normaliser=client.normaliser, run_id=run_id,
            )  # fmt: skip
            return answer, asked_at
        finally:
            if provider is None:
                await client.aclose()

    answer, asked_at = asyncio.run(run())
    return store.write_listings(source.name, answer.frame, fetched_at=asked_at, run_id=run_id)


def due_symbols(store: LakeStore, source: SourceSettings, symbols: Sequence[Symbol]) -> list[Symbol]:
    """Those whose last answer is older than `fundamentals.refresh_days`, those that have waited longest first."""
    rows = fetches.read(store.tables, source.name).filter(
        pl.col("kind") == fundamentals.TABLE, pl.col("outcome").is_in([FetchOutcome.OK.value, FetchOutcome.EMPTY.value])
    )
    last = dict(rows.group_by("symbol").agg(pl.col("fetched_at").max()).rows())
    limit = store.clock() - timedelta(days=source.fundamentals.refresh_days)
    due = [symbol for symbol in symbols if symbol.code not in last or last[symbol.code] <= limit]
    return sorted(due, key=lambda symbol: (symbol.code in last, last.get(symbol.code) or limit))


def parse_statement(name: Statement | str) -> Statement:
    """A statement by its name.

    Raises:
        ConfigError: there is no such statement.
    """
    try:
        return Statement(str(name))
    except ValueError:
        raise ConfigError(f"{str(name)[:40]!r} is not a statement", fix=f"use {', '.join(Statement)}") from None


async def _ask(
    recorder: Recorder, provider: Provider, symbols: Sequence[Symbol], statements: tuple[Statement, ...]
) -> list[FundamentalsOutcome]:
    if not isinstance(provider, FundamentalsProvider):
        raise ConfigError(
            f"source {recorder.source.name}: {provider.name} knows no fundamentals",
            fix="fetch them from a source that does, such as alpha_vantage",
        )
    outcomes: list[FundamentalsOutcome] = []
    exhausted: list[QuotaExhausted] = []
    for first in range(0, len(symbols), _BATCH):
        batch = _Batch(recorder, provider, provider.normaliser, statements, exhausted)
        outcomes += await batch.run(symbols[first : first + _BATCH])
    return outcomes


@dataclass
class _Batch:
    """Symbols whose answers are stored together; once the calls of the day are used up nothing more is sent."""

    recorder: Recorder
    provider: FundamentalsProvider
    normaliser: str
    statements: tuple[Statement, ...]
    exhausted: list[QuotaExhausted]

    async def run(self, symbols: Sequence[Symbol]) -> list[FundamentalsOutcome]:
        turns = asyncio.Semaphore(self.recorder.source.max_concurrency)
        tasks = [asyncio.create_task(self._fetch(symbol, turns)) for symbol in symbols]
        try:
            answered = [await task for task in tasks]
        except BaseException:
            await self.recorder.stop(tasks)
            raise
        return await asyncio.to_thread(self._store, answered)

    async def _fetch(self, symbol: Symbol, turns: asyncio.Semaphore) -> _Fetch:
        async with turns:
            if self.exhausted:
                return _Fetch(symbol, self.exhausted[0], None)
            question = self.recorder.question(fundamentals.TABLE, symbol=symbol.code, normaliser=self.normaliser)
            answer, record = await self.recorder.ask(question, self._request(symbol))
            if isinstance(answer, QuotaExhausted):
                self.exhausted.append(answer)
            return _Fetch(symbol, answer, record)

    async def _request(self, symbol: Symbol) -> Fetched:
        answer = await self.provider.fetch_fundamentals(symbol, self.statements)
        if answer.frame.schema != FUNDAMENTALS_RECEIVED:
            raise WindowRefused(
                f"the fundamentals of {symbol} came with other columns or types",
                fix="the provider's author must fix it",
            )
        return answer

    def _store(self, answered: Sequence[_Fetch]) -> list[FundamentalsOutcome]:
        self.recorder.record(fetch.record for fetch in answered)
        frames = {fetch.symbol.code: fetch.answer.frame for fetch in answered if isinstance(fetch.answer, Fetched)}
        report = None
        if frames:
            tagged = [frame.select(pl.lit(code).alias("symbol"), pl.all()) for code, frame in frames.items()]
            asked_at = {fetch.symbol.code: fetch.record.fetched_at for fetch in answered if fetch.record is not None}
            report = self.recorder.store.write_fundamentals(
                self.recorder.source.name,
                list(frames),
                pl.concat(tagged),
                fetched_at=asked_at,
                run_id=self.recorder.run_id,
            )
        return [self._outcome(fetch, report) for fetch in answered]

    def _outcome(self, fetch: _Fetch, report: FundamentalsReport | None) -> FundamentalsOutcome:
        code, answer, record = fetch.symbol.code, fetch.answer, fetch.record
        base = FundamentalsOutcome(fetch.symbol, self.statements)
        if record is not None:
            base = replace(base, latency_ms=record.latency_ms, calls=record.calls, vendor_bytes=record.bytes)
        if isinstance(answer, QuotaExhausted):
            return replace(base, deferred=answer)
        if isinstance(answer, GbError):
            return replace(base, error=answer)
        assert report is not None, "there is an answer"
        told = answer.frame["statement"].unique().to_list()
        counts = report.by_symbol.get(code, {})
        return replace(
            base,
            new=counts.get("new", 0),
            restated=counts.get("restated", 0),
            unchanged=counts.get("unchanged", 0),
            withdrawn=counts.get("withdrawn", 0),
            quarantined=counts.get("quarantined", 0),
            repeated=counts.get("repeated", 0),
            late=counts.get("late", 0),
            nothing=tuple(item.value for item in self.statements if item.value not in told),
            received=answer.frame.height,
            worst=tuple(dict(item) for item in report.worst if item["symbol"] == code),
            version=report.version,
        )
