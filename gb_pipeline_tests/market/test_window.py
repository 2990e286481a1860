"""Windows and instants: half-open, aware, UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, GbError, NaiveTimestamp
from gb_pipeline.market.window import Window, instant

AWARE = st.datetimes(
    min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1),
    timezones=st.sampled_from([UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata"), timezone(timedelta(hours=-5))]),
)  # fmt: skip


@given(AWARE)
def test_an_instant_keeps_its_moment_and_speaks_utc(moment: datetime) -> None:
    # Python never calls a wall-clock time inside a change of the clock equal to its instant; their seconds are.
    assert instant(moment).timestamp() == moment.timestamp()
    assert instant(moment).utcoffset() == timedelta()
    assert instant(instant(moment).isoformat()) == instant(moment)


def test_a_date_is_its_midnight_in_utc() -> None:
    assert instant(date(2024, 1, 2)) == instant("2024-01-02") == datetime(2024, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2024-01-02T09:30:00", "2024-01-02 09:30"])
def test_a_time_without_zone_is_refused(text: str) -> None:
    with pytest.raises(NaiveTimestamp):
        instant(text)
    with pytest.raises(NaiveTimestamp):
        instant(datetime.fromisoformat(text))


@given(st.text(max_size=40))
def test_any_text_is_an_instant_or_an_error_of_ours(text: str) -> None:
    try:
        assert instant(text).tzinfo is UTC
    except GbError as error:
        assert error.fix


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_an_instant_outside_the_years_that_python_knows_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        instant(text)


@given(AWARE, AWARE)
def test_a_window_holds_its_start_and_not_its_end(one: datetime, other: datetime) -> None:
    start, end = sorted((instant(one), instant(other)))
    window = Window(start, end)
    assert (start in window) is (start < end)
    assert end not in window
    assert window.empty is (start == end)
    if start < end:
        with pytest.raises(ConfigError):
            Window(end, start)
