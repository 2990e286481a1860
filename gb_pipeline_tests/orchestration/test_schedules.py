"""The daily schedule: which sessions it asks for, and when it keeps quiet."""

from __future__ import annotations

import itertools
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.schedules import build_crons, build_daily_schedule, find_due_sessions
from gb_pipeline.orchestration.series_group import SeriesGroup

TODAY = date(2025, 7, 1)
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


@pytest.fixture(scope="module", autouse=True)
def instance():
    with dg.instance_for_test() as made:
        INSTANCE.append(made)
        yield made
        INSTANCE.clear()


INSTANCE: list[dg.DagsterInstance] = []


def ticks(data: SeriesGroup, moment: datetime, last: str | None = None):
    """What the schedule does at a moment, after a run of its own for a session."""
    schedule = build_daily_schedule(data, TODAY)
    (instance,) = INSTANCE
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    if last is not None:
        tags = {"dagster/schedule_name": data.daily_name, "session": last}
        instance.add_run(dg.DagsterRun(data.daily_name, tags=tags))
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment) as context:
        return schedule(context)


def tick(data: SeriesGroup, moment: datetime, last: str | None = None):
    """The one run that is requested, or why there is none."""
    result = ticks(data, moment, last)
    if isinstance(result, dg.SkipReason):
        return result
    (request,) = result
    return request


def keys_of(request: dg.RunRequest) -> tuple[str, str]:
    tags = request.tags
    first, last = tags.get("dagster/asset_partition_range_start"), tags.get("dagster/asset_partition_range_end")
    return (first, last) if first else (request.partition_key, request.partition_key)


@pytest.mark.parametrize(
    ("calendar", "times", "zone"),
    [
        ("24/7", ["15 0"], "UTC"),
        ("XNYS", ["15 13", "15 16"], "America/New_York"),
        ("XLON", ["45 12", "45 16"], "Europe/London"),
        ("FX", ["15 17"], "America/New_York"),
        ("CMES", ["15 12", "15 17"], "America/Chicago"),
        ("XTKS", ["45 15"], "Asia/Tokyo"),
    ],
)
def test_it_ticks_after_each_close_that_the_calendar_has_in_its_own_zone(calendar, times, zone):
    data = group(calendar)
    schedule = build_daily_schedule(data, TODAY)

    assert build_crons(data.partitioning, timedelta(minutes=15), date(2027, 1, 1)) == [f"{one} * * *" for one in times]
    assert schedule.execution_timezone == zone
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        (datetime(2024, 1, 8, 16, 15, tzinfo=NEW_YORK), "2024-01-08"),  # a Monday in winter
        (datetime(2024, 7, 8, 16, 15, tzinfo=NEW_YORK), "2024-07-08"),  # a Monday in summer
        (datetime(2024, 3, 11, 16, 15, tzinfo=NEW_YORK), "2024-03-11"),  # the Monday after the clock went forward
        (datetime(2024, 11, 4, 16, 15, tzinfo=NEW_YORK), "2024-11-04"),  # the Monday after it went back
        (datetime(2024, 7, 3, 13, 15, tzinfo=NEW_YORK), "2024-07-03"),  # a half day
    ],
)
def test_one_run_fetches_the_session_that_has_just_closed_for_all_symbols(moment, session):
    request = tick(group(), moment)

    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == session
    assert request.tags["dagster/priority"] == "10"
    assert build_daily_schedule(group(), TODAY).job.selection == dg.AssetSelection.assets(*group().symbols)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 7, 4, 16, 15, tzinfo=NEW_YORK),  # Independence Day
        datetime(2024, 7, 6, 16, 15, tzinfo=NEW_YORK),  # a Saturday
        datetime(2024, 7, 7, 16, 15, tzinfo=NEW_YORK),  # a Sunday
    ],
)
def test_a_day_without_a_session_is_skipped_with_the_reason(moment):
    result = tick(group(), moment)

    assert isinstance(result, dg.SkipReason)
    assert "no session of XNYS ended since" in str(result.skip_message)


def test_a_source_that_has_ended_or_not_begun_is_skipped():
    ended = group(end=date(2024, 2, 1))
    assert isinstance(tick(ended, datetime(2024, 1, 31, 16, 15, tzinfo=NEW_YORK)), dg.RunRequest)
    assert isinstance(tick(ended, datetime(2024, 2, 1, 16, 15, tzinfo=NEW_YORK)), dg.SkipReason)
    assert isinstance(tick(ended, datetime(2030, 2, 1, 16, 15, tzinfo=NEW_YORK)), dg.SkipReason)
    assert isinstance(tick(group(start=date(2031, 1, 1)), datetime(2030, 2, 1, 16, 15, tzinfo=NEW_YORK)), dg.SkipReason)


@pytest.mark.parametrize(("more", "keys"), [
    ({"refetch_sessions": 0}, ("2024-01-08", None)),
    ({"refetch_sessions": 1}, ("2024-01-08", None)),
    # Over a weekend, and back to the first session that is wanted.
    ({"refetch_sessions": 3}, ("2024-01-04", "2024-01-08")),
    ({"refetch_sessions": 50}, ("2024-01-02", "2024-01-08")),
    ({"refetch_sessions": 3, "resolutions": ["1d"]}, ("2024-01", None)),
])  # fmt: skip
def test_one_run_asks_again_for_the_sessions_that_closed_lately(more, keys):
    request = tick(group(**more), datetime(2024, 1, 8, 16, 15, tzinfo=NEW_YORK))

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

    runs = [tick(data, datetime(2024, 7, day, 16, 15, tzinfo=NEW_YORK)) for day in (8, 9)]

    assert [run.partition_key for run in runs] == ["2024-07", "2024-07"]
    assert len({run.run_key for run in runs}) == 2


@pytest.mark.parametrize(
    ("calendar", "extended"),
    [(name, False) for name in ("24/7", "XNYS", "XLON", "XTKS", "XASX", "FX", "CMES", "XSAU", "XBOM")]
    + [("XNYS", True)],
)
def test_every_session_of_a_year_is_asked_for_once_as_soon_as_it_has_settled(calendar, extended):
    data = group(calendar, extended_hours=extended)
    partitioning, settle = data.partitioning, timedelta(minutes=15)
    schedule = build_daily_schedule(data, TODAY)
    closes = partitioning.closes(date(2025, 1, 6), date(2026, 1, 6))
    moments = cron_ticks(
        schedule, datetime(2025, 1, 6, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC) + timedelta(days=2)
    )

    asked, last = {}, None
    for moment in moments:
        for session in find_due_sessions(partitioning, settle, last, moment):
            asked[session], last = moment, session

    assert [day for day in asked if day in closes] == list(closes)
    for session, close in closes.items():
        assert asked[session] == close + settle
        assert partitioning.exists_from(session) <= asked[session]


def cron_ticks(schedule: dg.ScheduleDefinition, start: datetime, end: datetime) -> list[datetime]:
    from dagster._utils.schedules import schedule_execution_time_iterator

    moments = schedule_execution_time_iterator(start.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    return [moment.astimezone(UTC) for moment in itertools.takewhile(lambda moment: moment < end, moments)]


def test_the_tick_of_a_usual_close_finds_nothing_new_on_a_half_day():
    result = tick(group(), datetime(2024, 7, 3, 16, 15, tzinfo=NEW_YORK), last="2024-07-03")

    assert str(result.skip_message) == "no session of XNYS ended since 2024-07-03"


def test_what_was_missed_without_a_daemon_is_one_run_over_the_range():
    request = tick(group(), datetime(2024, 7, 12, 16, 15, tzinfo=NEW_YORK), last="2024-07-02")

    assert keys_of(request) == ("2024-07-03", "2024-07-12")
    assert request.tags["session"] == "2024-07-12"


def test_after_a_long_time_only_so_many_sessions_are_caught_up():
    request = tick(group(catch_up_sessions=5), datetime(2024, 7, 12, 16, 15, tzinfo=NEW_YORK), last="2024-01-02")

    assert keys_of(request) == ("2024-07-08", "2024-07-12")


def test_more_partitions_than_a_run_may_have_are_several_runs_and_the_next_tick_goes_on_after_the_last():
    data = group(partitions_per_run=3)
    requests = ticks(data, datetime(2024, 7, 12, 16, 15, tzinfo=NEW_YORK), last="2024-07-02")

    assert [keys_of(one) for one in requests] == [
        ("2024-07-03", "2024-07-08"),
        ("2024-07-09", "2024-07-11"),
        ("2024-07-12", "2024-07-12"),
    ]
    # Whichever of them is on record, what comes after it is asked for.
    assert [one.tags["session"] for one in requests] == ["2024-07-08", "2024-07-11", "2024-07-12"]
    assert len({one.run_key for one in requests}) == 3


def test_without_a_run_on_record_only_the_newest_session_is_asked_for():
    assert keys_of(tick(group(), datetime(2024, 7, 12, 16, 15, tzinfo=NEW_YORK))) == ("2024-07-12", "2024-07-12")


def test_a_clock_that_was_set_back_asks_for_nothing():
    assert isinstance(tick(group(), datetime(2024, 7, 11, 16, 15, tzinfo=NEW_YORK), last="2024-07-12"), dg.SkipReason)


def test_a_month_that_was_missed_is_a_range_of_months():
    request = tick(group(resolutions=["1d"]), datetime(2024, 7, 3, 13, 15, tzinfo=NEW_YORK), last="2024-06-26")

    assert keys_of(request) == ("2024-06", "2024-07")
    assert Resolution.DAY in group(resolutions=["1d"]).source.resolutions
