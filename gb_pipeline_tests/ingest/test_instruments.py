"""Instruments as vendors tell them: whole histories of tickers, or a list from which a change is read by the vendor's ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import massive
import polars as pl
import pytest
from alpaca.trading.client import TradingClient

from gb_pipeline import Lake
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, QuotaExhausted, UnknownSymbol
from gb_pipeline.ingest.instruments import ingest_instruments
from gb_pipeline.lake import fetches, instruments
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.providers.massive import responses
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import SetClock, at

BEFORE, AFTER = at("2022-06-01T21:00"), at("2022-07-01T21:00")


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=5, symbols=["BTC-USDT", "BTC-USDT-PERP"], stocks=["META", "KO", "GONE"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.plant("ticker_change", "META", old="FB", ex_date="2022-06-09")
    running.plant("delisting", "GONE", start="2021-03-01")
    running.set_now(AFTER)
    return running


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path, clock=SetClock(AFTER))


def source(sim: Simulation, name: str, **settings: object) -> SourceSettings:
    keys = {"massive": {"key": "a-simulated-key"}, "alpaca": {"key": "AK1", "secret": "secret"}}
    body = {
        "name": name,
        "provider": name,
        "options": {"base_url": sim.url, **keys.get(name, {})},
        "asset_class": "equity",
        "calendar": "XNYS",
        "start": "2022-01-03",
        "symbols": ["META", "KO"],
        "resolutions": ["1d"],
        "rate_limit": {"calls": 1000, "seconds": 1},
    }
    return SourceSettings.model_validate(body | settings)


def rows(store: LakeStore, code: str) -> list[tuple[object, ...]]:
    told = instruments.read(store.tables).filter(pl.col("instrument").is_in(_ids(store, code)))
    return told.sort("valid_from").select("symbol", "valid_from", "valid_until").rows()


def _ids(store: LakeStore, code: str) -> list[str]:
    return instruments.read(store.tables).filter(pl.col("symbol") == code)["instrument"].unique().to_list()


def test_a_vendor_that_tells_histories_is_asked_about_each(sim: Simulation, store: LakeStore) -> None:
    outcome = ingest_instruments(store, source(sim, "massive"))
    assert (outcome.asked, dict(outcome.errors)) == (("META", "KO"), {})
    assert rows(store, "META") == [
        ("FB", date(2000, 1, 3), date(2022, 6, 9)),
        ("META", date(2022, 6, 9), None),
    ]
    assert Lake(store).symbol("FB", "2020-01-02").composite_figi == Lake(store).symbol("META").composite_figi
    again = ingest_instruments(store, source(sim, "massive"))
    assert again.report is not None
    assert (again.report.version, again.report.unchanged) == (None, 3)
    asked = fetches.scan(store.tables, "massive").filter(pl.col("kind") == "instruments").collect()
    assert sorted(asked["symbol"]) == ["KO", "KO", "META", "META"]
    assert set(asked["outcome"]) == {"ok"}


def test_the_vendors_own_clients_read_what_is_simulated(sim: Simulation) -> None:
    client = massive.RESTClient("a-simulated-key", base=f"{sim.url}/api.massive.com")
    told = client.get_ticker_events("META")
    assert [(event["date"], event["ticker_change"]["ticker"]) for event in told.events] == [
        ("2022-06-09", "META"),
        ("2000-01-03", "FB"),
    ]
    assert client.get_ticker_details("META").composite_figi == told.composite_figi
    trading = TradingClient("AK1", "secret", url_override=f"{sim.url}/api.alpaca.markets")
    now = trading.get_asset("META").id
    sim.set_now(BEFORE)
    assert trading.get_asset("FB").id == now


def test_a_recorded_answer_of_the_vendor_is_read(market_data: Callable[[str], Path]) -> None:
    """Massive says of META that it begins on a Saturday."""
    told = json.loads(
        (market_data("corporate-actions") / "polygon-ticker-events-META.json").read_text(encoding="utf-8")
    )
    changes = responses.ticker_changes(told)
    record = {"ticker": "META", "name": told["results"]["name"], "active": True, "currency_name": "usd"}
    history = responses.symbol_history(record, changes, AssetClass.EQUITY)
    assert [(item.symbol.code, item.listed_from, item.listed_until, item.active) for item in history] == [
        ("FB", date(2012, 5, 18), date(2022, 6, 11), False),
        ("META", date(2022, 6, 11), None, True),
    ]


def test_of_a_list_a_change_shows_by_the_vendors_id(sim: Simulation, store: LakeStore) -> None:
    sim.set_now(BEFORE)
    store.clock.now = BEFORE  # type: ignore[attr-defined]
    first = ingest_instruments(store, source(sim, "alpaca", symbols=["FB", "KO"]))
    assert first.unlisted == ()
    assert rows(store, "FB") == [("FB", date(1900, 1, 1), None)]
    sim.set_now(AFTER)
    store.clock.now = AFTER  # type: ignore[attr-defined]
    later = ingest_instruments(store, source(sim, "alpaca", symbols=["FB", "KO"]))
    assert later.unlisted == ("FB",)
    assert rows(store, "FB") == [("FB", date(1900, 1, 1), AFTER.date()), ("META", AFTER.date(), None)]


def test_delisted_ones_end_and_stay(sim: Simulation, store: LakeStore) -> None:
    ingest_instruments(store, source(sim, "massive", symbols=["GONE"]))
    assert rows(store, "GONE") == [("GONE", date(2000, 1, 3), date(2021, 3, 1))]
    # Alpaca says that it is inactive, and not since when: what was never known to stand is not taken.
    assert ingest_instruments(store, source(sim, "alpaca", symbols=["GONE"])).report is None


def test_an_exchange_tells_steps_and_contracts(sim: Simulation, store: LakeStore) -> None:
    options = {"exchange": "binance", "base_url": sim.url}
    crypto = {"options": options, "asset_class": "crypto", "calendar": "24/7", "symbols": ["BTC-USDT", "BTC-USDT-PERP"]}
    ingest_instruments(store, source(sim, "ccxt", **crypto))
    told = instruments.read(store.tables).select("symbol", "exchange", "currency", "tick_size", "multiplier").rows()
    assert [row[:3] for row in told] == [("BTC-USDT", "binance", "USDT"), ("BTC-USDT-PERP", "binance", "USDT")]
    assert [row[3] for row in told] == [Decimal("0.01")] * 2
    assert [row[4] for row in told] == [None, 1]


def test_what_one_symbol_lacks_stops_no_other(sim: Simulation, store: LakeStore) -> None:
    outcome = ingest_instruments(store, source(sim, "massive"), ["NOBODY", "KO"])
    assert isinstance(outcome.errors["NOBODY"], UnknownSymbol)
    assert outcome.report is not None
    assert outcome.report.new == 1
    few = source(sim, "massive", daily_quota={"calls": 4})
    deferred = ingest_instruments(store, few)
    assert isinstance(deferred.deferred, QuotaExhausted)
    assert not deferred.errors


def test_a_former_ticker_is_no_error_once_it_is_told_with_the_present_one(sim: Simulation, store: LakeStore) -> None:
    outcome = ingest_instruments(store, source(sim, "massive", symbols=["FB", "META"]))
    assert not outcome.errors
    assert [row[0] for row in rows(store, "META")] == ["FB", "META"]


def test_a_vendor_that_tells_nothing_is_refused(sim: Simulation, store: LakeStore) -> None:
    with pytest.raises(ConfigError, match="tells nothing of instruments"):
        ingest_instruments(store, source(sim, "yahoo"))
    with pytest.raises(ConfigError, match="key"):
        ingest_instruments(store, source(sim, "massive", options={"base_url": sim.url}))
