"""The daily schedule: which session it asks for, and when it keeps quiet."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.schedules import build_cron, build_daily_schedule, find_newest_session
from gb_pipeline.orchestration.series_group import SeriesGroup

NEW_YORK, UTC, TOKYO = ZoneInfo("America/New_York"), ZoneInfo("UTC"), ZoneInfo("Asia/Tokyo")


def group(calendar="XNYS", **more) -> SeriesGroup:
    body = {
        "name": "src",
        "provider": "csv",
        "calendar": calendar,
        "start": date(2024, 1, 2),
        "symbols": ["AAPL", "MSFT"],
    }
    source = SourceSettings(**body | more)
    return SeriesGroup(source, source.resolutions[0])


def tick(data: SeriesGroup, moment: datetime):
    schedule = build_daily_schedule(data)
    with dg.build_schedule_context(scheduled_execution_time=moment) as context:
        return schedule(context)


@pytest.mark.parametrize(
    ("calendar", "expected", "zone"),
    [
        ("24/7", "15 0 * * *", "UTC"),
        ("XNYS", "15 17 * * *", "America/New_York"),
        ("FX", "15 18 * * *", "America/New_York"),
        ("XTKS", "15 19 * * *", "Asia/Tokyo"),
    ],
)
def test_it_ticks_once_a_day_in_the_calendars_own_zone(calendar, expected, zone):
    data = group(calendar)
    schedule = build_daily_schedule(data)

    assert (schedule.cron_schedule, schedule.execution_timezone) == (expected, zone)
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        (datetime(2024, 1, 8, 17, 15, tzinfo=NEW_YORK), "2024-01-08"),  # a Monday in winter
        (datetime(2024, 7, 8, 17, 15, tzinfo=NEW_YORK), "2024-07-08"),  # a Monday in summer
        (datetime(2024, 3, 11, 17, 15, tzinfo=NEW_YORK), "2024-03-11"),  # the Monday after the clock went forward
        (datetime(2024, 11, 4, 17, 15, tzinfo=NEW_YORK), "2024-11-04"),  # the Monday after it went back
        (datetime(2024, 7, 3, 17, 15, tzinfo=NEW_YORK), "2024-07-03"),  # a half day
    ],
)
def test_one_run_fetches_the_session_that_has_just_closed_for_all_symbols(moment, session):
    request = tick(group(), moment)

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == session
    assert request.tags["dagster/priority"] == "10"
    assert build_daily_schedule(group()).job.selection == dg.AssetSelection.assets(*group().symbols)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 7, 4, 17, 15, tzinfo=NEW_YORK),  # Independence Day
        datetime(2024, 7, 6, 17, 15, tzinfo=NEW_YORK),  # a Saturday
        datetime(2024, 7, 7, 17, 15, tzinfo=NEW_YORK),  # a Sunday
    ],
)
def test_a_day_without_a_session_is_skipped_with_the_reason(moment):
    result = tick(group(), moment)

    assert isinstance(result, dg.SkipReason)
    assert "no session of XNYS ended since" in str(result.skip_message)


def test_a_source_that_has_ended_or_not_begun_is_skipped():
    ended = group(end=date(2024, 2, 1))
    assert isinstance(tick(ended, datetime(2024, 1, 31, 17, 15, tzinfo=NEW_YORK)), dg.RunRequest)
    assert isinstance(tick(ended, datetime(2024, 2, 1, 17, 15, tzinfo=NEW_YORK)), dg.SkipReason)
    assert isinstance(tick(ended, datetime(2030, 2, 1, 17, 15, tzinfo=NEW_YORK)), dg.SkipReason)
    assert isinstance(tick(group(start=date(2031, 1, 1)), datetime(2030, 2, 1, 17, 15, tzinfo=NEW_YORK)), dg.SkipReason)


@pytest.mark.parametrize(("more", "keys"), [
    ({"refetch_sessions": 0}, ("2024-01-08", None)),
    ({"refetch_sessions": 1}, ("2024-01-08", None)),
    # Over a weekend, and back to the first session that is wanted.
    ({"refetch_sessions": 3}, ("2024-01-04", "2024-01-08")),
    ({"refetch_sessions": 50}, ("2024-01-02", "2024-01-08")),
    ({"refetch_sessions": 3, "resolutions": ["1d"]}, ("2024-01", None)),
])  # fmt: skip
def test_one_run_asks_again_for_the_sessions_that_closed_lately(more, keys):
    request = tick(group(**more), datetime(2024, 1, 8, 17, 15, tzinfo=NEW_YORK))

    first, last = keys
    if last is None:
        assert request.partition_key == first
        return
    assert request.partition_key is None
    assert request.tags["dagster/asset_partition_range_start"] == first
    assert request.tags["dagster/asset_partition_range_end"] == last
    assert request.tags["session"] == "2024-01-08"


def test_a_market_that_never_closes_gets_yesterday():
    assert tick(group("24/7"), datetime(2024, 2, 29, 0, 15, tzinfo=UTC)).partition_key == "2024-02-28"


def test_daily_bars_fill_the_month_in_progress_every_day():
    data = group(resolutions=["1d"])

    runs = [tick(data, datetime(2024, 7, day, 17, 15, tzinfo=NEW_YORK)) for day in (8, 9)]

    assert [run.partition_key for run in runs] == ["2024-07", "2024-07"]
    assert len({run.run_key for run in runs}) == 2


@pytest.mark.parametrize(
    ("calendar", "extended"),
    [(name, False) for name in ("24/7", "XNYS", "XLON", "XTKS", "FX", "CMES", "XSAU", "XBOM")] + [("XNYS", True)],
)
def test_every_session_of_a_year_is_asked_for_exactly_once_and_exists_by_then(calendar, extended):
    data = group(calendar, extended_hours=extended)
    minute, hour = (int(part) for part in build_cron(data.partitioning, timedelta(minutes=15)).split()[:2])
    zone = data.partitioning.calendar.zone

    requested = []
    for offset in range(366):
        moment = datetime(2024, 6, 1, hour, minute, tzinfo=zone) + timedelta(days=offset)
        result = tick(data, moment)
        if isinstance(result, dg.RunRequest):
            requested.append(result.partition_key)
            assert data.partitioning.end_of(date.fromisoformat(result.partition_key)) <= moment.astimezone(UTC)

    assert len(requested) == len(set(requested))
    expected = [str(day) for day in data.partitioning.calendar.sessions(date(2024, 6, 3), date(2025, 5, 30))]
    assert [day for day in requested if expected[0] <= day <= expected[-1]] == expected


def test_the_newest_session_is_none_before_the_first_has_ended():
    partitioning = group().partitioning
    assert find_newest_session(partitioning, datetime(2024, 1, 2, 20, tzinfo=UTC)) is None
    assert find_newest_session(partitioning, datetime(2024, 1, 2, 22, tzinfo=UTC)) == date(2024, 1, 2)
    assert Resolution.MINUTE in group().source.resolutions
