"""What the time stamps of text files mean."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.stamps import bar_opens


def opens(
    texts: list[str | None], resolution: Resolution = Resolution.MINUTE, day: date | None = None, **options: Any
) -> list[datetime | None]:
    frame = pl.DataFrame({"stamp": texts}, schema={"stamp": pl.String})
    chosen = CsvOptions.read({"path": "x", **options})
    result = frame.select(at=bar_opens(pl.col("stamp"), pl.lit(day, pl.Date), chosen, resolution))
    assert result.schema == {"at": pl.Datetime("us", "UTC")}
    return result["at"].to_list()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_an_offset_in_the_stamp_needs_no_zone() -> None:
    texts = ["2024-01-02 09:30:00+08:00", "2024-01-02T09:30Z", "2024-01-02 09:30:00.250-0500", "2024-01-02 09:30-05"]
    assert opens(texts) == [
        utc(2024, 1, 2, 1, 30),
        utc(2024, 1, 2, 9, 30),
        utc(2024, 1, 2, 14, 30, 0, 250_000),
        utc(2024, 1, 2, 14, 30),
    ]


def test_a_local_time_without_a_zone_is_not_guessed() -> None:
    assert opens(["2024-01-02 09:30:00"]) == [None]
    assert opens(["2024-01-02 09:30:00"], timezone="America/New_York") == [utc(2024, 1, 2, 14, 30)]


def test_a_local_time_that_does_not_exist_is_unreadable() -> None:
    texts = ["2024-03-10 01:59", "2024-03-10 02:00", "2024-03-10 02:59", "2024-03-10 03:00"]
    expected = [utc(2024, 3, 10, 6, 59), None, None, utc(2024, 3, 10, 7)]
    assert opens(texts, timezone="America/New_York") == expected
    assert opens(texts, timezone="America/New_York", ambiguous="latest") == expected


def test_a_local_time_that_occurs_twice_is_unreadable_unless_the_user_says_which() -> None:
    texts = ["2024-11-03 00:59", "2024-11-03 01:30", "2024-11-03 01:30-04:00", "2024-11-03 02:00"]
    before, after = utc(2024, 11, 3, 4, 59), utc(2024, 11, 3, 7)
    zone = {"timezone": "America/New_York"}
    assert opens(texts, **zone) == [before, None, utc(2024, 11, 3, 5, 30), after]
    assert opens(texts, **zone, ambiguous="earliest")[1] == utc(2024, 11, 3, 5, 30)
    assert opens(texts, **zone, ambiguous="latest")[1] == utc(2024, 11, 3, 6, 30)


def test_a_stamp_at_the_close_is_moved_to_the_open() -> None:
    close = {"stamp": "close", "timezone": "UTC"}
    assert opens(["2024-01-01 00:00"], Resolution.HOUR, **close) == [utc(2023, 12, 31, 23)]
    assert opens(["20110103 143100"], timestamp_format="%Y%m%d %H%M%S", **close) == [utc(2011, 1, 3, 14, 30)]


@pytest.mark.parametrize("text", ["2024-01-02", "2024-01-02 16:00", "2024-01-02T00:00:00+08:00"])
def test_a_daily_bar_has_the_date_that_is_written(text: str) -> None:
    assert opens([text], Resolution.DAY) == [utc(2024, 1, 2)]


def test_a_daily_bar_that_ends_at_midnight_belongs_to_the_day_before() -> None:
    texts = ["2024-01-03 00:00:00", "2024-01-02 16:00:00", "2024-01-02"]
    assert opens(texts, Resolution.DAY, stamp="close") == [utc(2024, 1, 2)] * 3


def test_a_daily_instant_has_the_date_of_the_declared_zone() -> None:
    # A vendor's daily bars at New York midnight, either side of the change to summer time.
    texts = ["1112331600000", "1112587200000"]
    zone = {"timezone": "America/New_York", "timestamp_format": "unix_ms"}
    assert opens(texts, Resolution.DAY, **zone) == [utc(2005, 4, 1), utc(2005, 4, 4)]


def test_weeks_have_their_monday_and_months_their_first() -> None:
    assert opens(["2024-01-07", "2024-01-08"], Resolution.WEEK) == [utc(2024, 1, 1), utc(2024, 1, 8)]
    assert opens(["2024-02-29"], Resolution.MONTH) == [utc(2024, 2, 1)]


def test_milliseconds_of_the_day_count_on_the_wall_clock() -> None:
    # On the day of the change 14:30 is 14:30 by the clock, not 14.5 hours after midnight.
    options = {"timestamp_format": "ms_of_day", "timezone": "America/New_York", "day": date(2024, 3, 10)}
    assert opens(["0", "52200000"], **options) == [utc(2024, 3, 10, 5), utc(2024, 3, 10, 18, 30)]


def test_milliseconds_beyond_the_day_are_unreadable() -> None:
    options = {"timestamp_format": "ms_of_day", "timezone": "UTC", "day": date(2024, 1, 2)}
    assert opens(["86399999", "86400000", "-1", "1e3", "60000.5555"], **options) == [
        utc(2024, 1, 2, 23, 59, 59, 999_000),
        *[None] * 4,
    ]
    assert opens(["86400000", "86400001"], stamp="close", **options) == [utc(2024, 1, 2, 23, 59), None]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "x",
            "2024-02-30 10:00",
            "2024-13-01 10:00",
            "2024-01-02 24:00",
            "2024-01-02 09:30:60",
            "2024-01-02 09:60",
        ),
        *("2024-01-02 09:30:00.1234567", "2024-01-02", "20240102", "2024-01-02 09:30 x", "+2024-01-02 09:30", "9" * 40),
        "٢٠٢٤-01-02 09:30",
    ],
)
def test_what_is_no_stamp_is_null(text: str) -> None:
    assert opens([text], timezone="UTC") == [None]


def test_a_null_stays_a_null() -> None:
    for form in ("iso", "%Y-%m-%d %H:%M:%S%z", "unix_s", "ms_of_day", "%d-%b-%y %H:%M"):
        assert opens([None], timestamp_format=form, timezone="UTC", day=date(2024, 1, 2)) == [None]


def test_codes_without_a_separator_need_all_their_digits() -> None:
    # `2011113` could be the 3rd of November or the 13th of January.
    assert opens(["2011113", "20111103"], Resolution.DAY, timestamp_format="%Y%m%d") == [None, utc(2011, 11, 3)]
    assert opens(["11/5/2019", "1/13/2019"], Resolution.DAY, timestamp_format="%m/%d/%Y") == [
        utc(2019, 11, 5),
        utc(2019, 1, 13),
    ]


def test_the_fraction_of_a_second_is_read_as_python_reads_it() -> None:
    form = {"timestamp_format": "%Y-%m-%d %H:%M:%S.%f", "timezone": "UTC"}
    assert opens(["2024-01-02 09:30:00.5"], **form) == [utc(2024, 1, 2, 9, 30, 0, 500_000)]


def test_a_format_without_a_time_of_day_cannot_stamp_minutes() -> None:
    with pytest.raises(ConfigError, match="no time of day"):
        opens(["2024-01-02"], timestamp_format="%Y-%m-%d", timezone="UTC")


@pytest.mark.parametrize(("form", "what"), [("%Q", "not supported"), ("%H:%M", "no whole date"), ("%Z %Y%m%d", "%Z")])
def test_an_unusable_format_is_refused_with_the_codes_that_work(form: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        opens([""], timestamp_format=form)


_INSTANTS = st.integers(-(10**10), 4 * 10**9).map(
    lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)


@given(_INSTANTS, st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Tokyo", "UTC", "Etc/GMT+5"]))
def test_an_instant_survives_being_written_with_its_offset(moment: datetime, zone: str) -> None:
    minute = moment.replace(second=0, year=max(moment.year, 1950))
    text = minute.astimezone(ZoneInfo(zone)).isoformat(sep=" ")
    assert opens([text]) == [minute]


@given(st.integers(-(2**40), 2**40), st.sampled_from([("unix_s", 10**6), ("unix_ms", 10**3), ("unix_us", 1)]))
def test_unix_times_are_exact(count: int, unit: tuple[str, int]) -> None:
    name, microseconds = unit
    limit = 253_402_300_800_000_000
    total = count * microseconds
    expected = (
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=total) if -(6 * 10**16) < total < limit else None
    )
    if expected is not None:
        assert opens([str(count)], timestamp_format=name) == [expected]


def test_nanoseconds_that_are_no_whole_microsecond_are_not_rounded() -> None:
    texts = ["1514764800000000000", "1514764800000000001", "1514764800000001000"]
    assert opens(texts, timestamp_format="unix_ns") == [utc(2018, 1, 1), None, utc(2018, 1, 1, 0, 0, 0, 1)]
