"""Calendars against session tables and bars that somebody else recorded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution

MarketData = Callable[[str], Path]
UTC_TIME = pl.Datetime("us", "UTC")
DAY = timedelta(days=1)


def lean_minutes(path: Path, day: date, zone: str) -> pl.Series:
    """Bar starts of a LEAN minute file: milliseconds since local midnight."""
    with zipfile.ZipFile(path) as archive:
        lines = archive.read(archive.namelist()[0]).decode().split()
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    stamps = [(midnight + timedelta(milliseconds=int(line.split(",")[0]))).astimezone(UTC) for line in lines]
    return pl.Series("timestamp", stamps, dtype=UTC_TIME)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("XNYS", "xnys"),
        ("XLON", "xlon"),
        ("XHKG", "xhkg"),
        ("XTKS", "xtks"),
        ("CMES", "cmes"),
        ("24/7", "24-7"),
        ("24/5", "24-5"),
    ],
)
def test_sessions_agree_with_the_independent_table(name: str, file: str, market_data: MarketData) -> None:
    columns = ["session", "open", "close", "break_start", "break_end"]
    table = pl.read_csv(market_data(f"sessions/{file}.csv"), has_header=True, new_columns=columns, infer_schema=False)
    recorded = table.select(
        pl.col("session").str.slice(0, 10).str.to_date(),
        pl.col(columns[1:]).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC"),
    )
    ours = get_calendar(name).schedule(recorded["session"][0], recorded["session"][-1] + DAY)
    assert ours.equals(recorded)


@pytest.mark.parametrize(("day", "bars"), [(date(2023, 6, 26), 390), (date(2023, 6, 30), 390), (date(2023, 7, 3), 210)])
def test_index_minutes_are_exactly_the_expected_ones_on_plain_and_half_days(
    day: date, bars: int, market_data: MarketData
) -> None:
    path = market_data(f"equities-minute/lean-index-usa-minute/spx/{day:%Y%m%d}_trade.zip")
    expected = get_calendar("XNYS").expected(day, day + DAY, Resolution.MINUTE)["timestamp"]
    assert lean_minutes(path, day, "America/Chicago").equals(expected)
    assert len(expected) == bars


def test_tokyo_minutes_fill_both_halves_of_the_day_and_the_prints_after_them_are_outside(
    market_data: MarketData,
) -> None:
    path, day = market_data("equities-minute/lean-index-ose-minute/n225/20210114_trade.zip"), date(2021, 1, 14)
    actual, tokyo = lean_minutes(path, day, "Asia/Tokyo"), get_calendar("XTKS")
    expected = tokyo.expected(day, day + DAY, Resolution.MINUTE)["timestamp"]
    assert len(expected) == 300 and expected.is_in(actual.implode()).all()
    outside = actual.filter(~tokyo.in_hours(actual, Resolution.MINUTE)).dt.convert_time_zone("Asia/Tokyo")
    assert [stamp.strftime("%H:%M") for stamp in outside] == ["11:30", "11:35", "15:00", "15:15"]


def test_a_month_of_spy_fills_regular_hours_and_stays_inside_extended_ones(market_data: MarketData) -> None:
    lines = market_data("equities-minute/nt-spy-minute-2011.csv").read_text(encoding="utf-8").splitlines()
    ends = [datetime.strptime(line.split(";")[0], "%Y%m%d %H%M%S").replace(tzinfo=UTC) for line in lines]
    actual = pl.Series([end - timedelta(minutes=1) for end in ends], dtype=UTC_TIME)
    january = (date(2011, 1, 1), date(2011, 2, 1))
    regular = get_calendar("XNYS").expected(*january, Resolution.MINUTE)["timestamp"]
    assert len(regular) == 20 * 390 and regular.is_in(actual.implode()).all()
    extended = get_calendar("XNYS", extended_hours=True)
    assert extended.in_hours(actual, Resolution.MINUTE).all()
    assert actual.is_in(extended.expected(*january, Resolution.MINUTE)["timestamp"].implode()).all()


def test_twelve_years_of_forex_hours_lie_in_the_foreign_exchange_week(market_data: MarketData) -> None:
    with zipfile.ZipFile(market_data("forex-daily-hourly/lean-forex-oanda-hour/eurusd.zip")) as archive:
        lines = archive.read(archive.namelist()[0]).decode().split("\n")
    stamps = [
        datetime.strptime(line.split(",")[0], "%Y%m%d %H:%M").replace(tzinfo=UTC) for line in lines if line.strip()
    ]
    actual, fx = pl.Series("timestamp", stamps, dtype=UTC_TIME), get_calendar("FX")
    assert len(actual) == 74_439 and fx.in_hours(actual, Resolution.HOUR).all()
    expected = fx.expected(date(2007, 1, 2), date(2019, 1, 1), Resolution.HOUR)["timestamp"]
    missing = expected.filter(~expected.is_in(actual.implode()))
    assert len(missing) == 682
    # More than half of what is missing are Christmas and New Year, which the calendar does not model.
    assert missing.dt.strftime("%m-%d").is_in(["12-25", "01-01"]).sum() == 351
