"""From a vendor into the lake, through the unmodified client library and a loopback exchange."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError, TransientVendorError, UnknownSymbol
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome, chunk_jobs
from gb_pipeline.lake import fetches, ledger, versions
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED, Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.quality.gaps import GapReason
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import at, minutes

BTC, ETH, SOL = (Symbol.crypto(f"{base}-USDT") for base in ("BTC", "ETH", "SOL"))
START = date(2024, 1, 2)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=[symbol.code for symbol in (BTC, ETH, SOL)]) as running:
        yield running


def source(sim: Simulation, **settings: object) -> SourceSettings:
    body = {
        "name": "sim",
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": sim.url},
        "asset_class": "crypto",
        "start": "2024-01-01",
        "symbols": [BTC.code, ETH.code, SOL.code],
        "retries": 0,
        "rate_limit": {"calls": 1000, "seconds": 1},
    }
    return SourceSettings.model_validate(body | settings)


def job(symbol: Symbol, days: int = 2) -> Job:
    return Job(symbol, START, START + timedelta(days=days))


def version(store: LakeStore, table: str = "bars_1m") -> int:
    return store.tables.newest(table).version


def test_many_symbols_and_days_arrive_in_one_commit(sim: Simulation, store: LakeStore) -> None:
    outcomes = ingest(store, source(sim), Resolution.MINUTE, [job(BTC), job(ETH), job(SOL)], run_id="r1")
    assert [(outcome.symbol, outcome.ok, outcome.counts.received) for outcome in outcomes] == [
        (BTC, True, 2880),
        (ETH, True, 2880),
        (SOL, True, 2880),
    ]
    assert version(store) == 0
    assert pl.read_delta(store.storage.table("bars_1m")).height == 3 * 2880
    calls = fetches.read(store.tables)
    assert calls.select("symbol", "outcome", "received", "run_id").sort("symbol").rows() == [
        (symbol.code, "ok", 2880, "r1") for symbol in (BTC, ETH, SOL)
    ]
    assert calls["response_hash"].n_unique() == 3


def test_running_again_commits_nothing_but_the_calls(sim: Simulation, store: LakeStore) -> None:
    jobs = [job(BTC), job(ETH)]
    ingest(store, source(sim), Resolution.MINUTE, jobs)
    before = version(store), version(store, "sessions"), version(store, "quarantine")
    outcomes = ingest(store, source(sim), Resolution.MINUTE, jobs)
    assert (version(store), version(store, "sessions"), version(store, "quarantine")) == before
    assert all(outcome.version is None and outcome.ok for outcome in outcomes)
    assert fetches.read(store.tables).height == 4


def test_a_restated_bar_is_found_and_recorded(sim: Simulation, store: LakeStore) -> None:
    ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 1)])
    sim.plant("bad", BTC.code, start="2024-01-02T10:00:00Z", values={"volume": "7.5"})
    (outcome,) = ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 1)])
    assert (outcome.sessions[0].restated, outcome.ok) == (1, True)
    assert versions.restatements(store.tables)["timestamp"].to_list() == [at("2024-01-02T10:00")]


def test_missing_minutes_are_gaps_with_the_sources_reason(sim: Simulation, store: LakeStore) -> None:
    sim.plant("gap", BTC.code, start="2024-01-02T10:00:00Z", end="2024-01-02T10:10:00Z")
    (outcome,) = ingest(store, source(sim, gap_policy="no_trade"), Resolution.MINUTE, [job(BTC, 1)])
    (gap,) = outcome.sessions[0].gaps
    assert (gap.missing, gap.reason, gap.start) == (10, GapReason.NO_TRADE, at("2024-01-02T10:00"))


def test_a_refused_session_leaves_the_others_alone(sim: Simulation, store: LakeStore) -> None:
    for minute in range(30):
        stamp = at("2024-01-02T10:00") + timedelta(minutes=minute)
        sim.plant("bad", ETH.code, start=stamp, values={"high": "0.01"})
    outcomes = ingest(store, source(sim), Resolution.MINUTE, [job(BTC), job(ETH)])
    assert [outcome.ok for outcome in outcomes] == [True, False]
    assert [session.status.value for session in outcomes[1].sessions] == ["refused", "complete"]
    assert outcomes[1].error is None


def test_a_vendor_that_fails_is_a_failure_never_an_empty_day(sim: Simulation, store: LakeStore) -> None:
    sim.faults.add(match="klines.*ETHUSDT|ETHUSDT.*klines", status=503, times=-1)
    outcomes = ingest(store, source(sim), Resolution.MINUTE, [job(BTC), job(ETH)])
    assert [outcome.ok for outcome in outcomes] == [True, False]
    assert isinstance(outcomes[1].error, TransientVendorError)
    assert [session.status for session in outcomes[1].sessions] == [SessionStatus.FAILED] * 2
    failed = ledger.current(store.tables, symbols=[ETH.code])
    assert failed["missing"].to_list() == [1440, 1440]
    assert failed["gaps"][0][0]["reason"] == "fetch_failed"
    record = fetches.read(store.tables, symbols=[ETH.code]).row(0, named=True)
    assert (record["outcome"], record["received"]) == ("error", 0)
    sim.faults.clear()
    assert ingest(store, source(sim), Resolution.MINUTE, [job(ETH)])[0].ok
    assert ledger.current(store.tables, symbols=[ETH.code])["status"].to_list() == ["complete"] * 2


def test_an_exchange_that_cannot_be_reached_is_a_transient_error(store: LakeStore, sim: Simulation) -> None:
    closed_port = source(sim, options={"exchange": "binance", "base_url": "http://127.0.0.1:9"})
    (outcome,) = ingest(store, closed_port, Resolution.MINUTE, [job(BTC, 1)])
    assert isinstance(outcome.error, TransientVendorError)
    assert "127.0.0.1:9" in outcome.error.what
    assert outcome.error.fix


def test_a_symbol_that_the_vendor_does_not_list_fails_alone(sim: Simulation, store: LakeStore) -> None:
    outcomes = ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 1), job(Symbol.crypto("NOPE-USDT"), 1)])
    assert outcomes[0].ok
    assert isinstance(outcomes[1].error, UnknownSymbol)


def test_a_symbol_is_not_asked_for_outside_its_listing(sim: Simulation, store: LakeStore) -> None:
    listed = source(sim, symbols=[{"code": BTC.code, "listed_from": "2024-01-03"}, {"code": ETH.code}])
    (outcome,) = ingest(store, listed, Resolution.MINUTE, [job(BTC, 3)])
    assert [session.status.value for session in outcome.sessions] == ["not_listed", "complete", "complete"]
    asked = fetches.read(store.tables)["window_start"].to_list()
    assert asked == [at("2024-01-03T00:00")]
    (before,) = ingest(store, listed, Resolution.MINUTE, [job(BTC, 1)])
    assert (before.ok, before.calls) == (True, 0)


def test_the_present_day_is_stored_up_to_its_last_closed_bar(sim: Simulation, tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path, clock=lambda: at("2024-01-02T12:30:30"))
    (outcome,) = ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 1)])
    session = outcome.sessions[0]
    assert (session.expected, session.actual, session.status) == (750, 750, SessionStatus.COMPLETE)
    assert outcome.ok


def test_days_that_have_not_begun_are_not_asked_for(sim: Simulation, tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path, clock=lambda: at("2024-01-01T00:00"))
    (outcome,) = ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 1)])
    assert (outcome.calls, outcome.sessions[0].expected) == (0, 0)
    assert version(store) == -1


def test_outcomes_are_told_as_soon_as_they_are_stored(sim: Simulation, store: LakeStore) -> None:
    told: list[tuple[str, int]] = []

    def tell(outcome: Outcome) -> None:
        stored = pl.read_delta(store.storage.table("bars_1m")).filter(pl.col("symbol") == outcome.symbol.code)
        told.append((outcome.symbol.code, stored.height))

    ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 1), job(ETH, 1)], on_outcome=tell)
    assert sorted(told) == [(BTC.code, 1440), (ETH.code, 1440)]


class Counting:
    """A provider that makes bars itself and counts how many windows are asked for at once."""

    name = "counting"
    adjustment = Adjustment.RAW
    normaliser = "counting/1"

    def __init__(self, broken: str = "") -> None:
        self.broken, self.at_once, self.most, self.lock = broken, 0, 0, threading.Lock()

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        return resolution is Resolution.MINUTE

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        count = int((window.end - window.start) / timedelta(minutes=1))
        frame = minutes(window.start.replace(tzinfo=None).isoformat(), count).drop("symbol").cast(dict(RECEIVED))
        self.at_once -= 1
        if symbol.code == self.broken:
            frame = frame.drop("volume")
        return Fetched(frame, "0" * 64, 1, 1, 0.0)

    def requests(self, window: Window, resolution: Resolution) -> int:
        return 1

    def normalise(
        self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[bytes]
    ) -> pl.DataFrame:
        raise AssertionError("nobody asked for that")

    async def aclose(self) -> None:
        raise AssertionError("a provider that was given is not closed")


def test_no_more_windows_are_asked_for_at_once_than_the_source_allows(sim: Simulation, store: LakeStore) -> None:
    provider = Counting()
    symbols = [f"S{n:02d}-USDT" for n in range(20)]
    settings = source(sim, symbols=symbols, max_concurrency=3)
    jobs = [Job(symbol, START, START + timedelta(days=1)) for symbol in settings.instruments]
    outcomes = ingest(store, settings, Resolution.MINUTE, jobs, provider=provider)
    assert all(outcome.ok for outcome in outcomes)
    assert provider.most == 3


def test_one_broken_answer_of_a_batch_fails_alone(sim: Simulation, store: LakeStore) -> None:
    outcomes = ingest(
        store, source(sim), Resolution.MINUTE, [job(BTC), job(ETH), job(SOL)], provider=Counting(broken=ETH.code)
    )
    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert "volume" in str(outcomes[1].error)
    assert pl.read_delta(store.storage.table("bars_1m"))["symbol"].n_unique() == 2


def test_one_session_that_cannot_be_had_does_not_take_its_neighbours_along(sim: Simulation, store: LakeStore) -> None:
    class Holey(Counting):
        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            if at("2024-01-09T00:00") in window:
                raise PermanentVendorError("no file for 2024-01-09", fix="add it")
            return await super().fetch_bars(symbol, window, resolution)

    (outcome,) = ingest(store, source(sim), Resolution.MINUTE, [job(BTC, 20)], provider=Holey())
    statuses = [session.status.value for session in outcome.sessions]
    assert statuses == ["complete"] * 7 + ["failed"] + ["complete"] * 12
    assert isinstance(outcome.error, PermanentVendorError)


def test_rows_that_belong_to_no_session_are_counted(sim: Simulation, store: LakeStore) -> None:
    weekdays = source(sim, calendar="24/5", max_bad_fraction=1.0)
    saturday = Job(BTC, date(2024, 1, 5), date(2024, 1, 9))
    (outcome,) = ingest(store, weekdays, Resolution.MINUTE, [saturday])
    stored = sum(session.actual for session in outcome.sessions)
    assert (outcome.counts.received, stored, outcome.counts.unplaced) == (4 * 1440, 2 * 1440, 2 * 1440)
    assert fetches.read(store.tables)["unplaced"].to_list() == [2 * 1440]


def test_a_resolution_that_the_vendor_has_not_is_a_permanent_error(sim: Simulation, store: LakeStore) -> None:
    (outcome,) = ingest(store, source(sim), Resolution.HOUR, [job(BTC)], provider=Counting())
    assert isinstance(outcome.error, PermanentVendorError)


def test_a_bug_in_a_provider_is_not_hidden_and_what_was_fetched_is_stored(sim: Simulation, store: LakeStore) -> None:
    class Buggy(Counting):
        async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
            if symbol == ETH:
                raise ZeroDivisionError
            return await super().fetch_bars(symbol, window, resolution)

    with pytest.raises(ZeroDivisionError):
        ingest(store, source(sim, max_concurrency=1), Resolution.MINUTE, [job(BTC), job(ETH)], provider=Buggy())
    assert pl.read_delta(store.storage.table("bars_1m"))["symbol"].unique().to_list() == [BTC.code]


def test_nothing_to_do_does_nothing(sim: Simulation, store: LakeStore) -> None:
    assert ingest(store, source(sim), Resolution.MINUTE, []) == []
    assert ingest(store, source(sim), Resolution.MINUTE, [Job(BTC, START, START)])[0].sessions == ()
    assert list(store.tables.existing()) == []


def test_long_histories_are_cut_at_the_same_edges_for_all_symbols() -> None:
    years = [Job(symbol, START, date(2025, 1, 2)) for symbol in (BTC, ETH)]
    parts = chunk_jobs(years, BarRules())
    assert max((part.end - part.start).days for part in parts) <= 35
    assert {(part.start, part.end) for part in parts if part.job == 0} == {
        (part.start, part.end) for part in parts if part.job == 1
    }
    daily = chunk_jobs(years, replace(BarRules(), resolution=Resolution.DAY))
    assert len(daily) == 2
