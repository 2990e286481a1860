"""Bars from memory, from the lake, or from a vendor who is asked for what is missing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline import ConfigError, Lake, UnknownSymbol, VendorError
from gb_pipeline.config.cache import NO_CACHE
from gb_pipeline.lake import fetches
from gb_pipeline.portal.data_manager import Bar, DataManager
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import at, minutes

DAY = ("2024-01-02", "2024-01-03")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=["BTC-USDT", "ETH-USDT"]) as running:
        yield running


def source(url: str, *symbols: str, **settings: object) -> dict[str, object]:
    return {
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": url},
        "asset_class": "crypto",
        "start": date(2024, 1, 1),
        "symbols": list(symbols),
        "retries": 0,
        "gap_policy": "no_trade",
        "rate_limit": {"calls": 1000, "seconds": 1},
        **settings,
    }


def project(folder: Path, **sources: dict[str, object]) -> Path:
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": sources}), encoding="utf-8")
    return folder


@pytest.fixture
def manager(tmp_path: Path, exchange: Simulation) -> DataManager:
    exchange.reset()
    return DataManager.open(project(tmp_path, sim=source(exchange.url, "BTC-USDT", "ETH-USDT")))


def asked(manager: DataManager) -> list[tuple[str, date]]:
    """What the vendor was asked for bars of."""
    rows = fetches.read(manager.lake.store.tables).filter(pl.col("kind").fill_null("bars") == "bars")
    return rows.select("symbol", pl.col("window_start").dt.date()).sort("symbol", "window_start").rows()


def test_what_is_missing_is_fetched_once(manager: DataManager) -> None:
    first = manager.load_data("BTC-USDT", *DAY, "1m")
    assert first.height == 1440
    assert asked(manager) == [("BTC-USDT", date(2024, 1, 2))]
    assert_frame_equal(manager.load_data("BTC-USDT", *DAY, "1m"), first)
    assert len(asked(manager)) == 1
    assert (manager.cache.hits, manager.cache.misses) == (1, 1)


def test_of_a_longer_range_only_the_missing_sessions_are_asked_for(manager: DataManager) -> None:
    manager.load_data("BTC-USDT", *DAY, "1m")
    longer = manager.load_data("BTC-USDT", "2024-01-01", "2024-01-04", "1m")
    assert longer.height == 3 * 1440
    assert asked(manager) == [("BTC-USDT", date(2024, 1, day)) for day in (1, 2, 3)]


def test_another_process_finds_it_in_the_lake(manager: DataManager, tmp_path: Path) -> None:
    first = manager.load_data(["BTC-USDT", "ETH-USDT"], *DAY, "1m")
    other = DataManager.open(tmp_path, cache_megabytes=0)
    assert_frame_equal(other.load_data(["BTC-USDT", "ETH-USDT"], *DAY, "1m"), first)
    assert len(asked(other)) == 2
    assert other.cache.bytes == 0


def test_a_part_of_a_day_that_is_there_is_no_day_that_is_there(manager: DataManager) -> None:
    """That some bars exist says nothing of the others; the ledger does."""
    half = minutes("2024-01-02", 720, symbol="BTC-USDT")
    manager.lake.write_bars("sim", "BTC-USDT", "1m", (at("2024-01-02"), at("2024-01-03")), half)
    assert manager.load_data("BTC-USDT", *DAY, "1m").height == 1440


def test_the_past_is_not_fetched(manager: DataManager) -> None:
    manager.load_data("BTC-USDT", *DAY, "1m")
    moment = manager.lake.bars("BTC-USDT", "1m")["known_at"].max()
    known = manager.load_data("BTC-USDT", *DAY, "1m", as_of=moment)
    assert known.height == 1440
    assert len(asked(manager)) == 1


def test_the_next_provider_is_asked_for_what_one_does_not_have(tmp_path: Path, exchange: Simulation) -> None:
    exchange.reset()
    # The first one's vendor does not know its symbols.
    unknown = [{"code": code, "vendor": f"NO{code[:3]}/USDT"} for code in ("BTC-USDT", "ETH-USDT")]
    wrong = source(exchange.url, priority=9) | {"symbols": unknown}
    both = DataManager.open(project(tmp_path, first=wrong, second=source(exchange.url, "BTC-USDT")))
    assert both.load_data("BTC-USDT", *DAY, "1m")["source"].unique().to_list() == ["second"]
    with pytest.raises(VendorError):
        both.load_data("ETH-USDT", *DAY, "1m")


def test_a_provider_can_be_added_at_run_time(tmp_path: Path, exchange: Simulation) -> None:
    manager = DataManager.open(project(tmp_path, sim=source(exchange.url, "BTC-USDT")))
    with pytest.raises(UnknownSymbol, match="no source has ETH-USDT"):
        manager.load_data("ETH-USDT", *DAY, "1m")
    more = source(exchange.url, "ETH-USDT")
    del more["provider"], more["symbols"]
    manager.add_provider("more", "ccxt", ["ETH-USDT"], **more)
    assert manager.load_data("ETH-USDT", *DAY, "1m").height == 1440
    with pytest.raises(ConfigError, match="there is a source more already"):
        manager.add_provider("more", "ccxt", [])
    with pytest.raises(ConfigError) as refused:
        manager.add_provider("bad", "ccxt", ["X"], {"key": "planted-secret"}, no_such_setting=1)
    assert "planted-secret" not in str(refused.value)


def test_bars_as_objects_as_arrow_and_by_stretches(manager: DataManager) -> None:
    bars = list(manager.iter_bars(["BTC-USDT", "ETH-USDT"], "2024-01-02", "2024-01-02T00:02Z", "1m"))
    assert [(bar.symbol, bar.timestamp) for bar in bars] == [
        ("BTC-USDT", at("2024-01-02")),
        ("ETH-USDT", at("2024-01-02")),
        ("BTC-USDT", at("2024-01-02T00:01")),
        ("ETH-USDT", at("2024-01-02T00:01")),
    ]
    assert isinstance(bars[0], Bar)
    assert isinstance(bars[0].close, Decimal)
    table = manager.load_arrow("BTC-USDT", *DAY, "1m", columns=["timestamp", "close"], as_float=True)
    assert str(table.schema.field("timestamp").type) == "timestamp[ns, tz=UTC]"
    assert table.num_rows == 1440
    hours = list(manager.iter_windows("BTC-USDT", *DAY, "1m", timedelta(hours=5)))
    assert [frame.height for frame in hours] == [300, 300, 300, 300, 240]


def test_who_changes_an_answer_does_not_change_the_next_one(manager: DataManager) -> None:
    for _ in range(2):
        bars = manager.load_data("BTC-USDT", *DAY, "1m")
        bars.insert_column(0, pl.lit(1).alias("mine"))
    assert "mine" not in manager.load_data("BTC-USDT", *DAY, "1m").columns


def test_a_frame_that_does_not_fit_is_not_kept(tmp_path: Path, exchange: Simulation) -> None:
    small = DataManager.open(project(tmp_path, sim=source(exchange.url, "BTC-USDT")), cache_megabytes=0.01)
    for _ in range(2):
        assert small.load_data("BTC-USDT", *DAY, "1m").height == 1440
    assert small.cache.hits == 0


steps = st.lists(st.sampled_from(["read a", "read b", "restate a", "restate b", "delete b", "clear"]), max_size=12)


@settings(max_examples=8, deadline=None)
@given(history=steps)
def test_with_a_cache_every_answer_is_that_of_the_lake(history: list[str]) -> None:
    """Reads and writes in any order, also by another process: a commit is seen by the next read."""
    with tempfile.TemporaryDirectory() as folder:
        nobody = source("http://127.0.0.1:1", start=date(2024, 1, 2), end=date(2024, 1, 3))
        cached = DataManager.open(project(Path(folder), sim=nobody))
        writer = Lake(cached.lake.store, cache=NO_CACHE)
        for code in ("a", "b"):
            writer.put(minutes("2024-01-02", 3, symbol=code.upper()), source="sim", resolution="1m")
        for number, step in enumerate(history):
            verb, _, code = step.partition(" ")
            if verb == "restate":
                writer.put(
                    minutes("2024-01-02", 3, symbol=code.upper(), base=200 + number), source="sim", resolution="1m"
                )
            elif verb == "delete":
                writer.put(minutes("2024-01-02", 1, symbol="B", base=900), source="sim", resolution="1m")
            elif verb == "clear":
                cached.cache.clear()
            for name in ("A", "B"):
                expected = writer.bars(name, "1m", *DAY)
                assert_frame_equal(cached.load_data(name, *DAY, "1m"), expected)
