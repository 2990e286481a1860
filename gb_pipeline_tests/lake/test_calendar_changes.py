"""A calendar that knows better than it did: the differences are listed, and recorded sessions are described again."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from gb_pipeline.lake import ledger
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
    return BarRules(resolution=resolution, calendar=get_calendar(calendar))


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
