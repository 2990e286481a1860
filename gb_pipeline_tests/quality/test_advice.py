"""What rows outside the sessions look like, and the setting that explains them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.advice import advise
from gb_pipeline.quality.rules import BarRules

MARCH = date(2024, 3, 1), date(2024, 4, 1)
MINUTE, HOUR, DAY = Resolution.MINUTE, Resolution.HOUR, Resolution.DAY


def rules(calendar: str, resolution: Resolution = MINUTE, *, extended_hours: bool = False) -> BarRules:
    return BarRules(resolution=resolution, calendar=get_calendar(calendar, extended_hours=extended_hours))


def bars(calendar: str, resolution: Resolution = MINUTE, *, extended_hours: bool = False) -> pl.Series:
    return get_calendar(calendar, extended_hours=extended_hours).expected(*MARCH, resolution)["timestamp"]


def read_in(stamps: pl.Series, true_zone: str, zone: str) -> pl.Series:
    """Stamps that were written on the clocks of one zone and read in another."""
    written = stamps.dt.convert_time_zone(true_zone).dt.replace_time_zone(None)
    return written.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


@pytest.mark.parametrize("resolution", [MINUTE, Resolution("5m"), HOUR])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_bars_before_and_after_the_regular_session_name_extended_hours(
    resolution: Resolution, zone: str | None
) -> None:
    advice = advise(bars("XNYS", resolution, extended_hours=True), rules("XNYS", resolution), zone=zone)
    assert advice is not None
    assert "extended_hours: true" in advice.fix
    assert "04:00" in advice.what


@pytest.mark.parametrize(
    ("calendar", "written", "read"),
    [
        ("XNYS", "America/New_York", "UTC"),
        ("XNYS", "UTC", "America/New_York"),
        ("XNYS", "Europe/Berlin", "UTC"),
        ("XNYS", "America/Chicago", "America/New_York"),
        ("XLON", "America/New_York", "Europe/London"),
        ("XTKS", "Asia/Tokyo", "UTC"),
        ("XHKG", "UTC", "Asia/Hong_Kong"),
    ],
)
@pytest.mark.parametrize("resolution", [MINUTE, Resolution("15m")])
def test_stamps_of_another_zone_name_it(calendar: str, written: str, read: str, resolution: Resolution) -> None:
    stamps = read_in(bars(calendar, resolution), written, read)
    advice = advise(stamps, rules(calendar, resolution), zone=read)
    assert advice is not None
    assert f"timezone: {written}" in advice.fix
    assert read in advice.what


def test_a_vendor_whose_zone_nobody_can_set_gets_no_advice_about_it() -> None:
    advice = advise(read_in(bars("XLON"), "Asia/Tokyo", "UTC"), rules("XLON"))
    assert advice is None


@pytest.mark.parametrize(("resolution", "traded"), [(DAY, "24/7"), (HOUR, "24/7"), (HOUR, "24/5"), (HOUR, "FX")])
def test_bars_while_the_exchange_is_closed_name_a_calendar_that_is_open(resolution: Resolution, traded: str) -> None:
    advice = advise(bars(traded, resolution), rules("XNYS", resolution), zone="UTC")
    assert advice is not None
    assert f"calendar: {traded}" in advice.fix


def test_dates_that_are_a_day_early_are_midnights_of_another_zone() -> None:
    stamps = bars("XNYS", DAY).dt.offset_by("-1d")
    advice = advise(stamps, rules("XNYS", DAY), zone="UTC")
    assert advice is not None
    assert "timezone" in advice.fix


@pytest.mark.parametrize("resolution", [MINUTE, HOUR, DAY])
@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "FX", "24/5", "24/7"])
def test_rows_where_they_belong_need_no_advice(calendar: str, resolution: Resolution) -> None:
    stamps = bars(calendar, resolution)
    assert advise(stamps, rules(calendar, resolution), zone="UTC") is None
    with_two_wrong = pl.concat(
        [
            stamps,
            pl.Series(
                [datetime(2024, 3, 2, 11, tzinfo=UTC), datetime(2024, 3, 3, 11, tzinfo=UTC), None], dtype=stamps.dtype
            ),
        ]
    )
    assert advise(with_two_wrong, rules(calendar, resolution), zone="UTC") is None


@pytest.mark.parametrize(
    "stamps", [[], [None], [datetime(2024, 3, 3, 12, tzinfo=UTC) + timedelta(seconds=n) for n in range(50)]]
)
def test_what_nothing_explains_gets_no_advice(stamps: list[datetime | None]) -> None:
    column = pl.Series("timestamp", stamps, pl.Datetime("us", "UTC"))
    for resolution in (MINUTE, DAY):
        assert advise(column, rules("XNYS", resolution), zone="UTC") is None
