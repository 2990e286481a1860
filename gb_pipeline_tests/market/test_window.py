"""Windows and instants: half-open, aware, UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, GbError, NaiveTimestamp
from gb_pipeline.market.window import Window, as_window, instant

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


DAY = Window.of("2024-01-02", "2024-01-03")


@pytest.mark.parametrize("given", [
    DAY, (DAY.start, DAY.end), [DAY.start, DAY.end], (date(2024, 1, 2), date(2024, 1, 3)), (DAY.start, date(2024, 1, 3)),
    (datetime(2024, 1, 1, 19, tzinfo=ZoneInfo("America/New_York")), DAY.end),
    (pd.Timestamp("2024-01-02", tz="UTC"), pd.Timestamp("2024-01-03", tz="UTC")),
])  # fmt: skip
def test_a_window_may_be_given_as_its_two_ends(given: Any) -> None:
    made = as_window(given)
    assert made == DAY
    assert [type(end) for end in (made.start, made.end)] == [datetime, datetime]


@pytest.mark.parametrize("given", [
    None, 7, "2024-01-02", ("2024-01-02", "2024-01-03"), (), (DAY.start,), (DAY.start, DAY.end, DAY.end), (DAY.start, None),
    {"start": DAY.start, "end": DAY.end}, (1704153600, 1704240000), [1] * 1000, (DAY.end, DAY.start),
    (pd.Timestamp("2024-01-02T00:00:00.000000001", tz="UTC"), DAY.end),
])  # fmt: skip
def test_what_is_no_window_is_refused_by_an_error_of_ours(given: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        as_window(given)
    assert refused.value.fix
    assert len(refused.value.what) < 200


@pytest.mark.parametrize(
    "given", [(datetime(2024, 1, 2), DAY.end), (DAY.start, datetime(2024, 1, 3)), (pd.NaT, DAY.end)]
)
def test_an_end_without_a_zone_is_refused(given: Any) -> None:
    with pytest.raises(NaiveTimestamp):
        as_window(given)
