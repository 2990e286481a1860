"""What a caller may write for a moment: dates, text, distances, and what NumPy and pandas have."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from gb_pipeline import ConfigError, NaiveTimestamp
from gb_pipeline.reading.arguments import moment
from gb_pipeline_tests.bars import SetClock, at

NOW = SetClock(at("2024-05-31T14:30:15"))


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("now", "2024-05-31T14:30:15"),
        ("today", "2024-05-31"),
        (" Yesterday ", "2024-05-30"),
        ("tomorrow", "2024-06-01"),
        ("-90s", "2024-05-31T14:28:45"),
        ("-30m", "2024-05-31T14:00:15"),
        ("-6h", "2024-05-31T08:30:15"),
        ("-0d", "2024-05-31"),
        ("-7d", "2024-05-24"),
        ("+1d", "2024-06-01"),
        ("-2w", "2024-05-17"),
        ("-3mo", "2024-02-29"),
        ("-1MO", "2024-04-30"),
        ("-1y", "2023-05-31"),
        ("2024-01-02", "2024-01-02"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))), "2024-01-02"),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.datetime64("2024-01-02T09:30"), "2024-01-02T09:30"),
        (np.datetime64("2024-01-02T09:30:00.000001000", "ns"), "2024-01-02T09:30:00.000001"),
        (np.datetime64("2024-05", "M"), "2024-05-01"),
        (pd.Timestamp("2024-01-02"), "2024-01-02"),
        (pd.Timestamp("2024-01-02T04:30", tz="America/New_York"), "2024-01-02T09:30"),
    ],
)
def test_it_means_an_instant(value, instant):
    found = moment(value, NOW)
    assert found == at(instant)
    assert type(found) is datetime
    assert found.tzinfo is UTC


def test_nothing_stays_nothing():
    assert moment(None, NOW) is None


@pytest.mark.parametrize("value", [pd.Timestamp("2024-01-02T09:30"), datetime(2024, 1, 2), "2024-01-02T09:30"])
def test_a_time_of_day_without_a_zone_is_refused(value):
    with pytest.raises(NaiveTimestamp):
        moment(value, NOW)


@pytest.mark.parametrize(
    "value",
    ["", "7d", "-7", "-d", "-7 days", "-99999999y", "-999999999w", "last week", pd.NaT, np.datetime64("NaT"), 7, 1.5, [], b"-7d",
     pd.Timestamp("2024-01-02T00:00:00.000000001", tz="UTC"),
     np.datetime64("2024-01-02T09:30:00.000000001"), np.datetime64("99999-01-01")],
)  # fmt: skip
def test_anything_else_is_refused_with_a_way_out(value):
    with pytest.raises(ConfigError) as caught:
        moment(value, NOW)
    assert caught.value.fix


def test_ranges_and_moments_of_a_lake_count_from_its_present(lake, write):
    write("sim", "BTC-USD", "2024-05-30", ["1", "2"], now=at("2024-05-31T12:00"))
    write("sim", "BTC-USD", "2024-05-31", ["3"], now=at("2024-05-31T13:00"))
    assert lake.bars("BTC-USD", "1m", "yesterday", "today").height == 2
    assert lake.bars("BTC-USD", "1m", "today").height == 1
    assert lake.bars("BTC-USD", "1m", as_of="-30m").height == 2
    assert lake.coverage(start="today")["session"].to_list() == [date(2024, 5, 31)]
    assert lake.sql("select count(*) from bars_1m", as_of="-1h").item() == 2
