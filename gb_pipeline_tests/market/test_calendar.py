"""Calendars: which days, which bars, and when they are closed."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, NaiveTimestamp
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window

DAY = timedelta(days=1)
NEW_YORK = ZoneInfo("America/New_York")
NAMES = ["24/7", "24/5", "FX", "XNYS", "XTKS", "XHKG", "XLON", "CMES", "us_futures", "IEPA", "XBOM"]
GRIDS = [item for item in Resolution if item not in {Resolution.TICK, Resolution.SECOND}]
INTRADAY = [item for item in GRIDS if item.intraday]
ALIGNMENTS = ["clock", "session"]


def local_starts(calendar: Calendar, day: date, resolution: Resolution, alignment: str = "clock") -> list[str]:
    stamps = calendar.expected(day, day + DAY, resolution, alignment)["timestamp"]
    return [stamp.astimezone(calendar.zone).strftime("%H:%M") for stamp in stamps]


def instants(*texts: str) -> pl.Series:
    return pl.Series([datetime.fromisoformat(text) for text in texts], dtype=pl.Datetime("us", "UTC"))


# --- which calendar ---------------------------------------------------------------------------------------------------


def test_a_calendar_is_one_object_by_name_alias_and_hours() -> None:
    assert get_calendar("XNYS") is get_calendar("NASDAQ")
    assert get_calendar("XNYS") != get_calendar("XNYS", extended_hours=True)
    assert len({get_calendar("XNYS"), get_calendar("NYSE"), get_calendar("FX")}) == 2


@pytest.mark.parametrize("name", ["24/7", "FX", "XNYS"])
def test_a_calendar_travels_to_another_process_by_name(name: str) -> None:
    packed = pickle.dumps(get_calendar(name))
    assert len(packed) < 300
    assert pickle.loads(packed) is get_calendar(name)


@pytest.mark.parametrize(("name", "near"), [("XNYSE", "XNYS"), ("xnys", "XNYS"), ("fx", "FX"), ("XTKO", "XTKS")])
def test_an_unknown_calendar_is_refused_with_near_matches(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        get_calendar(name)
    assert near in refusal.value.fix


@pytest.mark.parametrize("name", ["", "/", "24-7", "..", "\x00", "x" * 500])
def test_hostile_calendar_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        get_calendar(name)


@pytest.mark.parametrize("name", ["24/7", "FX", "XTKS"])
def test_extended_hours_are_refused_where_none_are_known(name: str) -> None:
    with pytest.raises(ConfigError, match="extended"):
        get_calendar(name, extended_hours=True)


def test_round_the_clock_calendars_need_no_exchange_library() -> None:
    program = (
        "import sys, datetime; from gb_pipeline.market.calendar import get_calendar; "
        "from gb_pipeline.market.resolution import Resolution; d = datetime.date; "
        "[get_calendar(n).expected(d(2024, 1, 1), d(2024, 2, 1), Resolution.MINUTE) for n in ('24/7', '24/5', 'FX')]; "
        "assert 'exchange_calendars' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- which days -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_day_is_a_session_or_closed(name: str) -> None:
    calendar, start, end = get_calendar(name), date(2023, 12, 1), date(2024, 3, 15)
    sessions, closed = calendar.sessions(start, end), calendar.closed_days(start, end)
    assert sorted([*sessions, *closed]) == [start + DAY * n for n in range((end - start).days)]
    assert calendar.schedule(start, end)["session"].to_list() == sessions
    assert calendar.sessions(start, start) == calendar.closed_days(start, start) == []


def test_leap_days_and_weekends_belong_to_the_round_the_clock_market() -> None:
    always = get_calendar("24/7")
    assert date(2024, 2, 29) in always.sessions(date(2024, 2, 1), date(2024, 3, 1))
    assert always.closed_days(date(2024, 1, 1), date(2025, 1, 1)) == []
    assert always.expected(date(2024, 2, 29), date(2024, 3, 1), Resolution.MINUTE).height == 1440


def test_a_year_of_the_new_york_stock_exchange() -> None:
    year = (date(2025, 1, 1), date(2026, 1, 1))
    assert len(get_calendar("XNYS").sessions(*year)) == 250
    assert get_calendar("XNYS").expected(*year, Resolution.MINUTE).height == 96_960
    assert date(2025, 1, 9) in get_calendar("XNYS").closed_days(*year)  # day of mourning for President Carter


@pytest.mark.parametrize("name", ["XNYS", "FX", "24/5", "XBOM"])
def test_days_beyond_the_table_are_refused_with_its_bounds(name: str) -> None:
    with pytest.raises(ConfigError, match="knows"):
        get_calendar(name).sessions(date(1901, 1, 1), date(1902, 1, 1))
    with pytest.raises(ConfigError, match="knows"):
        get_calendar(name).expected(date(2024, 1, 1), date(2222, 1, 1), Resolution.DAY)


def test_swapped_or_timed_ends_are_refused() -> None:
    with pytest.raises(ConfigError, match="before it starts"):
        get_calendar("24/7").sessions(date(2024, 1, 2), date(2024, 1, 1))
    with pytest.raises(ConfigError, match="not days"):
        get_calendar("24/7").sessions(datetime(2024, 1, 1), datetime(2024, 1, 2))


# --- which bars -------------------------------------------------------------------------------------------------------


def test_bars_on_the_clock_hold_the_open_and_bars_of_the_session_start_there() -> None:
    new_york = get_calendar("XNYS")
    plain = date(2024, 7, 5)
    assert local_starts(new_york, plain, Resolution.HOUR) == [f"{hour:02}:00" for hour in range(9, 16)]
    assert local_starts(new_york, plain, Resolution.HOUR, "session") == [f"{hour:02}:30" for hour in range(9, 16)]
    assert local_starts(new_york, plain, Resolution.HOUR_4) == ["08:00", "12:00"]
    assert local_starts(new_york, plain, Resolution.HOUR_4, "session") == ["09:30", "13:30"]


def test_a_half_day_ends_early() -> None:
    new_york, half = get_calendar("XNYS"), date(2024, 7, 3)
    assert local_starts(new_york, half, Resolution.HOUR) == ["09:00", "10:00", "11:00", "12:00"]
    assert local_starts(new_york, half, Resolution.HOUR, "session") == ["09:30", "10:30", "11:30", "12:30"]
    assert len(local_starts(new_york, half, Resolution.MINUTE)) == 210


def test_no_bar_is_expected_in_a_lunch_break() -> None:
    tokyo, day = get_calendar("XTKS"), date(2024, 7, 3)
    minutes = local_starts(tokyo, day, Resolution.MINUTE)
    assert (len(minutes), "11:29" in minutes, "11:30" in minutes, "12:29" in minutes, "12:30" in minutes) == (
        300, True, False, False, True,
    )  # fmt: skip
    assert local_starts(tokyo, day, Resolution.HOUR) == ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00"]
    # Counted anew from the end of the break.
    assert local_starts(tokyo, day, Resolution.HOUR, "session") == [
        "09:00",
        "10:00",
        "11:00",
        "12:30",
        "13:30",
        "14:30",
    ]


def test_extended_hours_reach_from_four_to_twenty_and_end_earlier_on_half_days() -> None:
    extended = get_calendar("XNYS", extended_hours=True)
    assert len(local_starts(extended, date(2024, 7, 5), Resolution.MINUTE)) == 16 * 60
    half = local_starts(extended, date(2024, 7, 3), Resolution.MINUTE)
    assert (half[0], half[-1]) == ("04:00", "16:59")
    by_session = local_starts(extended, date(2024, 7, 5), Resolution.HOUR, "session")
    assert by_session[4:8] == ["08:00", "09:00", "09:30", "10:30"]


@pytest.mark.parametrize("monday", [date(2024, 3, 11), date(2024, 11, 4), date(2024, 7, 8)])
def test_the_foreign_exchange_day_turns_at_five_in_new_york_in_summer_and_winter(monday: date) -> None:
    fx = get_calendar("FX")
    row = fx.schedule(monday, monday + DAY).row(0, named=True)
    assert row["open"].astimezone(NEW_YORK) == datetime.combine(monday - DAY, time(17), NEW_YORK)
    assert row["close"].astimezone(NEW_YORK) == datetime.combine(monday, time(17), NEW_YORK)
    assert fx.expected(monday, monday + DAY, Resolution.MINUTE).height == 1440
    assert fx.sessions(monday, monday + 7 * DAY) == [monday + n * DAY for n in range(5)]


@pytest.mark.parametrize(("before", "after"), [("2024-03-08", "2024-03-11"), ("2024-11-01", "2024-11-04")])
def test_the_open_moves_in_utc_when_the_clocks_change(before: str, after: str) -> None:
    new_york = get_calendar("XNYS")
    days = [date.fromisoformat(before), date.fromisoformat(after)]
    stamps = [new_york.expected(day, day + DAY, Resolution.MINUTE)["timestamp"] for day in days]
    assert [series[0].astimezone(NEW_YORK).time() for series in stamps] == [time(9, 30), time(9, 30)]
    assert abs((stamps[1][0] - stamps[0][0]) % DAY - timedelta(hours=12)) == timedelta(hours=11)
    assert [len(series) for series in stamps] == [390, 390]


def test_a_clock_bar_over_the_turn_of_the_day_belongs_to_the_session_it_starts_in() -> None:
    fx = get_calendar("FX")
    tuesday = date(2024, 7, 9)
    assert local_starts(fx, tuesday, Resolution.HOUR_4) == ["20:00", "00:00", "04:00", "08:00", "12:00", "16:00"]
    # On Monday the week's first bar starts before the market does, and belongs to it.
    assert local_starts(fx, date(2024, 7, 8), Resolution.HOUR_4)[0] == "16:00"


def test_weeks_are_stamped_with_their_monday_even_when_it_is_a_holiday() -> None:
    new_york = get_calendar("XNYS")
    weeks = new_york.expected(date(2024, 12, 23), date(2025, 1, 27), Resolution.WEEK)["session"].to_list()
    assert weeks == [date(2024, 12, 23), date(2024, 12, 30), date(2025, 1, 6), date(2025, 1, 13), date(2025, 1, 20)]
    # A week of closed days only is not expected: the exchange was shut for four days after 2001-09-11, not for five.
    assert new_york.expected(date(2001, 9, 10), date(2001, 9, 11), Resolution.WEEK).height == 1


def test_months_are_stamped_with_their_first_day() -> None:
    months = get_calendar("XNYS").expected(date(2024, 1, 1), date(2024, 4, 1), Resolution.MONTH)
    assert months["session"].to_list() == [date(2024, 1, 1), date(2024, 2, 1), date(2024, 3, 1)]


def test_ticks_and_unknown_alignments_are_refused() -> None:
    for name in ("24/7", "XNYS"):
        with pytest.raises(ConfigError, match="tick"):
            get_calendar(name).expected(date(2024, 1, 1), date(2024, 1, 9), Resolution.TICK)
        with pytest.raises(ConfigError, match="alignment"):
            get_calendar(name).expected(date(2024, 1, 1), date(2024, 1, 9), Resolution.HOUR, "noon")


DATES = st.dates(min_value=date(2000, 1, 1), max_value=date(2026, 6, 1))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    DATES,
    st.integers(0, 40),
    st.integers(0, 40),
    st.sampled_from(GRIDS),
    st.sampled_from(ALIGNMENTS),
)
def test_expected_bars_of_two_ranges_are_those_of_both(
    name: str, start: date, one: int, other: int, resolution: Resolution, alignment: str
) -> None:
    calendar, middle, end = get_calendar(name), start + DAY * one, start + DAY * (one + other)
    parts = [calendar.expected(*span, resolution, alignment) for span in ((start, middle), (middle, end))]
    whole = calendar.expected(start, end, resolution, alignment)
    assert pl.concat(parts).equals(whole)
    assert whole["timestamp"].is_sorted() and whole["timestamp"].is_unique().all()
    assert whole.schema == {"session": pl.Date, "timestamp": pl.Datetime("us", "UTC")}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), DATES, st.integers(1, 10), st.sampled_from(GRIDS), st.sampled_from(ALIGNMENTS))
def test_every_expected_bar_belongs_to_its_session_trades_and_lies_in_the_window(
    name: str, start: date, days: int, resolution: Resolution, alignment: str
) -> None:
    calendar, end = get_calendar(name), start + DAY * days
    expected = calendar.expected(start, end, resolution, alignment)
    stamps = expected["timestamp"]
    assert calendar.session_of(stamps, resolution).equals(expected["session"])
    assert calendar.in_hours(stamps, resolution).all()
    window = calendar.window(start, end, resolution)
    assert stamps.is_between(window.start, window.end, closed="left").all()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), DATES, st.sampled_from(INTRADAY))
def test_bars_on_the_clock_cover_trading_hours_and_nothing_else(name: str, start: date, resolution: Resolution) -> None:
    calendar, end = get_calendar(name), start + DAY * 7
    minutes = calendar.expected(start, end, Resolution.MINUTE)["timestamp"]
    bars = calendar.expected(start, end, resolution)["timestamp"]
    length = resolution.duration
    assert length is not None
    # A plain loop over the wall clock, as the independent answer.
    naive = set()
    for minute in minutes:
        local = minute.astimezone(calendar.zone)
        elapsed = timedelta(hours=local.hour, minutes=local.minute)
        naive.add(minute - elapsed % length)
    first = calendar.window(start, end, resolution).start
    assert set(bars) == {stamp for stamp in naive if stamp >= first}


# --- instants ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), DATES)
def test_session_windows_never_overlap_and_hold_their_trading(name: str, start: date) -> None:
    calendar, end = get_calendar(name), start + DAY * 14
    schedule = calendar.schedule(start, end)
    windows = [calendar.session_window(session) for session in schedule["session"]]
    assert all(one.end <= other.start for one, other in pairwise(windows))
    for window, row in zip(windows, schedule.rows(named=True), strict=True):
        assert window.start <= row["open"] < row["close"] <= window.end
    if windows:
        assert calendar.window(start, end, Resolution.MINUTE) == Window(windows[0].start, windows[-1].end)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.datetimes(datetime(2023, 12, 20), datetime(2024, 4, 1), timezones=st.just(UTC)), max_size=20),
)
def test_an_instant_belongs_to_the_session_whose_window_holds_it(name: str, moments: list[datetime]) -> None:
    calendar = get_calendar(name)
    windows = {day: calendar.session_window(day) for day in calendar.sessions(date(2023, 12, 1), date(2024, 4, 15))}
    found = calendar.session_of(pl.Series(moments, dtype=pl.Datetime("us", "UTC")), Resolution.MINUTE)
    naive = [next((day for day, window in windows.items() if moment in window), None) for moment in moments]
    assert found.to_list() == naive


def test_stamps_of_days_are_labels_and_not_instants() -> None:
    # 00:00 UTC is still the evening before in New York, and already the session in Tokyo: the label counts.
    stamps = instants("2024-07-03T00:00+00:00", "2024-07-04T00:00+00:00", "2024-07-06T00:00+00:00")
    assert get_calendar("XNYS").session_of(stamps, Resolution.DAY).to_list() == [date(2024, 7, 3), None, None]
    assert get_calendar("FX").session_of(stamps, Resolution.DAY).to_list() == [date(2024, 7, 3), date(2024, 7, 4), None]
    weeks = get_calendar("XNYS").session_of(stamps, Resolution.WEEK).to_list()
    assert weeks == [date(2024, 7, 1)] * 3
    assert get_calendar("XNYS").session_of(stamps, Resolution.MONTH).to_list() == [date(2024, 7, 1)] * 3


def test_trading_hours_are_told_bar_by_bar() -> None:
    stamps = instants(
        "2024-07-03T13:00Z", "2024-07-03T13:29Z", "2024-07-03T13:30Z", "2024-07-03T17:00Z", "2024-07-06T15:00Z"
    )
    new_york = get_calendar("XNYS")
    assert new_york.in_hours(stamps, Resolution.MINUTE).to_list() == [False, False, True, False, False]
    assert new_york.in_hours(stamps, Resolution.HOUR).to_list() == [True, True, True, False, False]
    assert new_york.in_hours(stamps, Resolution.TICK).to_list() == [False, False, True, False, False]
    assert new_york.in_hours(stamps, Resolution.DAY).to_list() == [True, True, True, True, False]


def test_bars_end_at_their_length_or_at_the_close() -> None:
    new_york = get_calendar("XNYS")
    half, holiday = instants("2024-07-03T00:00Z"), instants("2024-07-04T00:00Z")
    assert new_york.bar_ends(half, Resolution.MINUTE)[0] == datetime(2024, 7, 3, 0, 1, tzinfo=UTC)
    assert new_york.bar_ends(half, Resolution.DAY)[0] == datetime(2024, 7, 3, 17, tzinfo=UTC)
    assert new_york.bar_ends(holiday, Resolution.DAY).to_list() == [None]
    assert new_york.bar_ends(holiday, Resolution.WEEK)[0] == datetime(2024, 7, 5, 20, tzinfo=UTC)
    assert new_york.bar_ends(instants("2024-11-01T00:00Z"), Resolution.MONTH)[0] == datetime(
        2024, 11, 29, 18, tzinfo=UTC
    )
    assert get_calendar("24/7").bar_ends(instants("2024-02-01T00:00Z"), Resolution.MONTH)[0] == datetime(
        2024, 3, 1, tzinfo=UTC
    )
    extended = get_calendar("XNYS", extended_hours=True)
    assert extended.bar_ends(half, Resolution.DAY)[0] == datetime(2024, 7, 3, 21, tzinfo=UTC)


def test_windows_of_days_are_dates_and_windows_of_no_session_are_empty() -> None:
    new_york = get_calendar("XNYS")
    assert new_york.window(date(2024, 7, 3), date(2024, 7, 6), Resolution.DAY) == Window.of("2024-07-03", "2024-07-06")
    assert new_york.window(date(2024, 7, 6), date(2024, 7, 8), Resolution.MINUTE).empty
    assert new_york.window(date(2024, 7, 5), date(2024, 7, 8), Resolution.MINUTE) == Window.of(
        "2024-07-05T00:00-04:00", "2024-07-06T00:00-04:00"
    )
    with pytest.raises(ConfigError, match="not a session"):
        new_york.session_window(date(2024, 7, 4))


def test_midnight_that_the_clock_jumps_over_is_the_instant_of_the_jump() -> None:
    # Santiago skipped 2019-09-08 00:00; the Saturday before ends at the jump.
    from gb_pipeline.market.exchange_sessions import at_local_time

    days = pl.Series([date(2019, 9, 7), date(2019, 9, 8), date(2019, 9, 9)])
    found = at_local_time(days, time(), ZoneInfo("America/Santiago"))
    assert [stamp.hour for stamp in found] == [4, 4, 3]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "resolution", [Resolution.TICK, Resolution.MINUTE, Resolution.DAY, Resolution.WEEK, Resolution.MONTH]
)
def test_absurd_and_missing_stamps_are_answered_not_fatal(name: str, resolution: Resolution) -> None:
    calendar = get_calendar(name)
    absurd = pl.Series(
        [datetime(1, 1, 3, tzinfo=UTC), None, datetime(9000, 1, 1, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC")
    )
    assert calendar.session_of(absurd, resolution).to_list()[1] is None
    assert calendar.in_hours(absurd, resolution).to_list() == ([True, False, True] if name == "24/7" else [False] * 3)
    if resolution is not Resolution.TICK:
        assert calendar.bar_ends(absurd, resolution).to_list()[1] is None
    for nothing in (pl.Series([], dtype=pl.Datetime("us", "UTC")), pl.Series([], dtype=pl.Null)):
        assert calendar.session_of(nothing, resolution).to_list() == []
        assert calendar.in_hours(nothing, resolution).to_list() == []


def test_other_units_and_zones_are_the_same_instants_and_naive_ones_are_refused() -> None:
    stamps = instants("2024-07-03T13:30Z", "2024-07-03T17:00Z")
    new_york = get_calendar("XNYS")
    for other in (
        stamps.dt.cast_time_unit("ns"),
        stamps.dt.convert_time_zone("Asia/Tokyo"),
        stamps.dt.cast_time_unit("ms"),
    ):
        assert new_york.in_hours(other, Resolution.MINUTE).to_list() == [True, False]
        assert new_york.bar_ends(other, Resolution.MINUTE).dtype == pl.Datetime("us", "UTC")
    with pytest.raises(NaiveTimestamp):
        new_york.session_of(stamps.dt.replace_time_zone(None), Resolution.MINUTE)


@pytest.mark.parametrize("name", ["FX", "XNYS", "CMES", "XBOM", "us_futures"])
def test_no_market_trades_through_a_change_of_the_clock(name: str) -> None:
    """The grids rest on this: they are laid in local time and continued in elapsed time."""
    calendar = get_calendar(name)
    segments = calendar.segments(date(2000, 1, 1), date(2026, 1, 1))
    offsets = segments.select(
        pl.col("begin", "end")
        .dt.convert_time_zone(calendar.zone.key)
        .dt.replace_time_zone(None)
        .dt.replace_time_zone("UTC")
        - pl.col("begin", "end")
    )
    assert (offsets["begin"] == offsets["end"]).all()
