"""Stamps that cannot be read: each line counts, and a file of them is refused with what would read it."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.csv.provider import CsvProvider
from gb_pipeline.providers.csv.stamps import epoch
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.ingest.clock import stop_at

ALWAYS = Window.of("1970-01-01", "2100-01-01")
HEADER = "timestamp,open,high,low,close,volume\n"
NOW = datetime(2024, 12, 1, tzinfo=UTC)


def settings_of(
    root: Path, resolution: str = "1d", source: dict[str, Any] | None = None, **options: Any
) -> SourceSettings:
    return SourceSettings.model_validate({
        "name": "files", "provider": "csv", "asset_class": "crypto", "calendar": "24/7", "start": "2024-01-01",
        "resolutions": [resolution], "symbols": ["BTC-USD"], **(source or {}),
        "options": {"root": str(root), "path": "in.csv", **options},
    })  # fmt: skip


def fetch(root: Path, text: str, resolution: str = "1d", **options: Any) -> Fetched:
    (root / "in.csv").write_text(text, encoding="utf-8")
    source = settings_of(root, resolution, **options)
    provider = CsvProvider.from_settings(source)
    return asyncio.run(provider.fetch_bars(source.instruments[0], ALWAYS, Resolution.parse(resolution)))


def refused(root: Path, text: str, resolution: str = "1d", **options: Any) -> PermanentVendorError:
    with pytest.raises(PermanentVendorError) as error:
        fetch(root, text, resolution, **options)
    return error.value


def store(root: Path, text: str, days: int, resolution: str = "1d", **options: Any) -> Outcome:
    (root / "in.csv").write_text(text, encoding="utf-8")
    source = settings_of(root, resolution, **options)
    job = Job(source.instruments[0], source.start, source.start + timedelta(days=days))
    lake = LakeStore.at(root / "lake")
    return ingest(stop_at(lake, NOW), source, Resolution.parse(resolution), [job])[0]


def bar(stamp: str) -> str:
    return f"{stamp},1,2,0.5,1.5,10\n"


def lines(count: int, form: str) -> str:
    return HEADER + "".join(bar(f"{date(2024, 1, 5) + timedelta(days=day):{form}}") for day in range(count))


# --- formats --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "read"), [
    ("%d/%m/%Y", "%m/%d/%Y"), ("%m/%d/%Y", "%d/%m/%Y"), ("%d.%m.%Y", "iso"), ("%d-%b-%y", "iso"), ("%Y%m%d", "iso"),
    ("%Y-%m-%d", "%d.%m.%Y"), ("%d/%m/%y", "%m/%d/%y"),
])  # fmt: skip
def test_days_in_another_order_are_refused_whole_and_their_format_is_named(
    tmp_path: Path, written: str, read: str
) -> None:
    error = refused(tmp_path, lines(60, written), timestamp_format=read)
    shown = "iso" if written == "%Y-%m-%d" else written
    assert f"{shown} would read all of them" in error.what
    assert "of 60 lines of" in error.what
    assert f"cannot be read as {read}" in error.what
    assert shown in error.fix
    assert len(fetch(tmp_path, lines(60, written), timestamp_format=shown).frame) == 60


def test_one_other_format_is_enough_where_it_reads_all_and_the_set_one_does_not(tmp_path: Path) -> None:
    # Twelve of fifteen days are a month as well: most lines read, on wrong dates.
    days = "".join(bar(f"{day:02}/01/2024") for day in range(1, 16))
    error = refused(tmp_path, HEADER + days, timestamp_format="%m/%d/%Y")
    assert "the stamps of 3 of 15 lines" in error.what
    assert "the first is '13/01/2024'; %d/%m/%Y would read all of them" in error.what


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%m/%d/%Y %H:%M"])
def test_times_without_a_zone_are_refused_for_the_zone_and_for_nothing_else(tmp_path: Path, form: str) -> None:
    read = form if "/" in form else "iso"
    error = refused(tmp_path, lines(20, form), "1m", timestamp_format=read)
    assert "the stamps of 20 of 20 lines" in error.what
    assert "have no time zone; the first is " in error.what
    assert error.fix == "set `timezone`, the zone in which they are written, such as UTC or America/New_York"
    assert len(fetch(tmp_path, lines(20, form), "1m", timestamp_format=read, timezone="UTC").frame) == 20


def test_times_in_another_format_and_without_a_zone_need_both(tmp_path: Path) -> None:
    error = refused(tmp_path, lines(20, "%m/%d/%Y %H:%M"), "1m")
    assert "%m/%d/%Y %H:%M would read all of them" in error.what
    assert error.fix.startswith("set `timestamp_format: '%m/%d/%Y %H:%M'`, and `timezone`, the zone")
    assert "timezone" not in refused(tmp_path, lines(20, "%m/%d/%Y %H:%M"), "1m", timezone="UTC").fix


def test_every_garbage_line_counts_and_most_of_them_refuse_the_file(tmp_path: Path) -> None:
    text = HEADER + "".join(f"torn line {n}\n" for n in range(50)) + bar("2024-01-01")
    assert "the stamps of 50 of 51 lines" in refused(tmp_path, text).what
    outcome = store(tmp_path, text, 2)
    assert [session.status for session in outcome.sessions] == [SessionStatus.FAILED] * 2
    # Asked for once: no part of the window would be read from another file.
    assert outcome.calls <= 1


def test_a_few_garbage_lines_are_handed_on_with_the_lines_of_the_whole_file(tmp_path: Path) -> None:
    text = lines(300, "%Y-%m-%d") + "source: somebody\n"
    fetched = fetch(tmp_path, text)
    assert fetched.frame["timestamp"].null_count() == 1
    assert fetched.frame.filter(fetched.frame["timestamp"].is_null())["received"].to_list() == ["source: somebody"]
    assert fetched.rows_read == 301


def test_a_window_that_sees_part_of_a_file_is_refused_for_all_of_it(tmp_path: Path) -> None:
    # 5 of 105 lines are bad. Of ten days that hold none of them nobody behind the provider could tell.
    text = lines(100, "%Y-%m-%d") + "torn\n" * 5
    assert fetch(tmp_path, text).rows_read == 105
    source = settings_of(tmp_path)
    provider, window = CsvProvider.from_settings(source), Window.of("2024-01-10", "2024-01-20")
    with pytest.raises(PermanentVendorError, match="the stamps of 5 of 105 lines"):
        asyncio.run(provider.fetch_bars(source.instruments[0], window, Resolution.DAY))


# --- units of epochs ------------------------------------------------------------------------------------------------------

_UNITS = {"unix_s": 1, "unix_ms": 10**3, "unix_us": 10**6, "unix_ns": 10**9}


@pytest.mark.parametrize("read", _UNITS)
@pytest.mark.parametrize("written", _UNITS)
def test_epochs_in_another_unit_are_refused_and_the_unit_is_named(tmp_path: Path, written: str, read: str) -> None:
    text = HEADER + "".join(bar(str((1_704_067_200 + 86_400 * day) * _UNITS[written])) for day in range(5))
    if written == read:
        assert fetch(tmp_path, text, timestamp_format=read).frame["timestamp"][0] == datetime(2024, 1, 1, tzinfo=UTC)
        return
    error = refused(tmp_path, text, timestamp_format=read)
    assert "out of any plausible range" in error.what
    assert f"probably {written}" in error.what
    assert ("the year 1970" in error.what) == (_UNITS[written] < _UNITS[read])
    assert written in error.fix
    outcome = store(tmp_path, text, 5, timestamp_format=read)
    assert {session.status for session in outcome.sessions} == {SessionStatus.FAILED}


def test_a_file_that_changes_its_unit_is_refused_or_read_by_magnitude(tmp_path: Path) -> None:
    start = 1_704_067_200
    text = HEADER + bar(str(start * 1000)) + "".join(bar(str((start + 86_400 * n) * 10**6)) for n in (1, 2))
    error = refused(tmp_path, text, timestamp_format="unix_ms")
    assert "a year beyond 9999: out of any plausible range" in error.what
    assert "unix_auto" in error.fix
    stamps = fetch(tmp_path, text, timestamp_format="unix_auto").frame["timestamp"]
    assert stamps.to_list() == [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)]


@given(st.integers(315_532_800, 4_102_444_799), st.sampled_from(list(_UNITS)))
def test_by_magnitude_every_moment_since_1980_is_read_exactly_in_any_unit(second: int, unit: str) -> None:
    texts = pl.DataFrame({"stamp": [str(second * _UNITS[unit])]})
    read = texts.select(epoch(pl.col("stamp"), "unix_auto")).item()
    assert read == second * 10**6


def test_a_history_that_begins_before_1980_is_plausible_where_the_source_does(tmp_path: Path) -> None:
    text = HEADER + bar("-252460800")
    assert "out of any plausible range" in refused(tmp_path, text, timestamp_format="unix_s").what
    fetched = fetch(tmp_path, text, timestamp_format="unix_s", source={"start": "1960-01-01"})
    # 1962-01-01 lies outside of the requested window, and was read.
    assert (fetched.frame.height, fetched.rows_read) == (0, 1)


def test_seconds_as_milliseconds_are_no_bars_of_1970_even_where_the_source_begins_then(tmp_path: Path) -> None:
    text = HEADER + "".join(bar(str(1_704_067_200 + 86_400 * day)) for day in range(5))
    error = refused(tmp_path, text, timestamp_format="unix_ms", source={"start": "1970-01-01"}, timezone="UTC")
    assert "the year 1970: out of any plausible range; the unit is probably unix_s" in error.what
    # Real bars of that winter are in a file with others.
    winter = HEADER + "".join(bar(str(86_400 * day)) for day in range(-40, 120))
    assert fetch(tmp_path, winter, timestamp_format="unix_s", source={"start": "1969-01-01"}).rows_read == 160


# --- daily instants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stamp", ["2024-01-02T16:00Z", "2024-01-02 21:00:00+00:00", "2024-01-02T09:30:00-05:00"])
def test_a_daily_instant_that_is_no_midnight_needs_a_zone(tmp_path: Path, stamp: str) -> None:
    error = refused(tmp_path, HEADER + bar(stamp))
    assert "no midnight" in error.what
    assert "timezone" in error.fix
    assert len(fetch(tmp_path, HEADER + bar(stamp), timezone="America/New_York").frame) == 1


@pytest.mark.parametrize(("stamp", "options"), [
    ("2024-01-02", {}), ("2024-01-02 16:00", {}), ("2024-01-02T00:00Z", {}), ("2024-01-02 00:00:00+08:00", {}),
    ("1704153600", {"timestamp_format": "unix_s"}), ("1704239999999", {"timestamp_format": "unix_ms", "stamp": "close"}),
    ("1704240000000", {"timestamp_format": "unix_ms", "stamp": "close"}),
])  # fmt: skip
def test_a_date_or_a_midnight_needs_none(tmp_path: Path, stamp: str, options: dict[str, Any]) -> None:
    assert fetch(tmp_path, HEADER + bar(stamp), **options).frame["timestamp"].to_list() == [
        datetime(2024, 1, 2, tzinfo=UTC)
    ]


def test_an_epoch_of_the_close_in_utc_is_refused_until_the_zone_is_said(tmp_path: Path) -> None:
    text = HEADER + bar("1704229200")  # 16:00 in New York
    assert "no midnight" in refused(tmp_path, text, timestamp_format="unix_s").what
    stamps = fetch(tmp_path, text, timestamp_format="unix_s", timezone="America/New_York").frame["timestamp"]
    assert stamps.to_list() == [datetime(2024, 1, 2, tzinfo=UTC)]


# --- the hour that occurs twice ---------------------------------------------------------------------------------------------

_ZONE = {"timezone": "Europe/Berlin", "source": {"start": "2024-10-26"}}
_TWICE = ["02:00", "02:30"]


def night(*hours: str) -> str:
    return HEADER + "".join(bar(f"2024-10-27 {hour}") for hour in hours)


def test_an_hour_that_occurs_twice_is_quarantined_and_never_refuses_the_rest(tmp_path: Path) -> None:
    outcome = store(tmp_path, night("01:30", *_TWICE, *_TWICE, "03:00"), 2, "30m", **_ZONE)
    assert outcome.error is None
    assert outcome.unplaced is not None
    assert (outcome.counts.received, outcome.unplaced.rows, outcome.unplaced.refused) == (6, 4, False)
    frame = fetch(tmp_path, night("01:30", *_TWICE, *_TWICE, "03:00"), "30m", **_ZONE).frame
    assert frame.filter(frame["timestamp"].is_null())["fault"].to_list() == ["ambiguous_timestamp"] * 4
    stored = Lake(LakeStore.at(tmp_path / "lake")).bars("BTC-USD", "30m", source="files")
    assert stored.height == 2


@pytest.mark.parametrize("word", ["order", "infer"])
@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_both_hours_are_read_by_the_order_of_the_lines(tmp_path: Path, order: int, word: str) -> None:
    hours = ["01:30", *_TWICE, *_TWICE, "03:00"][::order]
    stamps = fetch(tmp_path, night(*hours), "30m", ambiguous=word, **_ZONE).frame["timestamp"].to_list()
    first = datetime(2024, 10, 26, 23, 30, tzinfo=UTC)
    assert stamps == [first + timedelta(minutes=30 * n) for n in range(6)]


@pytest.mark.parametrize(
    "hours", [["02:00", "02:30"], ["02:00", "02:00", "02:30", "02:30"], ["02:30", "02:00", "02:30", "02:00"]]
)
def test_lines_that_do_not_go_back_once_stay_uncertain(tmp_path: Path, hours: list[str]) -> None:
    source = {**_ZONE, "source": {"start": "2024-10-26", "max_bad_fraction": 1}}
    frame = fetch(tmp_path, night("01:00", *hours, "03:00"), "30m", ambiguous="order", **source).frame
    assert frame["timestamp"].null_count() == len(hours)


def test_each_instrument_of_a_file_has_an_order_of_its_own(tmp_path: Path) -> None:
    pairs = [(hour, code) for hour in ("01:30", *_TWICE, *_TWICE, "03:00") for code in ("BTC-USD", "ETH-USD")]
    text = f"symbol,{HEADER}" + "".join(f"{code},{bar(f'2024-10-27 {hour}')}" for hour, code in pairs)
    (tmp_path / "in.csv").write_text(text)
    source = settings_of(
        tmp_path, "30m", source={"start": "2024-10-26", "symbols": ["BTC-USD", "ETH-USD"]},
        timezone="Europe/Berlin", ambiguous="order", columns={"symbol": "symbol"},
    )  # fmt: skip
    provider = CsvProvider.from_settings(source)
    for symbol in source.instruments:
        frame = asyncio.run(provider.fetch_bars(symbol, ALWAYS, Resolution.MINUTE_30)).frame
        assert frame["timestamp"].n_unique() == 6


def early_days(form: str, count: int = 120, turned: bool = False) -> str:
    """Bars of days up to the 12th, which read as day/month and as month/day."""
    days = [date(2024, month, day) for month in range(1, 13) for day in range(1, 13)][:count]
    return HEADER + "".join(bar(f"{day:{form}}") for day in (reversed(days) if turned else days))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("wrong", "right"), [
    ("%m/%d/%Y", "%d/%m/%Y"), ("%d/%m/%Y", "%m/%d/%Y"), ("%m-%d-%Y", "%d-%m-%Y"), ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
    ("%y.%m.%d", "%d.%m.%y"),
])  # fmt: skip
def test_days_and_months_that_read_either_way_are_told_by_their_order(
    tmp_path: Path, wrong: str, right: str, turned: bool
) -> None:
    text = early_days(right, turned=turned)
    error = refused(tmp_path, text, timestamp_format=wrong)
    assert f"are in no order of time read as {wrong}, and in order as {right}" in error.what
    assert error.fix.startswith(f"set `timestamp_format: '{right}'`")
    assert fetch(tmp_path, text, timestamp_format=right).frame.height == 120


def test_lines_in_no_order_at_all_are_read_as_they_are_meant(tmp_path: Path) -> None:
    head, *own = early_days("%d/%m/%Y").splitlines(keepends=True)
    text = head + "".join(own[n * 77 % 120] for n in range(120))
    assert fetch(tmp_path, text, timestamp_format="%d/%m/%Y").frame.height == 120
    some = head + "".join([*own[3:], *own[:3]])
    assert fetch(tmp_path, some, timestamp_format="%d/%m/%Y").frame.height == 120


def test_times_that_the_clock_skips_are_told_from_texts_that_are_no_times(tmp_path: Path) -> None:
    hours = [f"2024-03-31 {hour:02}:00" for hour in range(24)]
    text = HEADER + "".join(bar(stamp) for stamp in [*hours, "2024-03-31 25:00"])
    frame = fetch(tmp_path, text, "1h", timezone="Europe/Berlin", source={"max_bad_fraction": 0.5}).frame
    unread = frame.filter(pl.col("timestamp").is_null())
    assert unread["fault"].to_list() == ["skipped_timestamp", None]
    error = refused(tmp_path, HEADER + bar("2024-03-31 02:30"), "1h", timezone="Europe/Berlin")
    assert "zone Europe/Berlin; the first is '2024-03-31 02:30', whose clock went forward past it" in error.what
    assert error.fix == "check `timezone`: is it the zone of these stamps?"


def test_a_refused_answer_names_the_zone_whose_clock_skips_its_times(tmp_path: Path) -> None:
    text = HEADER + "".join(bar(f"2024-03-31 {hour:02}:00") for hour in range(24))
    source = {"start": "2024-03-30"}
    outcome = store(tmp_path, text, 2, "1h", timezone="Europe/Berlin", source=source)
    assert outcome.unplaced is not None
    assert "1 of 24 rows belongs to no session that was asked for: 1 x skipped_timestamp" in outcome.unplaced.sentence
    assert outcome.unplaced.fix.startswith("check `timezone`: its clock went forward past these times")


# --- lines that are no bars -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [
    "2024-01-02,0.24 Dividend\n", "2024-01-02,0.24 Dividend,,,,\n", "2024-01-02,2:1 Stock Split,2:1 Stock Split,,,\n",
    "2024-01-02,null,null,null,null,null\n", "2024-01-02,N/A,N/A,N/A,N/A,N/A\n", "2024-01-02,,,,,0\n", "2024-01-02,-,-,-,-,-\n",
])  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_is_no_bar_never_vetoes_the_bar_beside_it(tmp_path: Path, line: str, first: bool) -> None:
    pair = line + bar("2024-01-02") if first else bar("2024-01-02") + line
    outcome = store(tmp_path, HEADER + bar("2024-01-01") + pair, 2)
    assert outcome.error is None
    assert [session.status for session in outcome.sessions] == [SessionStatus.COMPLETE] * 2
    assert [session.quarantined for session in outcome.sessions] == [0, 1]
    assert outcome.sessions[1].reasons == {"no_bar": 1}


def test_what_is_left_of_a_bar_is_no_line_of_another_kind(tmp_path: Path) -> None:
    outcome = store(tmp_path, HEADER + bar("2024-01-01") + "2024-01-02,1,2,0\n", 2)
    assert outcome.sessions[1].status is SessionStatus.REFUSED
    assert outcome.sessions[1].reasons == {"ragged_line": 1}


def test_a_number_that_is_there_and_cannot_be_read_is_not_missing(tmp_path: Path) -> None:
    text = "timestamp;open;high;low;close;volume\n2024-01-01;1,5;2,5;1,0;2,0;1.000\n"
    outcome = store(tmp_path, text, 1, delimiter=";", decimal_comma=True)
    assert outcome.sessions[0].reasons == {"unreadable_number": 1}
    outcome = store(tmp_path, text, 1, delimiter=";", decimal_comma=True, thousands=".")
    assert outcome.sessions[0].status is SessionStatus.COMPLETE


# --- the law ----------------------------------------------------------------------------------------------------------------

_DAYS = 12
_LINE = st.one_of(
    st.integers(0, 2 * _DAYS).map(lambda day: bar(f"{date(2024, 1, 1) + timedelta(days=day)}")),
    st.integers(0, _DAYS).map(lambda day: f"{date(2024, 1, 1) + timedelta(days=day)},9,9,9,9,9\n"),
    st.integers(0, _DAYS).map(lambda day: f"{date(2024, 1, 1) + timedelta(days=day)},null,,,null,\n"),
    st.integers(0, _DAYS).map(lambda day: f"{date(2024, 1, 1) + timedelta(days=day)},1,2\n"),
    st.integers(0, _DAYS).map(lambda day: f"{date(2024, 1, 1) + timedelta(days=day)},1,0.5,2,1.5,10\n"),
    st.sampled_from(["torn\n", "2024-02-30,1,2,0.5,1.5,10\n", ",,,,,\n"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["BTC-USD", "ETH-USD", "XRP-USD"]), _LINE), max_size=30))
def test_every_line_of_a_file_is_stored_quarantined_or_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("law")
    codes = ["BTC-USD", "ETH-USD"]
    rows = [*((code, bar("2024-01-01")) for code in codes), *rows]
    (root / "in.csv").write_text(f"symbol,{HEADER}" + "".join(f"{code},{line}" for code, line in rows))
    source = settings_of(root, source={"symbols": codes, "max_bad_fraction": 1}, columns={"symbol": "symbol"})
    provider, store = CsvProvider.from_settings(source), LakeStore.at(root / "lake")
    # A window that holds half of the dates: what lies outside of it is counted by file.
    end = source.start + timedelta(days=_DAYS)
    lines = 0
    for symbol in source.instruments:
        fetched = asyncio.run(provider.fetch_bars(symbol, Window.of(source.start, end), Resolution.DAY))
        outcome = ingest(stop_at(store, NOW), source, Resolution.DAY, [Job(symbol, source.start, end)])[0]
        assert outcome.error is None
        counts = outcome.counts
        assert counts.received == fetched.frame.height
        assert counts.received == counts.stored + counts.unchanged + counts.quarantined + counts.duplicates
        assert counts.stored == sum(session.actual for session in outcome.sessions)
        assert fetched.rows_read is not None
        lines += fetched.rows_read
        assert fetched.rows_read == counts.received + sum(item.outside for item in fetched.files)
        assert outcome.read_rows == fetched.read_rows
    # A torn line of somebody else goes with the line before it; a whole one is theirs.
    foreign = sum(code not in codes and line.count(",") == 5 for code, line in rows)
    assert lines == len(rows) - foreign


GERMAN = "date;open;high;low;close;volume\n2024-01-02;1.234;1.240;1.230;1.235;100\n2024-01-03;1.234,5;1.240;1.230;1.235;100\n"


def test_a_file_whose_commas_prove_what_its_points_mean_is_refused_whole(tmp_path: Path) -> None:
    error = refused(tmp_path, GERMAN, delimiter=";")
    assert "have a decimal comma, such as '1.234,5'; '1.234' would be read as a thousandth of itself" in error.what
    assert "decimal_comma: true" in error.fix
    frame = fetch(tmp_path, GERMAN, delimiter=";", decimal_comma=True, thousands=".").frame
    assert frame["open"].to_list() == ["1234", "1234.5"]


def test_a_number_with_a_comma_among_decimal_points_is_refused_alone(tmp_path: Path) -> None:
    text = GERMAN + "2024-01-04;1.25;1.30;1.20;1.25;100\n"
    assert fetch(tmp_path, text, delimiter=";").frame.height == 3
