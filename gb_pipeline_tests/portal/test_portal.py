"""What exists at the clock of a simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from gb_pipeline import ConfigError, Lake, Symbol
from gb_pipeline.errors import GapInWindow, LookAhead
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.portal.clock import SimulationClock
from gb_pipeline.portal.loading import BarLoader
from gb_pipeline.portal.portal import DataPortal
from gb_pipeline_tests.actions import delisting, split
from gb_pipeline_tests.bars import at, minutes
from gb_pipeline_tests.portal.bars import put_days, tell_actions


@pytest.fixture
def day(lake: Lake) -> Lake:
    """Two symbols on one day of minutes; ETH-USD has none from 05:00 to 06:00."""
    btc, eth = minutes("2024-01-02"), minutes("2024-01-02", symbol="ETH-USD", base=200)
    hole = pl.col("timestamp").is_between(at("2024-01-02T05:00"), at("2024-01-02T06:00"), closed="left")
    lake.put(pl.concat([btc, eth.filter(~hole)]), source="sim", resolution="1m")
    return lake


def portal(lake: Lake, now: str, symbols: object = ("BTC-USD", "ETH-USD"), **options: object) -> DataPortal:
    options = {"calendar": "24/7", **options}
    return DataPortal(lake, SimulationClock(now), list(symbols), "1m", **options)  # type: ignore[arg-type]


def test_a_bar_exists_from_its_close_on(day: Lake) -> None:
    seen = portal(day, "2024-01-02T00:59:59.999999Z")
    assert seen.current("BTC-USD", "close") == 158.75
    seen.clock.advance_by(timedelta(microseconds=1))
    assert seen.current("BTC-USD", "close") == 159.75
    assert seen.current(["BTC-USD", "ETH-USD"]) == {"BTC-USD": 159.75, "ETH-USD": 259.75}
    assert seen.current(Symbol("BTC-USD"), "close") == 159.75


def test_before_the_first_bar_there_is_nothing(day: Lake) -> None:
    seen = portal(day, "2023-06-01")
    assert np.isnan(seen.current("BTC-USD"))
    assert seen.can_trade("BTC-USD") is False
    assert seen.is_stale("BTC-USD") is True
    assert seen.history("BTC-USD", "close", 3)["close"].null_count() == 3
    assert seen.history("BTC-USD", "close", 3, on_gap="skip").is_empty()


def test_a_day_of_an_exchange_exists_from_its_close_on(lake: Lake) -> None:
    put_days(lake, "AAPL", ["2024-07-02", "2024-07-03", "2024-07-05"], [1, 2, 3])
    seen = DataPortal(lake, SimulationClock("2024-07-03T16:59Z"), "AAPL", "1d", calendar="XNYS")
    assert seen.current("AAPL") == 1.0
    # On the day before the Fourth of July the exchange closes at 13:00 local time.
    seen.clock.advance_to("2024-07-03T17:00Z")
    assert seen.current("AAPL") == 2.0
    assert seen.can_trade("AAPL") is False
    seen.clock.advance_to("2024-07-05T14:00Z")
    assert seen.can_trade("AAPL") is True
    assert seen.history("AAPL", "close", 2)["timestamp"].dt.date().to_list() == [date(2024, 7, 2), date(2024, 7, 3)]


def test_what_a_window_does_where_a_bar_is_missing(day: Lake) -> None:
    seen = portal(day, "2024-01-02T06:02Z")

    def window(on_gap: str) -> list[tuple[str, float | None]]:
        frame = seen.history("ETH-USD", "close", 4, on_gap=on_gap)
        return frame.select(pl.col("timestamp").dt.strftime("%H:%M"), "close").rows()

    assert window("null") == [("05:58", None), ("05:59", None), ("06:00", 200.75), ("06:01", 201.75)]
    assert window("ffill") == [("05:58", 259.75), ("05:59", 259.75), ("06:00", 200.75), ("06:01", 201.75)]
    assert window("skip") == [("04:58", 258.75), ("04:59", 259.75), ("06:00", 200.75), ("06:01", 201.75)]
    with pytest.raises(GapInWindow, match=r"ETH-USD has no bar at 2024-01-02T05:58:00\+00:00, and 2 of the 4"):
        window("error")


def test_a_filled_bar_has_the_last_close_as_every_price_and_no_volume(day: Lake) -> None:
    seen = portal(day, "2024-01-02T05:30Z", on_gap="ffill")
    [row] = seen.history("ETH-USD", ["open", "high", "low", "close", "volume"], 1).rows()
    assert row[2:] == (259.75, 259.75, 259.75, 259.75, 0.0)


def test_a_series_is_stale_where_the_newest_expected_bar_is_missing(day: Lake) -> None:
    seen = portal(day, "2024-01-02T05:00Z")
    assert seen.is_stale(["BTC-USD", "ETH-USD"]) == {"BTC-USD": False, "ETH-USD": False}
    seen.clock.advance_by(timedelta(minutes=1))
    assert seen.is_stale(["BTC-USD", "ETH-USD"]) == {"BTC-USD": False, "ETH-USD": True}


def test_longer_bars_exist_once_they_are_over(day: Lake) -> None:
    seen = portal(day, "2024-01-02T02:59Z")
    hours = seen.history("BTC-USD", ["open", "close", "volume"], 2, "1h")
    assert hours["timestamp"].dt.hour().to_list() == [0, 1]
    assert hours["close"].to_list() == [159.75, 159.75]
    seen.clock.advance_by(timedelta(minutes=1))
    assert seen.history("BTC-USD", "close", 2, "1h")["timestamp"].dt.hour().to_list() == [1, 2]


def test_arrays_have_a_row_per_bar_and_a_column_per_symbol(day: Lake) -> None:
    seen = portal(day, "2024-01-02T06:01Z")
    opens, closes = seen.history_array(["ETH-USD", "BTC-USD"], "close", 2)
    assert opens.tolist() == [at("2024-01-02T05:59").replace(tzinfo=None), at("2024-01-02T06:00").replace(tzinfo=None)]
    np.testing.assert_array_equal(closes, [[np.nan, 159.75], [200.75, 100.75]])
    with pytest.raises(ConfigError, match="one row for all symbols"):
        seen.history_array("ETH-USD", "close", 2, on_gap="skip")


def test_many_fields_of_many_symbols_are_a_frame(day: Lake) -> None:
    frame = portal(day, "2024-01-02T05:30Z").current(["BTC-USD", "ETH-USD"], ["open", "close"])
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["symbol", "timestamp", "open", "close"]
    assert frame["timestamp"].to_list() == [at("2024-01-02T05:29"), at("2024-01-02T04:59")]


def test_a_question_about_the_future_is_refused_and_kept(day: Lake) -> None:
    seen = portal(day, "2024-01-02T01:00Z")
    with pytest.raises(LookAhead, match="at 2024-01-02T01:00:00"):
        seen.bars("BTC-USD", "2024-01-02", "2024-01-03")
    assert seen.bars("BTC-USD", "2024-01-02", "2024-01-02T01:00Z", ["close"]).height == 60
    assert seen.audit().rows() == [(at("2024-01-02T01:00"), "bars", "BTC-USD", at("2024-01-03"), "refused")]


def test_a_portal_that_clips_answers_with_what_exists_and_keeps_the_question(day: Lake) -> None:
    seen = portal(day, "2024-01-02T01:00Z", clip=True)
    assert seen.bars("BTC-USD", "2024-01-02", "2024-01-03", ["close"]).height == 60
    assert seen.audit()["answer"].to_list() == ["clipped"]


def test_a_clock_goes_forwards_only() -> None:
    clock = SimulationClock("2024-01-02")
    with pytest.raises(ConfigError, match="cannot go back"):
        clock.advance_to("2024-01-01")
    with pytest.raises(ConfigError, match="cannot go back"):
        clock.advance_by(timedelta(seconds=-1))


def test_who_writes_meanwhile_changes_no_answer(day: Lake) -> None:
    seen = portal(day, "2024-01-02T00:01Z")
    assert seen.current("BTC-USD") == 100.75
    day.store.clock.now += timedelta(hours=1)  # type: ignore[attr-defined]
    day.put(minutes("2024-01-02", base=500), source="sim", resolution="1m")
    seen.clock.advance_to("2024-01-09")
    assert seen.current("BTC-USD") == 159.75
    assert portal(day, "2024-01-09").current("BTC-USD") == 559.75


def test_what_a_portal_does_not_have_is_named(day: Lake) -> None:
    seen = portal(day, "2024-01-02T01:00Z")
    for ask in (lambda: seen.current("XRP-USD"), lambda: seen.history(["BTC-USD", "XRP-USD"])):
        with pytest.raises(ConfigError, match="no symbol XRP-USD"):
            ask()
    with pytest.raises(ConfigError, match="no field 'vwap'"):
        seen.current("BTC-USD", "vwap")
    with pytest.raises(ConfigError, match="window of 0 bars"):
        seen.history("BTC-USD", bar_count=0)
    with pytest.raises(ConfigError, match=r"window of 2\.5 bars"):
        seen.history("BTC-USD", bar_count=2.5)  # type: ignore[arg-type]
    for nobody in (None, []):
        with pytest.raises(ConfigError, match="symbol"):
            DataPortal(day, SimulationClock("2024-01-02"), nobody, "1m", calendar="24/7")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="on_gap='zero'"):
        portal(day, "2024-01-02", on_gap="zero")


def test_symbols_that_begin_late_or_ended_early_are_found_and_read_no_older_bars_of_others(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = get_calendar("XNYS").sessions(date(2010, 1, 4), date(2020, 1, 1))
    days = [str(day) for day in sessions]
    put_days(lake, "LONG", days, list(range(1, len(days) + 1)))
    put_days(lake, "GONE", days[:10], list(range(1, 11)))
    put_days(lake, "LATE", days[-10:], list(range(1, 11)))
    read: list[int] = []
    monkeypatch.setattr(BarLoader, "read", lambda self, symbols, *window: _counted(self, symbols, window, read))
    clock = SimulationClock(f"{days[-300]}T23:00Z")
    seen = DataPortal(lake, clock, ["LONG", "LATE", "GONE"], "1d", calendar="XNYS")
    assert np.isnan(seen.current("LATE"))
    assert len(read) == 1, "what has not begun is looked for nowhere"
    assert seen.history("GONE", "close", 3, on_gap="skip")["close"].to_list() == [8, 9, 10]
    so_far = len(read)
    for day in days[-299:]:
        clock.advance_to(f"{day}T23:00Z")
        assert seen.current("GONE") == 10
        assert seen.history("GONE", "close", 3, on_gap="skip")["close"].to_list() == [8, 9, 10]
    assert seen.current(["LONG", "LATE"]) == {"LONG": len(days), "LATE": 10}
    assert len(read) - so_far <= 2, "the newest bars of what is gone stay in memory"


def _counted(
    loader: BarLoader,
    symbols: Sequence[str],
    window: tuple[int, int],
    read: list[int],
    own: Callable[..., object] = BarLoader.read,
) -> object:
    read.append(1)
    return own(loader, symbols, *window)


def test_a_pin_is_read_like_a_lake(day: Lake) -> None:
    day.pin("first", ["sim:BTC-USD"], "1m", "2024-01-02", "2024-01-03")
    day.put(minutes("2024-01-02", base=500), source="sim", resolution="1m")
    seen = DataPortal(day.replay("first"), SimulationClock("2024-01-02T01:00Z"), "BTC-USD", "1m", calendar="24/7")
    assert seen.current("BTC-USD") == 159.75
    with pytest.raises(ConfigError, match="need the lake itself"):
        DataPortal(day.replay("first"), SimulationClock("2024-01-02"), "BTC-USD", "1m", calendar="24/7", strict=True)


def test_a_split_is_applied_from_its_ex_date_on(lake: Lake) -> None:
    days = ["2024-06-05", "2024-06-06", "2024-06-07", "2024-06-10"]
    put_days(lake, "NVDA", days, [1200, 1210, 1208, 121], adjustment="raw")
    tell_actions(lake, split("2024-06-10", "10", symbol="NVDA"))
    clock = SimulationClock("2024-06-08")
    seen = DataPortal(lake, clock, "NVDA", "1d", calendar="XNYS", adjustment="splits")
    assert seen.history("NVDA", "close", 3)["close"].to_list() == [1200.0, 1210.0, 1208.0]
    clock.advance_to("2024-06-11")
    assert seen.history("NVDA", ["close", "volume"], 4).select("close", "volume").rows() == [
        (120.0, 10_000.0),
        (121.0, 10_000.0),
        (120.8, 10_000.0),
        (121.0, 1_000.0),
    ]
    # On the morning of the ex date the newest bar is of the day before, in shares of today.
    clock = SimulationClock("2024-06-10T13:00Z")
    assert DataPortal(lake, clock, "NVDA", "1d", calendar="XNYS", adjustment="splits").current("NVDA") == 120.8


def test_a_delisted_symbol_cannot_be_traded_from_that_day_on(lake: Lake) -> None:
    put_days(lake, "DELL", ["2013-10-28", "2013-10-29"], [13, 14])
    tell_actions(lake, delisting("2013-10-30", "DELL"))
    clock = SimulationClock("2013-10-29T14:00Z")
    seen = DataPortal(lake, clock, "DELL", "1d", calendar="XNYS")
    assert seen.can_trade("DELL") is True
    clock.advance_to("2013-10-30T14:00Z")
    assert seen.can_trade("DELL") is False
