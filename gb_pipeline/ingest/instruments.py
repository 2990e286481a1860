"""This module is the one way of instruments from a provider into the lake: of Dagster's assets, and of `gb instruments fetch`.

A vendor that knows under which symbols an instrument stood before is asked about each; of one that only lists what there is, the
list is taken, and a change of a symbol shows by the vendor's own ids. What it means is decided in `lake.instruments`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, GbError, QuotaExhausted, UnknownSymbol
from gb_pipeline.ingest.recorder import Recorder
from gb_pipeline.lake import instruments
from gb_pipeline.lake.fetches import FetchRecord
from gb_pipeline.lake.instrument_changes import Telling
from gb_pipeline.lake.instruments import InstrumentsReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.told_instruments import TOLD
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import Instrument, InstrumentsProvider, Provider, SymbolHistoryProvider
from gb_pipeline.providers.registry import build_provider, missing_credentials

# In `fetches`, of a question that is about no symbol in particular.
_EVERY = "*"


@dataclass(frozen=True, slots=True)
class InstrumentsOutcome:
    """What became of the instruments of a source.

    Attributes:
        report: what was stored; None where nobody answered.
        asked: symbols that were asked about.
        errors: why there is no answer, by symbol; `*` where the vendor's list could not be had.
        unlisted: symbols that the vendor's list has not.
        deferred: why the rest was not asked: the calls of the vendor's day are used up.
    """

    report: InstrumentsReport | None
    asked: tuple[str, ...]
    errors: Mapping[str, GbError] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()
    deferred: QuotaExhausted | None = None


def ingest_instruments(
    store: LakeStore,
    source: SourceSettings,
    symbols: Sequence[Symbol | str] | None = None,
    *,
    provider: Provider | None = None,
    run_id: str | None = None,
) -> InstrumentsOutcome:
    """Ask a source's vendor about instruments, and store what it tells.

    Args:
        store: where to; its clock is the present.
        source: whose vendor.
        symbols: all symbols of the source by default.
        provider: instead of the one that the settings name; it is not closed.
        run_id: kept with the fetches.

    Returns:
        What was stored and what not. Nothing raises for vendor trouble; what would give one symbol two instruments is left out,
        and `report.refused` names both.

    Raises:
        ConfigError: the provider cannot be built, tells nothing of instruments, or a credential is missing.
        LakeError: the lake cannot be written.

    Example:
        >>> ingest_instruments(LakeStore.at("data"), settings.source("massive"), ["META"]).report.new
        2
    """
    listed = {symbol.code: symbol for symbol in source.instruments}
    named = [Symbol.of(str(item), source.asset_class) for item in symbols or ()]
    chosen = [listed.get(item.code, item) for item in named] if symbols is not None else list(listed.values())
    if provider is None and (missing := missing_credentials(source)):
        raise missing[0]
    recorder = Recorder(store, source, run_id)

    async def run() -> InstrumentsOutcome:
        client = provider or build_provider(source, state_dir=store.storage.state)
        try:
            if isinstance(client, SymbolHistoryProvider):
                return await _ask_histories(recorder, client, chosen)
            if isinstance(client, InstrumentsProvider):
                return await _ask_list(recorder, client, chosen)
            raise ConfigError(
                f"source {source.name}: {source.provider} tells nothing of instruments",
                fix="tell the lake of them yourself: gb instruments import FILE",
            )
        finally:
            if provider is None:
                await client.aclose()

    return asyncio.run(run())


async def _ask_histories(
    recorder: Recorder, provider: SymbolHistoryProvider, symbols: Sequence[Symbol]
) -> InstrumentsOutcome:
    turns = asyncio.Semaphore(recorder.source.max_concurrency)
    exhausted: list[QuotaExhausted] = []

    async def ask(symbol: Symbol) -> _Answer:
        async with turns:
            if exhausted:
                return _Answer(symbol.code, exhausted[0], None)
            question = recorder.question(instruments.TABLE, symbol=symbol.code)
            answer, record = await recorder.ask(question, provider.symbol_history(symbol))
            if isinstance(answer, QuotaExhausted):
                exhausted.append(answer)
            return _Answer(symbol.code, answer, record)

    tasks = [asyncio.create_task(ask(symbol)) for symbol in symbols]
    try:
        answers = [await task for task in tasks]
    except BaseException:
        await recorder.stop(tasks)
        raise
    recorder.record(answer.record for answer in answers)
    told = [item for answer in answers if isinstance(answer.found, list) for item in answer.found]
    failed = {each.code: each.found for each in answers if isinstance(each.found, GbError)}
    # A ticker that nobody has any more is told with the one that took its place.
    former = {item.symbol.code for item in told} | set(
        instruments.read(recorder.store.tables, recorder.source.name)["symbol"]
    )
    errors = {
        code: error
        for code, error in failed.items()
        if not isinstance(error, QuotaExhausted) and not (isinstance(error, UnknownSymbol) and code in former)
    }
    asked = tuple(each.code for each in answers if each.record is not None)
    report = _store(recorder, told, Telling.HISTORY) if told else None
    return InstrumentsOutcome(report, asked, errors, deferred=exhausted[0] if exhausted else None)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a vendor said of one symbol; without a record it was not asked."""

    code: str
    found: list[Instrument] | GbError
    record: FetchRecord | None


async def _ask_list(recorder: Recorder, provider: InstrumentsProvider, symbols: Sequence[Symbol]) -> InstrumentsOutcome:
    question = recorder.question(instruments.TABLE, symbol=_EVERY)
    answer, record = await recorder.ask(question, provider.instruments())
    recorder.record([record])
    codes = tuple(symbol.code for symbol in symbols)
    if isinstance(answer, QuotaExhausted):
        return InstrumentsOutcome(None, (), deferred=answer)
    if isinstance(answer, GbError):
        return InstrumentsOutcome(None, codes, {_EVERY: answer})
    store, day = recorder.store, recorder.store.clock().date()
    stored = instruments.read(store.tables, recorder.source.name)
    known = stored.filter(pl.col("valid_until").is_null())
    # Under whatever symbol it stands now: one of ours may have changed it.
    ids = set(known.filter(pl.col("symbol").is_in(codes))["vendor_id"].drop_nulls())
    wanted = [item for item in answer if item.symbol.code in codes or (item.vendor_id and item.vendor_id in ids)]
    told = [item for item in wanted if item.active or item.listed_until or item.symbol.code in known["symbol"]]
    report = _store(recorder, told, Telling.PRESENT, gone=day) if told else None
    listed = {item.symbol.code for item in wanted}
    return InstrumentsOutcome(report, codes, unlisted=tuple(code for code in codes if code not in listed))


def _store(
    recorder: Recorder, told: Sequence[Instrument], telling: Telling, *, gone: date | None = None
) -> InstrumentsReport:
    moment: datetime = recorder.store.clock()
    frame = pl.DataFrame([_row(item, gone) for item in told], schema=TOLD).unique(
        ["symbol", "valid_from"], keep="first", maintain_order=True
    )
    return recorder.store.write_instruments(
        frame, source=recorder.source.name, telling=telling, fetched_at=moment, strict=False
    )


def _row(item: Instrument, gone: date | None) -> dict[str, object]:
    """An instrument as a row of `TOLD`; one that is gone, nobody says since when, ends now."""
    until = item.listed_until or (None if item.active else gone)
    first = item.listed_from
    return {
        "symbol": item.symbol.code,
        # Nothing ends before it begins: of the two, the end is known.
        "valid_from": None if until is not None and first is not None and first >= until else first,
        "valid_until": until,
        "asset_class": item.symbol.asset_class.value,
        "name": item.name or None,
        "exchange": item.symbol.exchange or None,
        "currency": item.quote or None,
        "vendor_symbol": item.vendor or None,
        "vendor_id": item.vendor_id or None,
        "composite_figi": item.composite_figi or None,
        "share_class_figi": item.share_class_figi or None,
        "tick_size": item.tick_size,
        "multiplier": item.multiplier,
    }
