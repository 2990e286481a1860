"""A calendar that knows better than it did: the differences are listed, and recorded sessions are described again."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake import calendar_changes, ledger, quarantine
from gb_pipeline.lake.calendar_changes import CalendarChange, find_calendar_changes, record_calendar_changes
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import minutes

# Mumbai traded on Saturday the 20th, and was closed on Monday the 22nd and on Friday the 26th.
WEEK = Window.of("2024-01-15", "2024-01-29")


def rules(calendar: str, resolution: Resolution = Resolution.DAY) -> BarRules:
    return BarRules(resolution=resolution, calendar=get_calendar(calendar), max_bad_fraction=1)


def with_days(root: Path, *days: str, symbols: tuple[str, ...] = ("RELIANCE",)) -> LakeStore:
    """Daily bars, written while every Monday to Friday was taken for a session."""
    store = LakeStore.at(root)
    frame = pl.concat([minutes(day, 1, symbol=symbol) for symbol in symbols for day in days])
    store.write_bars("bse", list(symbols), Resolution.DAY, WEEK, frame, rules=rules("24/5"))
    return store


def found(store: LakeStore) -> dict[tuple[str, str], str]:
    changes = find_calendar_changes(store, "bse", rules("XBOM"))
    return {(row["symbol"], str(row["session"])): row["change"] for row in changes.iter_rows(named=True)}


def test_sessions_that_came_and_went_are_listed(tmp_path: Path) -> None:
    store = with_days(tmp_path, "2024-01-15", "2024-01-16", "2024-01-26", symbols=("RELIANCE", "TCS"))
    expected = {
        "2024-01-20": CalendarChange.OPENED,
        "2024-01-22": CalendarChange.CLOSED,
        "2024-01-26": CalendarChange.TRADED,
    }
    assert found(store) == {(symbol, day): change for symbol in ("RELIANCE", "TCS") for day, change in expected.items()}
    assert find_calendar_changes(store, "bse", rules("24/5")).is_empty()
    assert find_calendar_changes(store, "nse", rules("XBOM")).is_empty()


def test_recording_them_makes_gaps_that_a_fetch_fills_and_takes_nothing_away(tmp_path: Path) -> None:
    store = with_days(tmp_path, "2024-01-15", "2024-01-16", "2024-01-26")
    before = Lake(store).bars("RELIANCE", "1d")
    changes = find_calendar_changes(store, "bse", rules("XBOM"))
    assert record_calendar_changes(store, "bse", rules("XBOM"), changes, {}) == 2
    assert record_calendar_changes(store, "bse", rules("XBOM"), changes, {}) == 0
    assert list(found(store).values()) == [CalendarChange.TRADED]
    status = dict(ledger.current(store.tables).select("session", "status").iter_rows())
    assert status[date(2024, 1, 20)] == "failed"
    assert status[date(2024, 1, 22)] == "closed"
    assert status[date(2024, 1, 26)] == "complete", "it was traded, whatever the calendar says"
    gaps = Lake(store).gaps().filter(pl.col("session") == date(2024, 1, 20))
    assert gaps.select("missing", "reason").rows() == [(1, "fetch_failed")]
    assert Lake(store).bars("RELIANCE", "1d").equals(before)
    assert verify(store).ok
    report = store.write_bars(
        "bse", "RELIANCE", Resolution.DAY, Window.of("2024-01-20", "2024-01-21"), minutes("2024-01-20", 1, symbol="RELIANCE"),
        rules=rules("XBOM"),
    )  # fmt: skip
    assert report.sessions[0].status == "complete"


def test_other_hours_are_a_change_and_what_is_whole_by_them_is_not_fetched_again(tmp_path: Path) -> None:
    store, hour = LakeStore.at(tmp_path), Resolution.HOUR
    always, exchange = (rules(name, hour) for name in ("24/5", "XNYS"))
    frame = minutes("2024-01-16T14:00", 7, symbol="SPY", step=3600)
    store.write_bars("us", "SPY", hour, Window.of("2024-01-16", "2024-01-18"), frame, rules=always)
    changes = find_calendar_changes(store, "us", exchange)
    assert changes.select("change", "expected", "expected_now", "actual").rows() == [
        (CalendarChange.HOURS, 24, 7, 7),
        (CalendarChange.HOURS, 24, 7, 0),
    ]
    record_calendar_changes(store, "us", exchange, changes, {})
    recorded = ledger.current(store.tables).select("status", "expected", "actual", "missing").rows()
    assert recorded == [("complete", 7, 7, 0), ("failed", 7, 0, 7)]
    assert verify(store).ok
    assert find_calendar_changes(store, "us", exchange).is_empty()


def test_what_was_fetched_before_it_ended_is_no_change(tmp_path: Path) -> None:
    store, minute = LakeStore.at(tmp_path), Resolution.MINUTE
    moment = Window.of("2024-01-16", "2024-01-17").start.replace(hour=1)
    store.write_bars(
        "sim", "BTC-USD", minute, Window.of("2024-01-16", "2024-01-17"), minutes("2024-01-16", 30), fetched_at=moment
    )
    assert find_calendar_changes(store, "sim", BarRules()).is_empty()


def test_it_is_recorded_by_which_calendar_and_version_of_it_bars_were_expected(tmp_path: Path) -> None:
    store = with_days(tmp_path, "2024-01-15", "2024-01-16")
    assert ledger.current(store.tables)["calendar"].unique().to_list() == ["24/5"]
    changes = find_calendar_changes(store, "bse", rules("XBOM"))
    assert changes["calendar"].unique().to_list() == ["24/5"]
    record_calendar_changes(store, "bse", rules("XBOM"), changes, {})
    anew = ledger.current(store.tables).filter(pl.col("session") == date(2024, 1, 20))
    assert anew["calendar"].to_list() == [get_calendar("XBOM").version]


def test_rows_that_were_refused_on_a_day_that_became_a_session_are_counted(tmp_path: Path) -> None:
    store = with_days(tmp_path, "2024-01-19", "2024-01-20")
    assert quarantine.read(store.tables, "bse")["reasons"].to_list() == [["outside_session"]]
    changes = find_calendar_changes(store, "bse", rules("XBOM"))
    counts = dict(changes.select("session", "refused").iter_rows())
    assert counts[date(2024, 1, 20)] == 1
    assert counts[date(2024, 1, 22)] == 0


def test_bars_outside_the_hours_are_said_though_as_many_are_expected_and_stay_as_they_were_recorded(
    tmp_path: Path,
) -> None:
    store, minute = LakeStore.at(tmp_path), Resolution.MINUTE
    new_york, seoul = (rules(name, minute) for name in ("XNYS", "XKRX"))
    window = Window.of("2024-01-17", "2024-01-18")
    store.write_bars("us", "SPY", minute, window, minutes("2024-01-17T14:30", 390, symbol="SPY"), rules=new_york)
    changes = find_calendar_changes(store, "us", seoul)
    assert changes.select("change", "expected", "expected_now").rows() == [(CalendarChange.OUTSIDE, 390, 390)]
    assert record_calendar_changes(store, "us", seoul, changes, {}) == 0
    assert find_calendar_changes(store, "us", new_york).is_empty()


def test_years_of_seconds_are_compared_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar_changes, "_MOST_BARS", 1)
    store = LakeStore.at(tmp_path)
    window, bar = Window.of("2023-01-02", "2024-01-29"), minutes("2023-01-02", 1, symbol="TCS")
    store.write_bars("bse", "TCS", Resolution.DAY, window, bar, rules=rules("24/5"))
    changes = find_calendar_changes(store, "bse", rules("XBOM"))
    days, weekdays = get_calendar("XBOM"), get_calendar("24/5")
    span = (date(2023, 1, 2), date(2024, 1, 29))
    assert set(changes["session"]) == set(days.sessions(*span)) ^ set(weekdays.sessions(*span))
