"""The sessions that ship are those of exchange_calendars, where that library builds them right, with documented corrections."""

from __future__ import annotations

import csv
import importlib.metadata
import warnings
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.compiled_sessions import compiled_calendars, read_sessions

# exchange_calendars 4.13 under pandas 3: weeks of their own are lost, and an Orthodox Easter cannot be computed.
WRONG_WEEKS = {"XBOM", "XKRX", "XMOS"}
CANNOT_BE_BUILT = {"ASEX", "XBEL", "XBSE", "XCYS", "XTAE"}
CODES = sorted(compiled_calendars().calendars)
with (Path(__file__).parents[2] / "tools" / "calendar_corrections.csv").open(encoding="utf-8") as file:
    CORRECTIONS = list(csv.DictReader(file))


def built_by_the_library(code: str, first: date, end: date) -> pl.DataFrame:
    import exchange_calendars
    from pandas.errors import Pandas4Warning

    calendar = compiled_calendars().calendars[code]
    first, end = max(first, calendar.first), min(end, calendar.end)
    last = date.fromordinal(end.toordinal() - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Pandas4Warning)
        warnings.filterwarnings("ignore", "The 'generic' unit for NumPy timedelta", DeprecationWarning)
        built = exchange_calendars.get_calendar(code, start=first, end=last)
        schedule = built.schedule
    assert str(built.tz) == calendar.zone.key
    columns = {"session": pl.Series(schedule.index.as_unit("us").asi8).cast(pl.Datetime("us")).cast(pl.Date)}
    for name in ("open", "close", "break_start", "break_end"):
        instants = pl.Series(schedule[name].dt.as_unit("us").astype("int64").to_numpy())
        missing = pl.Series(schedule[name].isna().to_numpy())
        columns[name] = instants.set(missing, None).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.DataFrame(columns)


def corrected_days(code: str) -> list[date]:
    return [date.fromisoformat(row["session"]) for row in CORRECTIONS if row["calendar"] == code]


def shipped(code: str, first: date, end: date) -> pl.DataFrame:
    session = pl.col("session")
    return read_sessions(compiled_calendars().calendars[code]).filter((session >= first) & (session < end))


@pytest.mark.parametrize(
    ("first", "end"),
    [
        (date(2022, 6, 1), date(2027, 6, 1)),
        pytest.param(date(1950, 1, 1), date(2041, 1, 1), marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("code", [code for code in CODES if code not in WRONG_WEEKS | CANNOT_BE_BUILT])
def test_every_calendar_is_that_of_the_library_but_for_corrections(code: str, first: date, end: date) -> None:
    is_corrected = pl.col("session").is_in(corrected_days(code))
    ours, theirs = shipped(code, first, end), built_by_the_library(code, first, end)
    assert ours.filter(~is_corrected).equals(theirs.filter(~is_corrected))


@pytest.mark.parametrize("row", CORRECTIONS, ids=lambda row: f"{row['calendar']}-{row['session']}")
def test_every_correction_ships_and_names_its_source(row: dict[str, str]) -> None:
    calendar, day = get_calendar(row["calendar"]), date.fromisoformat(row["session"])
    schedule = calendar.schedule(day, date.fromordinal(day.toordinal() + 1))
    times = ("open", "close", "break_start", "break_end")
    local = schedule.select(pl.col(times).dt.convert_time_zone(calendar.zone.key).dt.strftime("%H:%M").fill_null(""))
    assert local.rows() == ([tuple(row[name] for name in times)] if row["open"] else [])
    assert row["source"].startswith("http")


def test_no_correction_is_what_the_library_says_already() -> None:
    for code in sorted({row["calendar"] for row in CORRECTIONS} - WRONG_WEEKS):
        for day in corrected_days(code):
            span = (day, date.fromordinal(day.toordinal() + 1))
            theirs = built_by_the_library(code, date(day.year, 1, 1), date(day.year + 1, 1, 1))
            assert not shipped(code, *span).equals(theirs.filter(pl.col("session") == day)), f"remove {code} {day}"


@pytest.mark.parametrize("code", sorted(CANNOT_BE_BUILT))
def test_what_the_library_cannot_build_ships(code: str) -> None:
    with pytest.raises((ValueError, NotImplementedError)):
        built_by_the_library(code, date(2022, 6, 1), date(2027, 6, 1))
    assert 1150 < shipped(code, date(2022, 1, 1), date(2027, 1, 1)).height < 1300


@pytest.mark.parametrize("code", sorted(WRONG_WEEKS))
def test_weeks_that_the_library_loses_ship(code: str) -> None:
    # The library treats the last days of a range as the year's last.
    is_compared = (pl.col("session") < date(2026, 5, 1)) & ~pl.col("session").is_in(corrected_days(code))
    first = date(1996, 1, 1) if code == "XKRX" else date(2016, 1, 1)
    ours, theirs = (make(code, first, date(2026, 6, 1)).filter(is_compared) for make in (shipped, built_by_the_library))
    lost = ours.join(theirs, on="session", how="anti")
    assert lost.height, "the library is right again"
    # Where it has a session at all, it has the same hours.
    assert ours.join(theirs, on=ours.columns, how="anti", nulls_equal=True).height == lost.height
    assert theirs.join(ours, on="session", how="anti").is_empty()


@pytest.mark.parametrize(
    ("code", "days"),
    [
        # Disaster-recovery drill, and the Union Budget, on a Saturday.
        ("XBOM", ["2024-01-20", "2024-03-02", "2024-05-18", "2025-02-01", "2026-02-01"]),
        # Muhurat trading on a Saturday, a Sunday and a holiday.
        ("XBOM", ["2020-11-14", "2023-11-12", "2024-11-01"]),
        # Working Saturdays moved by decree of the Russian government.
        ("XMOS", ["2018-04-28", "2018-06-09", "2018-12-29", "2021-02-20", "2024-04-27", "2024-11-02", "2024-12-28"]),
        # The Saturday session was abolished in December 1998.
        ("XKRX", ["1998-11-28", "1998-12-05", "1998-12-07"]),
        # Sunday to Thursday, until trading moved to Monday to Friday on 2026-01-05.
        ("XTAE", ["2023-01-01", "2025-11-02", "2026-01-04", "2026-01-09"]),
        # The Monday after an Orthodox Easter's week end.
        ("ASEX", ["2024-05-02", "2024-05-07"]),
    ],
)
def test_days_on_which_an_exchange_was_open(code: str, days: list[str]) -> None:
    calendar = get_calendar(code)
    for day in map(date.fromisoformat, days):
        assert calendar.sessions(day, date.fromordinal(day.toordinal() + 1)) == [day]


@pytest.mark.parametrize(
    ("code", "days"),
    [
        ("XBOM", ["2024-01-22", "2024-01-27", "2025-02-08"]),
        ("XMOS", ["2024-04-28", "2024-05-04"]),
        # Local elections and Constitution Day, a holiday again since 2026.
        ("XKRX", ["1998-12-12", "2024-01-06", "2026-06-03", "2026-07-17"]),
        # Trading was suspended until 2022-03-24.
        ("XMOS", ["2022-02-28", "2022-03-23"]),
        ("XTAE", ["2025-11-07", "2026-01-11"]),
        # Orthodox Good Friday and Easter Monday.
        ("ASEX", ["2024-05-03", "2024-05-06"]),
        ("XBSE", ["2024-05-03", "2024-05-06"]),
    ],
)
def test_days_on_which_an_exchange_was_closed(code: str, days: list[str]) -> None:
    calendar = get_calendar(code)
    for day in map(date.fromisoformat, days):
        assert calendar.closed_days(day, date.fromordinal(day.toordinal() + 1)) == [day]


def test_every_name_of_the_library_is_known() -> None:
    import exchange_calendars

    for name in exchange_calendars.get_calendar_names():
        assert get_calendar(name).name == exchange_calendars.resolve_alias(name)


def test_the_version_of_a_calendar_names_it_its_hours_and_its_sessions() -> None:
    bombay, new_york = compiled_calendars().calendars["XBOM"], compiled_calendars().calendars["XNYS"]
    assert get_calendar("XBOM").version == f"XBOM {bombay.version}"
    assert get_calendar("NYSE", extended_hours=True).version == f"XNYS extended {new_york.version}"
    assert get_calendar("24/7").version == "24/7"
    assert len({calendar.version for calendar in compiled_calendars().calendars.values()}) > 60


def test_the_file_says_how_many_sessions_were_corrected() -> None:
    assert compiled_calendars().corrections == len(CORRECTIONS), "compile the sessions again"


def test_the_file_says_which_release_it_was_compiled_from() -> None:
    name, _, version = compiled_calendars().made_from.partition(" ")
    assert importlib.metadata.version(name.replace("_", "-")) == version, "compile the sessions again"


def test_sessions_are_sorted_unique_and_whole() -> None:
    for calendar in compiled_calendars().calendars.values():
        rows = read_sessions(calendar)
        assert rows["session"].is_sorted() and rows["session"].is_unique().all(), calendar.code
        assert calendar.first <= rows["session"][0] and rows["session"][-1] < calendar.end, calendar.code
        assert (rows["open"] < rows["close"]).all(), calendar.code
        breaks = rows.drop_nulls("break_start")
        assert (
            breaks.select((pl.col("open") < pl.col("break_start")) & (pl.col("break_end") < pl.col("close")))
            .to_series()
            .all()
        )
