"""From New York's days to our dates and back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window, instant
from gb_pipeline.providers import us_market_time

DAYS = st.dates(date(1975, 1, 1), date(2035, 12, 31))


def named(moments: list[datetime | None], resolution: Resolution) -> list[datetime | None]:
    return us_market_time.labels(pl.Series("timestamp", moments, pl.Datetime("us", "UTC")), resolution).to_list()


@given(day=DAYS)
def test_every_midnight_of_new_york_names_its_day(day: date) -> None:
    assert named([us_market_time.midnight(day)], Resolution.DAY) == [datetime.combine(day, time(), UTC)]


@given(day=DAYS)
def test_a_week_that_begins_on_sunday_or_monday_is_named_by_its_monday(day: date) -> None:
    monday = day - timedelta(days=day.weekday())
    stamps = [us_market_time.midnight(monday - timedelta(days=1)), us_market_time.midnight(monday)]
    assert named(stamps, Resolution.WEEK) == [datetime.combine(monday, time(), UTC)] * 2


@given(day=DAYS)
def test_a_window_asks_for_whole_days_weeks_and_months_that_it_names(day: date) -> None:
    window = Window.of(day, day + timedelta(days=40))
    assert us_market_time.days_of(window, Resolution.DAY) == (day, day + timedelta(days=39))
    first, last = us_market_time.days_of(window, Resolution.WEEK)
    assert (first.isoweekday(), last.isoweekday()) == (7, 6)
    assert first <= day + timedelta(days=1)
    first, last = us_market_time.days_of(window, Resolution.MONTH)
    assert (first.day, (last + timedelta(days=1)).day) == (1, 1)
    assert first <= day < day + timedelta(days=39) <= last


@pytest.mark.parametrize(("moment", "resolution"), [
    ("2024-01-02T14:30Z", Resolution.DAY), ("2024-01-02T00:00Z", Resolution.DAY), ("2024-07-02T05:00Z", Resolution.DAY),
    ("2024-01-02T05:00Z", Resolution.WEEK), ("2024-01-02T05:00Z", Resolution.MONTH),
])  # fmt: skip
def test_a_stamp_at_which_no_such_bar_begins_has_no_date(moment: str, resolution: Resolution) -> None:
    assert named([instant(moment), None], resolution) == [None, None]


def test_both_days_of_a_clock_change_keep_their_dates() -> None:
    # The nights before 2024-03-11 and 2024-11-04 had 23 and 25 hours.
    stamps = [instant(f"{day}T0{hour}:00Z") for day, hour in (
        ("2024-03-10", 5), ("2024-03-11", 4), ("2024-11-03", 4), ("2024-11-04", 5),
    )]  # fmt: skip
    assert [str(found.date()) for found in named(stamps, Resolution.DAY) if found] == [
        "2024-03-10", "2024-03-11", "2024-11-03", "2024-11-04",
    ]  # fmt: skip


def test_what_is_asked_for_ends_with_trading_and_begins_on_the_hour() -> None:
    nyse = get_calendar("XNYS")
    day = nyse.session_window(date(2024, 11, 29))
    assert us_market_time.trading_hours(day, nyse) == Window.of("2024-11-29T14:00Z", "2024-11-29T18:00Z"), "a half day"
    assert us_market_time.trading_hours(day, None) == day
    holiday = Window.of("2024-11-28T05:00Z", "2024-11-29T05:00Z")
    assert us_market_time.trading_hours(holiday, nyse) == holiday, "the vendor is to say that there was nothing"


def test_only_bars_before_the_open_and_after_the_close_are_cut() -> None:
    stamps = [instant(text) for text in (
        "2024-11-28T16:00Z",  # Thanksgiving: nothing should be there, so it stays to be wondered at
        "2024-11-29T14:29Z", "2024-11-29T14:30Z", "2024-11-29T17:59Z", "2024-11-29T18:00Z",
    )]  # fmt: skip
    frame = pl.DataFrame({"timestamp": [*stamps, None]}, schema={"timestamp": pl.Datetime("us", "UTC")})
    kept = us_market_time.in_hours(frame, get_calendar("XNYS"), Resolution.MINUTE)["timestamp"].to_list()
    assert kept == [stamps[0], stamps[2], stamps[3], None]
    assert us_market_time.in_hours(frame, None, Resolution.MINUTE).height == 6
    hours = us_market_time.in_hours(frame, get_calendar("XNYS"), Resolution.HOUR)["timestamp"].to_list()
    assert stamps[1] in hours, "the hour at 14:29 holds the open"


@pytest.mark.parametrize(("changes", "cut"), [
    ({}, True), ({"extended_hours": True}, False), ({"calendar": "24/7"}, False),
    ({"calendar": "FX", "asset_class": "forex", "symbols": ["EUR-USD"]}, False),
])  # fmt: skip
def test_regular_hours_are_cut_where_the_source_has_some(changes: dict[str, object], cut: bool) -> None:
    given_settings = {
        "name": "us",
        "provider": "massive",
        "calendar": "XNYS",
        "start": "2024-01-01",
        "symbols": ["AAPL"],
    }
    assert (us_market_time.regular_hours(SourceSettings.model_validate(given_settings | changes)) is not None) is cut


def test_the_zone_is_new_yorks() -> None:
    assert us_market_time.midnight(date(2024, 7, 1)) == datetime(2024, 7, 1, tzinfo=ZoneInfo("America/New_York"))
