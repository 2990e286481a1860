"""The sessions that ship with the package are those of exchange_calendars, where that library builds them right."""

from __future__ import annotations

import importlib.metadata
import warnings
from datetime import date

import polars as pl
import pytest

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.compiled_sessions import compiled_calendars, read_sessions

# exchange_calendars 4.13 under pandas 3: weeks of their own are lost, and an Orthodox Easter cannot be computed.
WRONG_WEEKS = {"XBOM", "XKRX", "XMOS"}
CANNOT_BE_BUILT = {"ASEX", "XBEL", "XBSE", "XCYS", "XTAE"}
CODES = sorted(compiled_calendars().calendars)


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
def test_every_calendar_is_that_of_the_library(code: str, first: date, end: date) -> None:
    assert shipped(code, first, end).equals(built_by_the_library(code, first, end))


@pytest.mark.parametrize("code", sorted(CANNOT_BE_BUILT))
def test_what_the_library_cannot_build_ships(code: str) -> None:
    with pytest.raises((ValueError, NotImplementedError)):
        built_by_the_library(code, date(2022, 6, 1), date(2027, 6, 1))
    assert 1150 < shipped(code, date(2022, 1, 1), date(2027, 1, 1)).height < 1300


@pytest.mark.parametrize("code", sorted(WRONG_WEEKS))
def test_weeks_that_the_library_loses_ship(code: str) -> None:
    # The library treats the last days of a range as the year's last.
    ours, theirs = (
        make(code, date(1996, 1, 1), date(2026, 6, 1)).filter(pl.col("session") < date(2026, 5, 1))
        for make in (shipped, built_by_the_library)
    )
    lost = ours.join(theirs, on="session", how="anti")
    assert lost.height, "the library is right again"
    # Where it has a session at all, it has the same hours.
    assert ours.join(theirs, on=ours.columns, how="anti", nulls_equal=True).height == lost.height
    assert theirs.join(ours, on="session", how="anti").is_empty()


@pytest.mark.parametrize(
    ("code", "days"),
    [
        # Disaster-recovery drill, and the Union Budget, on a Saturday.
        ("XBOM", ["2024-01-20", "2025-02-01"]),
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
        ("XKRX", ["1998-12-12", "2024-01-06"]),
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
