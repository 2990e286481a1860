"""Pins: what was known of some series is read again, exactly so, or the bars that differ are told."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import ConfigError, Lake, LakeError, NoDataInRange, PinRefused, ReadError, UnknownSeries
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.pins import Pin
from gb_pipeline.reading import pins as reading_pins
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.exchanged import exchange

T1, T2 = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 2, tzinfo=UTC)
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
BTC = pl.col("symbol") == "BTC-USD"


@pytest.fixture
def filled(lake, write):
    for symbol in ("BTC-USD", "ETH-USD"):
        write("sim", symbol, "2024-01-02", ["1"] * 1440, now=T1)
        write("sim", symbol, "2024-01-03", ["2"] * 1440)
    return lake


def test_a_pin_says_what_it_is_and_a_restatement_does_not_reach_it(filled, write):
    pin = filled.pin("first", ["sim:BTC-USD", "ETH-USD"], "1m", "2024-01-02T06:00Z", "2024-01-03T12:00Z")
    assert pin.series.select("symbol", "bars").rows() == [("BTC-USD", 1800), ("ETH-USD", 1800)]
    before = filled.wide("close", ["BTC-USD", "ETH-USD"], "1m", "2024-01-02T06:00Z", "2024-01-03T12:00Z")
    write("sim", "BTC-USD", "2024-01-02", ["9"] * 1440, now=T2)
    write("other", "BTC-USD", "2024-01-02", ["7"] * 1440)
    replay = filled.replay("first")
    assert replay.wide("close", ["BTC-USD", "ETH-USD"], "1m").equals(before)
    assert replay.bars("BTC-USD", "1m")["source"].unique().to_list() == ["sim"]
    assert filled.bars("BTC-USD", "1m", source="sim")["close"][0] == 9


def test_only_the_named_source_answers(filled, write):
    write("other", "BTC-USD", "2024-01-02", ["7"] * 1440)
    filled.pin("one", "other:BTC-USD", "1m")
    assert filled.replay("one").bars("BTC-USD", "1m")["close"].unique().to_list() == [7]


def test_what_a_pin_does_not_hold_is_refused(filled):
    filled.pin("first", "sim:BTC-USD", "1m", "2024-01-02", "2024-01-03")
    replay = filled.replay("first")
    with pytest.raises(UnknownSeries, match="has nothing of ETH-USD"):
        replay.bars("ETH-USD", "1m")
    with pytest.raises(ReadError, match="holds bars from 2024-01-02"):
        replay.bars("BTC-USD", "1m", "2024-01-02", "2024-01-04")
    with pytest.raises(ReadError, match="has 1m bars, not 1d"):
        replay.bars("BTC-USD", "1d")
    with pytest.raises(ReadError, match="ends at what was known"):
        replay.bars("BTC-USD", "1m", as_of="2030-01-01")


def test_a_name_is_taken_unless_it_says_the_same(filled):
    first = filled.pin("first", "BTC-USD", "1m")
    assert filled.pin("first", "BTC-USD", "1m") == first
    with pytest.raises(ConfigError, match="holds something else"):
        filled.pin("first", "ETH-USD", "1m")
    assert [item.name for item in filled.pins()] == ["first"]
    filled.unpin("first")
    assert filled.pins() == []
    assert not list((filled.store.storage.root / "pins").iterdir()), "nothing of it is left"
    with pytest.raises(ConfigError, match="there is no pin 'first'"):
        filled.replay("first")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a..b", "x" * 81, "end.", "a b"])
def test_names_that_could_not_be_files_are_refused(filled, name):
    with pytest.raises(ConfigError, match="is no name of a pin"):
        filled.pin(name, "BTC-USD", "1m")


def test_what_is_not_there_cannot_be_pinned(filled):
    with pytest.raises(NoDataInRange, match="no 1m bars of NOPE"):
        filled.pin("first", ["BTC-USD", "NOPE"], "1m")
    with pytest.raises(NoDataInRange, match="no 1m bars of BTC-USD"):
        filled.pin("first", "BTC-USD", "1m", "2025-01-01")


def test_a_pin_kept_elsewhere_is_the_same_pin(filled, tmp_path):
    pin = filled.pin("first", "BTC-USD", "1m")
    file = tmp_path / "mine.json"
    file.write_text(pin.to_json(), encoding="utf-8")
    assert Pin.from_json(file.read_text(encoding="utf-8")) == pin
    filled.unpin("first")
    assert filled.replay(file).bars("BTC-USD", "1m").height == 2880
    file.write_text(pin.to_json().replace(pin.fingerprint, "0" * 64))
    with pytest.raises(LakeError, match="its fingerprint is not that of its sessions"):
        filled.replay(file)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(LakeError, match="cannot be read"):
        filled.replay(file)


def test_bars_that_differ_are_told_with_what_they_were(filled):
    filled.pin("first", ["BTC-USD", "ETH-USD"], "1m")
    exchange(filled.store, pl.col("close") + Decimal("0.01"), where=BTC & (pl.col("timestamp") == NOON))
    exchange(filled.store, where=(pl.col("symbol") == "ETH-USD") & (pl.col("timestamp") == NOON))
    with pytest.raises(PinRefused, match="2 bars differ, the first is sim:BTC-USD 1m at 2024-01-02T12:00") as refused:
        filled.replay("first")
    told = refused.value.differences.select("symbol", "timestamp", "kind", "then_close", "now_close")
    assert told.rows() == [
        ("BTC-USD", NOON, "changed", Decimal(1), Decimal("1.01")),
        ("ETH-USD", NOON, "missing", Decimal(1), None),
    ]


def test_a_series_that_is_gone_is_told_bar_by_bar(filled):
    filled.pin("first", "BTC-USD", "1m")
    exchange(filled.store, where=BTC)
    with pytest.raises(PinRefused, match="2,880 bars differ") as refused:
        filled.replay("first")
    assert refused.value.differences["kind"].unique().to_list() == ["missing"]


def test_a_damaged_file_is_told_by_the_bars_that_cannot_be_read(filled):
    filled.pin("first", ["BTC-USD", "ETH-USD"], "1m")
    damaged = filled.store.tables.newest("bars_1m").files.filter(BTC & (pl.col("min.timestamp") >= NOON))
    [path] = damaged["path"].to_list()
    (filled.store.storage.root / "lake" / "bars_1m" / path).unlink()
    with pytest.raises(PinRefused, match="1,440 bars differ") as refused:
        Lake.open(filled.store.storage.root).replay("first")
    assert refused.value.differences["session"].unique().to_list() == [datetime(2024, 1, 3).date()]


def test_without_a_copy_the_sessions_that_differ_are_told(filled, monkeypatch):
    monkeypatch.setattr(reading_pins, "MOST_COPIED", 1000)
    assert filled.pin("first", "BTC-USD", "1m").copy == ""
    exchange(filled.store, pl.col("close") + Decimal("0.01"), where=BTC & (pl.col("timestamp") == NOON))
    with pytest.raises(PinRefused, match="1 session differs") as refused:
        filled.replay("first")
    assert refused.value.differences.select("session", "kind").rows() == [(NOON.date(), "session")]
    assert Path(filled.store.storage.root / "pins" / "first.json").exists()


def test_splits_are_those_that_were_known_when_it_was_made_though_told_after_the_bars(lake, write):
    write("v", "AAPL", "2024-01-02", ["8"] * 1440, now=T1)
    ever = T1.date() - timedelta(days=365), T1.date() + timedelta(days=365)

    def tell(now: datetime, *splits: dict) -> None:
        lake.store.clock.now = now
        lake.store.write_actions("v", "AAPL", ever, received(*splits))
        lake.store.clock.now = now + timedelta(seconds=1)
        window = (datetime.combine(edge, time(), UTC) for edge in ever)
        asked = FetchRecord("v", "AAPL", "", *window, now, FetchOutcome.OK, kind="corporate_actions")
        lake.store.record_fetches([asked])

    tell(T2, split("2024-01-03", "2"))
    expected = lake.bars("AAPL", "1m", adjustment="split")
    assert expected["close"].unique().to_list() == [4]
    lake.pin("adjusted", "v:AAPL", "1m")
    tell(T2 + timedelta(days=1), split("2024-01-03", "2"), split("2024-01-10", "4"))
    assert lake.bars("AAPL", "1m", adjustment="split")["close"].unique().to_list() == [1]
    replay = lake.replay("adjusted")
    assert replay.bars("AAPL", "1m", adjustment="split").equals(expected)
    assert Pin.from_json(replay.pin.to_json()).told_at == replay.pin.told_at > replay.pin.as_of
