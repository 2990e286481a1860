"""Corporate actions of a vendor that serves prices as traded: corrected, withdrawn, refused, deferred."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    LakeError,
    QuotaExhausted,
    ReadError,
    TransientVendorError,
    UnknownSeries,
    UnknownSymbol,
)
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.corporate_actions import ActionsOutcome
from gb_pipeline.ingest.fetch_actions import ingest_actions
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake import corporate_actions, fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import ACTIONS_RECEIVED, PRICES, Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.massive import responses as massive_answers
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.actions import dividend, received, split
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.ingest.clock import stop_at

START, END, EX_DATE = date(2024, 6, 3), date(2024, 6, 15), date(2024, 6, 10)
NOW = at("2024-06-14T22:00")
DAY = timedelta(days=1)
CODES = ["AAPL", "KO", "GONE"]


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=["BTC-USD"], stocks=CODES) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, clock=lambda: NOW)


def source(sim: Simulation, **settings: object) -> SourceSettings:
    body = {
        "name": "massive",
        "provider": "massive",
        "options": {"base_url": sim.url, "key": "a-simulated-key"},
        "asset_class": "equity",
        "calendar": "XNYS",
        "start": str(START),
        "symbols": CODES[:2],
        "resolutions": ["1d"],
        "retries": 0,
        "gap_policy": "no_trade",
    }
    return SourceSettings.model_validate(body | settings)


def fetch(sim: Simulation, store: LakeStore, now: datetime = NOW, **more: object) -> list[ActionsOutcome]:
    sim.set_now(now)
    return ingest_actions(stop_at(store, now), source(sim, **more))


def test_splits_dividends_and_delistings_of_one_moment_arrive_in_one_commit(sim: Simulation, store: LakeStore) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
    sim.plant("dividend", "AAPL", ex_date="2024-06-05", amount="0.25")
    sim.plant("dividend", "KO", ex_date="2024-06-12", amount="0.485", label="special")
    sim.plant("delisting", "GONE", start="2024-06-11")
    aapl, ko, gone = fetch(sim, store, symbols=CODES)
    assert (aapl.new, ko.new, gone.new, aapl.version, ko.version, gone.version) == (2, 1, 1, 0, 0, 0)
    lake = Lake(store)
    found = lake.corporate_actions().select("symbol", "ex_date", "kind", "split_to", "amount", "currency")
    assert found.rows() == [
        ("AAPL", date(2024, 6, 5), "cash_dividend", None, Decimal("0.25"), "USD"),
        ("AAPL", EX_DATE, "split", Decimal(4), None, None),
        ("GONE", date(2024, 6, 11), "delisting", None, None, None),
        ("KO", date(2024, 6, 12), "cash_dividend", None, Decimal("0.485"), "USD"),
    ]
    rows = fetches.read(store.tables, "massive")
    assert rows.select("symbol", "kind", "outcome", "received").sort("symbol").rows() == [
        ("AAPL", "corporate_actions", "ok", 2), ("GONE", "corporate_actions", "ok", 1),
        ("KO", "corporate_actions", "ok", 1),
    ]  # fmt: skip
    assert rows["calls"].min() >= 3


def test_a_corrected_dividend_is_a_restated_action(sim: Simulation, store: LakeStore) -> None:
    sim.plant("dividend", "AAPL", ex_date="2024-06-05", amount="0.25")
    sim.plant("dividend", "AAPL", ex_date="2024-06-05", amount="0.26", at="2024-06-15T00:00Z")
    first, *_ = fetch(sim, store)
    again, *_ = fetch(sim, store, NOW + timedelta(hours=1))
    corrected, *_ = fetch(sim, store, NOW + 2 * DAY)
    assert [(o.new, o.restated, o.unchanged, o.version) for o in (first, again, corrected)] == [
        (1, 0, 0, 0), (0, 0, 1, None), (0, 1, 0, 1),
    ]  # fmt: skip
    lake = Lake(store)
    assert lake.corporate_actions("AAPL")["amount"].to_list() == [Decimal("0.26")]
    assert lake.corporate_actions("AAPL", as_of=NOW + DAY)["amount"].to_list() == [Decimal("0.25")]


def test_raw_prices_are_adjusted_by_the_vendors_own_splits_and_only_once_these_are_known(
    sim: Simulation, store: LakeStore
) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
    jobs = [Job(Symbol.equity(code), START, END) for code in CODES[:2]]
    assert all(outcome.ok for outcome in ingest(store, source(sim), Resolution.DAY, jobs))
    lake = Lake(store)
    raw = lake.bars("AAPL", "1d")
    assert lake.symbols("massive")["adjustment"].to_list() == ["raw", "raw"]
    assert lake.bars("AAPL", "1d", adjustment="raw").equals(raw)
    for read in (lake.bars, lake.arrow, lake.scan_bars):
        with pytest.raises(ReadError, match="never fetched") as caught:
            read("AAPL", "1d", adjustment="split")
        assert "gb actions fetch massive AAPL" in caught.value.fix
    fetch(sim, store)
    before = pl.col("timestamp").dt.date() < EX_DATE
    split = lake.bars("AAPL", "1d", adjustment="split")
    for name in (*PRICES, "vwap"):
        exact = raw.filter(before)[name].cast(pl.Decimal(38, 10)) / 4
        assert (split.filter(before)[name].cast(pl.Decimal(38, 10)) - exact).abs().max() <= Decimal("0.000000005")
    assert (split.filter(before)["volume"] == raw.filter(before)["volume"] * 4).all()
    assert split.filter(~before).equals(raw.filter(~before))
    # As it was known before anybody had told of the split.
    with pytest.raises(ReadError, match="never fetched"):
        lake.bars("AAPL", "1d", adjustment="split", as_of=raw["known_at"].max(), end="2024-06-04")
    assert lake.bars("AAPL", "1d", as_of=NOW).equals(raw)
    # A symbol that was never split, all of a source, and fewer columns.
    assert lake.bars("KO", "1d", adjustment="split").equals(lake.bars("KO", "1d"))
    everything = lake.bars(None, "1d", source="massive", adjustment="split")
    assert everything.filter(pl.col("symbol") == "AAPL").equals(split)
    assert lake.bars("AAPL", "1d", adjustment="split", columns=["close"]).equals(split.select("close"))


def test_a_split_that_was_moved_or_taken_back_no_longer_counts(sim: Simulation, store: LakeStore) -> None:
    jobs = [Job(Symbol.equity("AAPL"), START, END)]
    ingest(store, source(sim), Resolution.DAY, jobs)
    wrong = received(split("2024-06-06", "10"))
    stop_at(store, NOW - DAY).write_actions("massive", "AAPL", (START, END), wrong)
    (outcome, _) = fetch(sim, store)
    assert outcome.withdrawn == 1
    lake = Lake(store)
    assert lake.bars("AAPL", "1d", adjustment="split").equals(lake.bars("AAPL", "1d"))
    assert lake.corporate_actions("AAPL").is_empty()
    assert lake.corporate_actions("AAPL", withdrawn=True)["withdrawn"].to_list() == [True]
    assert lake.corporate_actions("AAPL", as_of=NOW - DAY).height == 1


def test_an_answer_about_another_time_does_not_count(sim: Simulation, store: LakeStore) -> None:
    ingest(store, source(sim), Resolution.DAY, [Job(Symbol.equity("AAPL"), START, END)])
    ingest_actions(store, source(sim), ["AAPL"], date(2023, 1, 1), date(2024, 6, 5))
    lake = Lake(store)
    with pytest.raises(ReadError, match="not known on 2024-06-05"):
        lake.bars("AAPL", "1d", adjustment="split")
    assert lake.bars("AAPL", "1d", adjustment="split", end="2024-06-05").height == 2
    # What was asked long ago says nothing of what came since.
    early = stop_at(LakeStore(store.storage), at("2024-06-06T22:00"))
    ingest_actions(early, source(sim), ["AAPL"], date(2024, 6, 5), date(2030, 1, 1))
    with pytest.raises(ReadError, match="not known on 2024-06-08"):
        lake.bars("AAPL", "1d", adjustment="split")


def test_vendor_trouble_is_the_outcome_of_its_symbol_and_leaves_a_row(sim: Simulation, store: LakeStore) -> None:
    sim.plant("dividend", "KO", ex_date="2024-06-12", amount="0.485")
    sim.faults.add(match="ticker=AAPL", status=500)
    aapl, ko, none = fetch(sim, store, symbols=["AAPL", "KO", "NOSUCH"])
    assert isinstance(aapl.error, TransientVendorError)
    assert isinstance(none.error, UnknownSymbol)
    assert (ko.ok, ko.new) == (True, 1)
    rows = fetches.read(store.tables, "massive").sort("symbol").select("symbol", "outcome", "error")
    assert rows.rows() == [
        ("AAPL", "error", "TransientVendorError"), ("KO", "ok", None), ("NOSUCH", "error", "UnknownSymbol"),
    ]  # fmt: skip


def test_what_the_quota_does_not_allow_is_deferred_and_not_asked(sim: Simulation, store: LakeStore) -> None:
    # One symbol takes four requests.
    quota = {"calls": 5, "zone": "UTC"}
    outcomes = fetch(sim, store, daily_quota=quota, symbols=CODES, max_concurrency=1)
    assert [outcome.ok for outcome in outcomes] == [True, False, False]
    assert all(isinstance(outcome.deferred, QuotaExhausted) for outcome in outcomes[1:])
    assert outcomes[1].deferred_until == outcomes[2].deferred_until
    rows = fetches.read(store.tables, "massive").sort("fetched_at").select("symbol", "outcome").rows()
    assert rows == [("AAPL", "empty"), ("KO", "deferred")]


class Ticking:
    """A clock that moves on whenever somebody looks at it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


def test_every_action_names_the_question_that_brought_it(sim: Simulation, store: LakeStore) -> None:
    for code in CODES:
        sim.plant("dividend", code, ex_date="2024-06-05", amount="0.25")
    store.clock = Ticking(NOW)
    sim.set_now(NOW)
    assert [outcome.new for outcome in ingest_actions(store, source(sim, symbols=CODES))] == [1, 1, 1]
    asked = fetches.read(store.tables).select("symbol", "fetched_at").sort("symbol")
    assert asked["fetched_at"].n_unique() == len(CODES)
    told = corporate_actions.read(store.tables).select("symbol", "fetched_at").sort("symbol")
    assert told.rows() == asked.rows()


class Overtaken:
    """While its answer is on its way, another run asks later, is told something else, and stores it."""

    name, adjustment, normaliser = "overtaken", Adjustment.RAW, "overtaken/1"

    def __init__(self, store: LakeStore, settings: SourceSettings) -> None:
        self.store, self.settings = store, settings

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        later = LakeStore(self.store.storage, clock=lambda: NOW + DAY)
        newer = Broken(received(split("2024-06-10", "4")).drop("symbol"))
        (outcome,) = await asyncio.to_thread(
            ingest_actions,
            later,
            self.settings,
            [symbol],
            provider=newer,  # type: ignore[arg-type]
        )
        assert outcome.new == 1
        older = received(split("2024-06-10", "2"), dividend("2024-06-12", "0.5")).drop("symbol")
        return Fetched(older, "0", 1, 1, 0.0)


def test_an_answer_never_replaces_that_to_a_later_question(sim: Simulation, store: LakeStore) -> None:
    slow = Overtaken(store, source(sim))
    (outcome,) = ingest_actions(store, source(sim), ["AAPL"], provider=slow)  # type: ignore[arg-type]
    assert (outcome.new, outcome.restated, outcome.withdrawn, outcome.late) == (1, 0, 0, 1)
    known = Lake(store).corporate_actions("AAPL", withdrawn=True)
    assert known.select("kind", "split_to", "amount", "withdrawn").rows() == [
        ("split", Decimal(4), None, False), ("cash_dividend", None, Decimal("0.5"), False),
    ]  # fmt: skip


def test_an_action_that_is_stored_has_a_fetch_and_one_that_is_lost_on_the_way_is_not_taken_for_none(
    sim: Simulation, store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
    jobs = [Job(Symbol.equity(code), START, END) for code in CODES[:2]]
    assert all(outcome.ok for outcome in ingest(store, source(sim), Resolution.DAY, jobs))

    def full(*given: object, **named: object) -> None:
        raise LakeError("the disk is full")

    with monkeypatch.context() as cut_off:
        cut_off.setattr(LakeStore, "write_actions", full)
        with pytest.raises(LakeError):
            fetch(sim, store)
    asked = pl.col("kind") == "corporate_actions"
    rows = fetches.read(store.tables).filter(asked).sort("symbol").select("symbol", "outcome", "received").rows()
    assert rows == [("AAPL", "ok", 1), ("KO", "empty", 0)]
    lake = Lake(store)
    # What the answer about AAPL held is not known; that about KO said that there was nothing.
    with pytest.raises(ReadError, match="never fetched"):
        lake.bars("AAPL", "1d", adjustment="split")
    with pytest.raises(UnknownSeries, match="never fetched"):
        lake.corporate_actions("AAPL")
    assert lake.bars("KO", "1d", adjustment="split").equals(lake.bars("KO", "1d"))
    assert [outcome.new for outcome in fetch(sim, store, NOW + timedelta(hours=1))] == [1, 0]
    split_rows = lake.bars("AAPL", "1d", adjustment="split").filter(pl.col("timestamp").dt.date() < EX_DATE)
    raw = lake.bars("AAPL", "1d").filter(pl.col("timestamp").dt.date() < EX_DATE)
    assert (split_rows["volume"] == raw["volume"] * 4).all()


class Broken:
    """A provider whose author made mistakes."""

    name, adjustment, normaliser = "broken", Adjustment.RAW, "broken/1"

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        return Fetched(self.frame, "0", 1, 1, 0.0)


def test_a_frame_that_a_provider_got_wrong_is_an_error_of_the_symbol(sim: Simulation, store: LakeStore) -> None:
    wrong = pl.DataFrame(schema=ACTIONS_RECEIVED | {"amount": pl.Float64()})
    (outcome,) = ingest_actions(store, source(sim), ["AAPL"], provider=Broken(wrong))  # type: ignore[arg-type]
    assert outcome.error is not None and "columns or types" in outcome.error.what
    rows = received(split("2024-06-10", "0")).drop("symbol")
    (outcome,) = ingest_actions(store, source(sim), ["AAPL"], provider=Broken(rows))  # type: ignore[arg-type]
    assert (outcome.quarantined, outcome.ok, outcome.worst[0]["why"]) == (1, True, "split_to_not_positive")


def test_a_provider_without_actions_is_refused_before_anything_is_asked(sim: Simulation, store: LakeStore) -> None:
    with pytest.raises(ConfigError, match="no corporate actions"):
        ingest_actions(
            store, source(sim, provider="ccxt", options={"exchange": "binance", "base_url": sim.url}, calendar="24/7")
        )
    assert len(sim.requests) == 0


def test_the_vendors_recorded_answers_are_stored_exactly(store: LakeStore, market_data: Callable[[str], Path]) -> None:
    folder = market_data("corporate-actions")
    read = (("splits", massive_answers.splits), ("dividends", massive_answers.dividends))
    frames = []
    for name, normalise in read:
        text = (folder / f"polygon-{name}.json").read_text(encoding="utf-8")
        rows = json.loads(text, parse_float=str, parse_int=str)["results"]
        for ticker in sorted({row["ticker"] for row in rows}):
            mine = [row for row in rows if row["ticker"] == ticker]
            frames.append(normalise(mine, ticker).select(pl.lit(ticker).alias("symbol"), pl.all()))
    everything = pl.concat(frames)
    codes = everything["symbol"].unique().to_list()
    window = (date(2000, 1, 1), date(2030, 1, 1))
    report = store.write_actions("polygon", codes, window, everything)
    assert (report.received, report.new, report.quarantined) == (20, 20, 0)
    assert report.doubtful == {"SHOP": ("the same split 10:1 on 2022-06-22 and on 2022-06-29",)}
    assert store.write_actions("polygon", codes, window, everything).version is None
    lake = Lake(store)
    brw = lake.corporate_actions("BRW").row(0, named=True)
    assert (brw["split_to"], brw["split_from"], brw["ratio"]) == (Decimal(1), Decimal(2), Decimal("0.5"))
    odd = lake.corporate_actions(kind="split").filter(pl.col("split_from") == 3).row(0, named=True)
    assert (odd["split_to"], odd["ratio"]) == (Decimal(4), Decimal("1.333333333333333333"))
    amounts = lake.corporate_actions(kind="cash_dividend")["amount"].to_list()
    assert Decimal("0.59375") in amounts
    # The vendor takes the wrong one of the two back.
    shop = everything.filter(pl.col("symbol") == "SHOP", pl.col("ex_date") != date(2022, 6, 22))
    assert store.write_actions("polygon", ["SHOP"], window, shop).withdrawn == 1
    assert lake.corporate_actions("SHOP")["ex_date"].to_list() == [date(2022, 6, 29)]
