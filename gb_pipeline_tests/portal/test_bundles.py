"""A bundle names bars and copies none; what was pinned of it replays, whatever the vendor restates."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import yaml

from gb_pipeline import Bundles, ConfigError, LakeError, NoDataInRange, SimulationClock
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.fetches import read as read_fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import minutes

SYMBOLS = ["BTC-USDT", "ETH-USDT"]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=SYMBOLS) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, exchange: Simulation) -> Path:
    exchange.reset()
    source = {
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": exchange.url},
        "asset_class": "crypto",
        "start": date(2024, 1, 1),
        "end": date(2024, 1, 6),
        "symbols": SYMBOLS,
        "resolutions": ["1h"],
        "retries": 0,
        "gap_policy": "no_trade",
    }
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {"sim": source}}), encoding="utf-8")
    return tmp_path


@pytest.fixture
def bundles(project: Path) -> Bundles:
    return Bundles.open(project)


@pytest.fixture
def fetched(bundles: Bundles) -> Bundles:
    bundles.register("days", "sim", SYMBOLS, "2024-01-02", "2024-01-04", "1h")
    bundles.ingest("days")
    return bundles


def restate(bundles: Bundles, close: str = "1.5") -> None:
    """Store a day of other bars, as a fetch with --again would."""
    frame = minutes("2024-01-02", 24, symbol="BTC-USDT", step=3600).with_columns(close=pl.lit(close))
    frame = frame.with_columns(low=pl.lit("0.5"))
    bundles.lake.put(frame, source="sim", resolution="1h", gap_policy="no_trade")


def test_only_what_the_ledger_lacks_of_a_bundle_is_fetched(bundles: Bundles) -> None:
    bundles.register("first", "sim", ["BTC-USDT"], "2024-01-02", "2024-01-03", "1h")
    bundles.register("wider", "sim", None, "2024-01-01", "2024-01-04", "1h")
    assert len(bundles.ingest("first")) == 1
    assert bundles.lake.bars(None, "1h").height == 24
    asked = read_fetches(bundles.lake.store.tables).height
    outcomes = bundles.ingest("wider", n_workers=4)
    assert sum(len(outcome.sessions) for outcome in outcomes) == 5, "two days of one symbol, and three of the other"
    assert bundles.lake.bars(None, "1h").height == 6 * 24
    assert bundles.ingest("wider") == []
    assert read_fetches(bundles.lake.store.tables).height > asked
    assert set(bundles.lake.symbols()["symbol"]) == set(SYMBOLS)


def test_a_pinned_bundle_replays_to_the_same_numbers_after_a_restatement(fetched: Bundles) -> None:
    made = fetched.pin("days")
    assert fetched.pin("days") == made, "nothing became known since"
    before = [fetched.load("days", clock).current(SYMBOLS) for clock in hours()]
    restate(fetched)
    assert [fetched.load("days", clock).current(SYMBOLS) for clock in hours()] == before
    report = fetched.validate("days")
    assert report.is_ok and report.changes == 24
    newer = fetched.pin("days")
    assert fetched.info("days").pins == (made.name, newer.name)
    assert fetched.load("days", SimulationClock("2024-01-02T05:00Z")).current("BTC-USDT") == 1.5
    old = fetched.load("days", SimulationClock("2024-01-02T05:00Z"), pin=made.name)
    assert old.current("BTC-USDT") == before[1]["BTC-USDT"]


def hours() -> list[SimulationClock]:
    return [SimulationClock(f"2024-01-02T{hour:02}:00Z") for hour in range(1, 24, 4)]


@pytest.mark.parametrize("options", [{"strict": True}, {}])
def test_a_loaded_portal_holds_nothing_that_became_known_after_the_pin(fetched: Bundles, options: dict) -> None:
    fetched.pin("days")
    restate(fetched, "7.5")
    clock = SimulationClock(fetched.lake.store.clock())
    window = fetched.load("days", clock, **options).history("BTC-USDT", "close", 48, on_gap="skip")
    assert window.height == 48 and not (window["close"] == 7.5).any()


def test_holes_are_told_with_their_reasons(bundles: Bundles, exchange: Simulation) -> None:
    bundles.register("days", "sim", SYMBOLS, "2024-01-01", "2024-01-06", "1h")
    report = bundles.validate("days")
    assert (report.sessions, report.is_complete) == (5, False)
    assert set(report.holes["reason"]) == {"never_fetched"} and report.holes.height == 10
    exchange.plant("gap", "BTC-USDT", start="2024-01-03T10:00Z", end="2024-01-03T12:00Z")
    exchange.faults.add(match="symbol=ETHUSDT", status=404, times=-1)
    bundles.ingest("days")
    report = bundles.validate("days")
    by_reason = dict(report.holes.group_by("reason").agg(pl.len()).iter_rows())
    assert by_reason == {"no_trade": 1, "fetch_failed": 5}
    assert report.holes.filter(pl.col("reason") == "no_trade").select("session", "missing", "is_open").rows() == [
        (date(2024, 1, 3), 2, False)
    ]
    with pytest.raises(LakeError, match="5 sessions of bundle 'days' are not stored"):
        bundles.pin("days")
    assert bundles.pin("days", partial=True).series["symbol"].to_list() == ["BTC-USDT"]
    exchange.reset()
    bundles.ingest("days")
    assert bundles.validate("days").is_complete


def test_bars_of_a_pinned_bundle_are_not_purged(fetched: Bundles) -> None:
    made = fetched.pin("days")
    store = fetched.lake.store
    with pytest.raises(LakeError, match=made.name):
        store.delete("sim", "BTC-USDT", reason="not licensed", purge=True)
    store.delete("sim", "BTC-USDT", reason="not licensed")
    report = fetched.validate("days")
    assert report.refused is None and report.changes == 48, "the present lacks them, the pin does not"


def test_a_bundle_belongs_to_the_lake_and_its_copies(fetched: Bundles, project: Path, tmp_path_factory) -> None:
    fetched.pin("days")
    copy = tmp_path_factory.mktemp("copy") / "data"
    plan_copy(fetched.lake.store, LakeStore.at(copy)).run()
    elsewhere = Bundles(Lake.open(copy))
    assert [bundle.name for bundle in elsewhere.list()] == ["days"]
    assert elsewhere.validate("days").is_ok
    assert elsewhere.load("days", hours()[1]).current(SYMBOLS) == fetched.load("days", hours()[1]).current(SYMBOLS)
    with pytest.raises(ConfigError, match="does not say how sim is reached"):
        elsewhere.ingest("days")


def test_one_of_two_who_register_a_name_at_once_is_refused(bundles: Bundles) -> None:
    def register(symbol: str) -> str:
        try:
            return str(bundles.register("mine", "sim", symbol, "2024-01-02", "2024-01-03", "1h").symbols)
        except ConfigError:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(register, SYMBOLS * 4))
    [bundle] = bundles.list()
    assert sorted(set(ended)) == sorted({str(bundle.symbols), "refused"})
    assert bundles.register("mine", "sim", bundle.symbols, "2024-01-02", "2024-01-03", "1h") == bundle


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "../etc"}, "no name of a bundle"),
        ({"name": "x" * 58}, "no name of a bundle"),
        ({"source": "binance"}, "binance"),
        ({"symbols": ["DOGE-USDT"]}, "sim has no DOGE-USDT"),
        ({"start": "2024-01-04"}, "is not after the start"),
        ({"start": "2024-01-02T10:00Z"}, "is no day"),
        ({"members": True}, "leave one of them out"),
        ({"members": True, "symbols": None}, "no universe that changes over time"),
    ],
)
def test_what_cannot_be_a_bundle_is_refused(bundles: Bundles, changed: dict, message: str) -> None:
    given = {
        "name": "mine", "source": "sim", "symbols": SYMBOLS, "start": "2024-01-02", "end": "2024-01-04", "resolution": "1h",
    }  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        bundles.register(**(given | changed))
    assert message in f"{refused.value.what} {refused.value.fix}"
    assert bundles.list() == []


def test_a_bundle_with_pins_is_dropped_only_with_them(fetched: Bundles) -> None:
    made = fetched.pin("days")
    with pytest.raises(ConfigError, match="which may be the data of a backtest"):
        fetched.drop("days")
    assert fetched.lake.bars("BTC-USDT", "1h").height == 48
    fetched.drop("days", with_pins=True)
    assert fetched.list() == [] and made.name not in [pin.name for pin in fetched.lake.pins([])]
    assert fetched.lake.bars("BTC-USDT", "1h").height == 48
    with pytest.raises(ConfigError, match="there is no bundle 'days'"):
        fetched.load("days", hours()[0])


def test_an_empty_universe_has_nothing_to_pin(bundles: Bundles) -> None:
    bundles.register("later", "sim", None, "2024-01-05", "2024-01-06", "1h")
    with pytest.raises(NoDataInRange, match="there is no bar of bundle 'later'"):
        bundles.pin("later", partial=True)


def test_a_damaged_file_is_named(bundles: Bundles) -> None:
    bundles.register("mine", "sim", SYMBOLS, "2024-01-02", "2024-01-04", "1h")
    [file] = (bundles.lake.store.storage.root / "bundles").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(LakeError, match="bundle 'mine' cannot be read"):
        bundles.validate("mine")
    bundles.drop("mine")
    assert bundles.list() == []
