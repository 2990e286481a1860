"""Partitions on a calendar: every session has one, no other day has, and it exists as soon as the market has closed."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from dagster import partition_loading_context
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.config.settings import Grain
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.orchestration.partitions import ManyPartitionsWarning, Partitioning, warn_if_many

CALENDARS = ["24/7", "24/5", "FX", "XNYS", "XLON", "XTKS", "XHKG", "XASX", "XNZE", "XTAE", "CMES", "XSAU"]


def cut(calendar: str = "XNYS", grain: Grain = Grain.DAY, start=date(2024, 1, 1), end=None, extended=False):
    return Partitioning(get_calendar(calendar, extended_hours=extended), grain, start, end)


def keys_at(partitioning: Partitioning, moment: datetime) -> list[str]:
    with partition_loading_context(moment):
        return list(partitioning.definition.get_partition_keys())


@pytest.mark.parametrize("calendar", CALENDARS)
def test_the_days_are_the_sessions_of_the_calendar(calendar):
    partitioning = cut(calendar)

    now = datetime(2026, 1, 1, tzinfo=UTC)

    sessions = get_calendar(calendar).sessions(date(2024, 1, 1), date(2026, 1, 1))
    assert keys_at(partitioning, now) == [str(day) for day in sessions if partitioning.exists_from(day) <= now]


def test_friday_is_there_on_saturday():
    assert keys_at(cut(), datetime(2024, 1, 6, 12, tzinfo=UTC))[-1] == "2024-01-05"


@pytest.mark.parametrize(("calendar", "extended"), [*((name, False) for name in CALENDARS), ("XNYS", True)])
def test_every_session_is_a_partition_when_it_closes_and_none_exists_before_the_earliest_close(calendar, extended):
    partitioning = cut(calendar, extended=extended)
    closes = partitioning.closes(date(2024, 1, 1), date(2026, 1, 1))
    early = [close - partitioning.exists_from(day) for day, close in closes.items()]

    assert timedelta() <= min(early) < timedelta(hours=1)
    assert max(early) < timedelta(hours=7)


@pytest.mark.parametrize("calendar", ["24/7", "FX", "XNYS", "XTKS", "XNZE", "CMES"])
@pytest.mark.parametrize("session", [date(2024, 1, 10), date(2024, 7, 10), date(2024, 3, 11)])
def test_a_day_exists_from_the_moment_that_is_said(calendar, session):
    partitioning = cut(calendar)
    begin = partitioning.exists_from(session)

    assert str(session) not in keys_at(partitioning, begin - timedelta(seconds=1))
    assert keys_at(partitioning, begin + timedelta(seconds=1))[-1] == str(session)


def test_a_day_is_over_when_its_session_has_closed_and_a_month_at_any_time():
    close = datetime(2024, 7, 3, 17, tzinfo=UTC)  # a half day in New York

    keys = ["2024-07-02", "2024-07-03", "2024-07-05"]

    assert cut().find_over(keys, close - timedelta(seconds=1)) == ["2024-07-02"]
    assert cut().find_over(keys, close) == ["2024-07-02", "2024-07-03"]
    assert cut().find_over([], close) == []
    assert cut(grain=Grain.MONTH).find_over(["2024-07"], close) == ["2024-07"]


@pytest.mark.parametrize("calendar", ["XNYS", "XTKS"])
def test_dagster_keeps_the_days_of_years_as_one_range(calendar):
    definition = cut(calendar).definition
    with partition_loading_context(datetime(2026, 1, 1, tzinfo=UTC)):
        keys = definition.get_partition_keys()
        some = definition.empty_subset().with_partition_keys(keys[100:200])

        assert list(some.get_partition_keys()) == keys[100:200]
        assert len(some.included_time_windows) == 1
        assert definition.filter_valid_partition_keys({keys[5], "2024-07-06"}) == {keys[5]}


def test_no_future_day_appears_on_a_weekend_or_holiday():
    for moment in (datetime(2024, 7, 4, 23, tzinfo=UTC), datetime(2024, 7, 6, 23, tzinfo=UTC)):
        assert all(date.fromisoformat(key) < moment.date() for key in keys_at(cut(), moment))


@pytest.mark.parametrize(("grain", "last"), [(Grain.MONTH, "2024-08"), (Grain.YEAR, "2024")])
def test_the_month_and_year_in_progress_are_partitions(grain, last):
    keys = keys_at(cut(grain=grain, start=date(2022, 3, 15)), datetime(2024, 8, 3, tzinfo=UTC))

    assert keys[-1] == last
    assert keys[0] == ("2022-03" if grain is Grain.MONTH else "2022")


@pytest.mark.parametrize("grain", [Grain.DAY, Grain.MONTH, Grain.YEAR])
@pytest.mark.parametrize("now", [datetime(2024, 2, 10, tzinfo=UTC), datetime(2026, 2, 10, tzinfo=UTC)])
def test_nothing_lies_after_the_end_of_a_source(grain, now):
    partitioning = cut("24/7", grain, date(2023, 12, 20), date(2024, 2, 5))

    covered = [partitioning.sessions(key) for key in keys_at(partitioning, now)]

    assert covered[0][0] == date(2023, 12, 20)
    assert covered[-1][1] == date(2024, 2, 5)
    assert all(a[1] == b[0] for a, b in pairwise(covered))


def test_a_first_month_begins_with_the_source():
    assert cut("24/7", Grain.MONTH, date(2024, 1, 15)).sessions("2024-01") == (date(2024, 1, 15), date(2024, 2, 1))


def test_neighbouring_sessions_are_joined_across_a_weekend_and_a_holiday():
    partitioning = cut()

    assert partitioning.join_ranges(["2024-07-05", "2024-07-03", "2024-07-08"]) == [
        (date(2024, 7, 3), date(2024, 7, 9))
    ]
    assert partitioning.join_ranges(["2024-07-05", "2024-07-09"]) == [
        (date(2024, 7, 5), date(2024, 7, 6)),
        (date(2024, 7, 9), date(2024, 7, 10)),
    ]
    assert partitioning.join_ranges([]) == []


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["24/7", "XNYS", "FX"]),
    st.sampled_from([Grain.DAY, Grain.MONTH]),
    st.sets(st.integers(0, 60), min_size=1, max_size=20),
)
def test_joined_ranges_hold_the_sessions_of_their_keys_and_no_others(calendar, grain, picked):
    partitioning = cut(calendar, grain)
    keys = keys_at(partitioning, datetime(2030, 1, 1, tzinfo=UTC))
    chosen = [keys[i] for i in sorted(picked)]
    days = partitioning.calendar.sessions

    held = [day for start, end in partitioning.join_ranges(chosen) for day in days(start, end)]

    assert held == [day for key in chosen for day in days(*partitioning.sessions(key))]
    assert {partitioning.key(day) for day in held} == set(chosen)


def test_weekdays_without_any_session_are_excluded_by_one_rule():
    crons = [item for item in cut("XSAU").definition.exclusions if isinstance(item, str)]

    assert crons == ["0 0 * * 5,6"]  # Riyadh trades from Sunday to Thursday


def test_more_partitions_than_dagster_carries_are_refused_with_the_number():
    with pytest.raises(ConfigError, match=r"118,\d{3} partitions .* 100,000") as caught:
        _ = cut("24/7", start=date(1700, 1, 1), end=date(2024, 1, 1)).definition
    assert "grain: month" in caught.value.fix


def test_a_long_history_of_many_symbols_is_warned_about_and_month_is_named():
    with pytest.warns(ManyPartitionsWarning, match=r"500 symbols x 3,653 days are 1,826,500 .* `grain: month`"):
        warn_if_many("x", cut("24/7", start=date(2015, 1, 1)), 500, date(2025, 1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_many("x", cut("24/7", start=date(2015, 1, 1)), 164, date(2025, 1, 1))
        warn_if_many("x", cut("24/7", Grain.MONTH, date(2015, 1, 1)), 5000, date(2025, 1, 1))
