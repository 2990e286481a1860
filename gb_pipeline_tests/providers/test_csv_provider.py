"""Which rows of which files answer a question, and what happens when none can."""

from __future__ import annotations

import asyncio
import gzip
import os
import zipfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.errors import (
    ConfigError,
    HistoryNotAvailable,
    PermanentVendorError,
    UnknownSymbol,
)
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched, Provider
from gb_pipeline.providers.csv.provider import CsvProvider
from gb_pipeline_tests.work import counted_work

HEADER = "timestamp,open,high,low,close,volume\n"
ALWAYS = Window.of("1970-01-01", "2100-01-01")


def provider(root: Path, *codes: str, source: dict[str, Any] | None = None, **options: Any) -> CsvProvider:
    fields = {"name": "files", "provider": "csv", "start": "2020-01-01", "resolutions": ["1d"]} | (source or {})
    fields["symbols"] = list(codes) or ["AAPL"]
    return CsvProvider.from_settings(
        SourceSettings.model_validate({**fields, "options": {"root": str(root), "path": "{symbol}.csv", **options}})
    )


async def fetch(from_: CsvProvider, window: Window = ALWAYS, code: str = "AAPL", resolution: str = "1d") -> Fetched:
    return await from_.fetch_bars(Symbol.equity(code), window, Resolution.parse(resolution))


def days(fetched: Fetched) -> list[str]:
    return [f"{stamp:%Y-%m-%d}" if stamp else "?" for stamp in fetched.frame["timestamp"]]


def bar(day: str, close: str = "2") -> str:
    return f"{day},1,2,1,{close},3\n"


async def test_it_is_a_provider_that_knows_everything_but_ticks(tmp_path: Path) -> None:
    files = provider(tmp_path)
    assert isinstance(files, Provider)
    assert files.supports(Symbol.equity("AAPL"), Resolution.MINUTE)
    assert not files.supports(Symbol.equity("AAPL"), Resolution.TICK)
    await files.aclose()


async def test_the_window_is_half_open_and_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(HEADER + bar("2024-01-04") + bar("2024-01-03") + bar("2024-01-02"))
    fetched = await fetch(provider(tmp_path), Window.of("2024-01-02", "2024-01-04"))
    assert days(fetched) == ["2024-01-02", "2024-01-03"]
    assert fetched.frame.select(RECEIVED.names()).schema == RECEIVED
    assert fetched.calls == 1
    assert fetched.bytes == (tmp_path / "AAPL.csv").stat().st_size


async def test_rows_with_the_same_stamp_keep_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(bar("2024-01-02", close) for close in "5142"))
    assert (await fetch(provider(tmp_path))).frame["close"].to_list() == list("5142")


async def test_a_file_without_rows_in_the_window_is_the_empty_answer(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(HEADER + bar("2024-01-02"))
    fetched = await fetch(provider(tmp_path), Window.of("2024-02-01", "2024-03-01"))
    assert fetched.frame.is_empty()
    assert set(RECEIVED.names()) <= set(fetched.frame.columns)


async def test_a_header_alone_is_the_empty_answer_and_an_empty_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(HEADER)
    assert (await fetch(provider(tmp_path))).frame.is_empty()
    (tmp_path / "AAPL.csv").write_text("")
    with pytest.raises(PermanentVendorError, match=r"AAPL\.csv is empty: 0 bytes"):
        await fetch(provider(tmp_path))


async def test_no_file_is_an_unknown_symbol(tmp_path: Path) -> None:
    with pytest.raises(UnknownSymbol, match=r"AAPL.*AAPL\.csv"):
        await fetch(provider(tmp_path))


async def test_a_row_with_an_unreadable_stamp_goes_with_the_readable_row_before_it(tmp_path: Path) -> None:
    lines = [bar("first"), bar("2024-01-02"), bar("2024-02-30"), bar("?"), bar("2024-01-03"), bar("last")]
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(lines))
    files = provider(tmp_path, source={"max_bad_fraction": 1})
    second = await fetch(files, Window.of("2024-01-02", "2024-01-03"))
    third = await fetch(files, Window.of("2024-01-03", "2024-01-04"))
    assert days(second) == ["?", "2024-01-02", "?", "?"]
    assert days(third) == ["2024-01-03", "?"]
    assert [line + "\n" for line in second.frame["received"]] == [lines[0], *lines[1:4]]


async def test_a_file_in_which_no_stamp_can_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_text(HEADER + bar("02.01.2024") + bar("03.01.2024"))
    with pytest.raises(
        PermanentVendorError,
        match=r"(?s)the stamps of 2 of 2 lines of .*AAPL\.csv .*iso; the first is '02\.01\.2024'; %d\.%m\.%Y would",
    ):
        await fetch(provider(tmp_path))


_LINES = st.lists(
    st.one_of(
        st.integers(0, 60).map(lambda day: bar(f"{datetime(2024, 1, 1) + timedelta(days=day):%Y-%m-%d}")),
        st.sampled_from(["rubbish,1,2,1,2,3\n", "2024-02-30,1\n", "-,-,-,-,-,-\n", ",,,,,\n"]),
    ),
    min_size=1,
    max_size=30,
).filter(lambda lines: any(line.startswith("2024-01") for line in lines))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(_LINES, st.sets(st.integers(1, 60), max_size=5))
async def test_every_line_is_in_exactly_one_of_touching_windows(
    tmp_path: Path, lines: list[str], cuts: set[int]
) -> None:
    (tmp_path / "AAPL.csv").write_text(HEADER + "".join(lines))
    edges = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in sorted({0, *cuts, 61})]
    files = provider(tmp_path, source={"max_bad_fraction": 1})
    parts = [await fetch(files, Window.of(*pair)) for pair in pairwise(edges)]
    out = sorted(line for part in parts for line in part.frame["received"])
    assert out == sorted(line.rstrip("\n") for line in lines)


async def test_a_glob_reads_all_files_of_a_symbol_and_nobody_elses(tmp_path: Path) -> None:
    for year in (2024, 2023):
        (tmp_path / f"AAPL-{year}.csv").write_text(HEADER + bar(f"{year}-01-03") + bar(f"{year}-01-02"))
    (tmp_path / "AAPLX-2022.csv").write_text(HEADER + bar("2022-01-03"))
    fetched = await fetch(provider(tmp_path, path="{symbol}-*.csv"))
    assert days(fetched) == ["2023-01-02", "2023-01-03", "2024-01-02", "2024-01-03"]
    assert fetched.calls == 2


@pytest.mark.parametrize("code", ["BRK.B", "A-B_C", "7203"])
async def test_a_symbol_is_found_literally(tmp_path: Path, code: str) -> None:
    folder = tmp_path / "a [folder] *"
    folder.mkdir()
    (folder / f"{code}.csv").write_text(HEADER + bar("2024-01-02"))
    (folder / "AXB.csv").write_text(HEADER + bar("2024-01-03"))
    assert days(await fetch(provider(folder, code), code=code)) == ["2024-01-02"]


async def test_a_vendors_spelling_may_hold_anything_but_never_becomes_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1]*.csv").write_text(HEADER + bar("2024-01-02"))
    (tmp_path / "a1x.csv").write_text(HEADER + bar("2024-01-03"))
    files = CsvProvider.from_settings(
        SourceSettings.model_validate(
            {
                "name": "files",
                "provider": "csv",
                "start": "2020-01-01",
                "resolutions": ["1d"],
                "symbols": [{"code": "AAPL", "vendor": "a[1]*"}],
                "options": {"root": str(tmp_path), "path": "{vendor}.csv"},
            }
        )
    )
    assert days(await fetch(files)) == ["2024-01-02"]


async def test_a_relative_root_starts_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "AAPL.csv").write_text(HEADER + bar("2024-01-02"))
    monkeypatch.chdir(tmp_path)
    assert days(await fetch(provider(Path("data")))) == ["2024-01-02"]


async def test_gzip_and_zip_are_known_by_their_content(tmp_path: Path) -> None:
    text = (HEADER + bar("2024-01-02")).encode()
    (tmp_path / "A.csv").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "B.csv", "w") as archive:
        archive.writestr("folder/whatever.txt", text)
        archive.writestr("__MACOSX/._whatever.txt", b"\x00")
    files = provider(tmp_path, "A", "B")
    assert [days(await fetch(files, code=code)) for code in "AB"] == [["2024-01-02"]] * 2


async def test_members_of_a_zip_are_chosen_and_never_mixed_by_accident(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for code in ("AAPL", "MSFT"):
            archive.writestr(f"x/{code}_2.csv", HEADER + bar("2024-01-03", code))
            archive.writestr(f"x/{code}_1.csv", HEADER + bar("2024-01-02", code))
    fetched = await fetch(provider(tmp_path, path="all.zip", member="{symbol}_*.csv"))
    assert fetched.frame["close"].to_list() == ["AAPL", "AAPL"]
    with pytest.raises(PermanentVendorError, match=r"(?s)holds 4 files.*member"):
        await fetch(provider(tmp_path, path="all.zip"))
    with pytest.raises(UnknownSymbol, match=r"no archive of IBM has a member 'IBM_\*\.csv'"):
        await fetch(provider(tmp_path, "IBM", path="all.zip", member="{symbol}_*.csv"), code="IBM")


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
@pytest.mark.parametrize("kind", ["gzip", "zip"])
async def test_a_damaged_archive_is_an_error_and_no_partial_answer(tmp_path: Path, kind: str, damage: str) -> None:
    text = (HEADER + "".join(bar(f"2024-01-{day:02}", str(day * 7919)) for day in range(1, 32))).encode()
    if kind == "gzip":
        body = bytearray(gzip.compress(text))
    else:
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("AAPL.csv", text)
        body = bytearray((tmp_path / "x.zip").read_bytes())
    if damage == "flipped":
        body[len(body) // 3] ^= 0xFF
    (tmp_path / "AAPL.csv").write_bytes(
        body[:-60] if damage == "cut" else body if damage == "flipped" else body[:4] + b"x"
    )
    with pytest.raises(PermanentVendorError, match="damaged"):
        await fetch(provider(tmp_path))


async def test_a_wrong_encoding_is_an_error_that_says_where(tmp_path: Path) -> None:
    (tmp_path / "AAPL.csv").write_bytes((HEADER + bar("2024-01-02") + "# Börse\n").encode("cp1252"))
    with pytest.raises(PermanentVendorError, match=r"(?s)AAPL\.csv, line 3, byte \d+ is not utf-8.*encoding"):
        await fetch(provider(tmp_path))
    assert days(await fetch(provider(tmp_path, encoding="cp1252", comment="#"))) == ["2024-01-02"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
async def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "AAPL.csv").write_bytes((HEADER + bar("2024-01-02")).encode(encoding))
    options = {"encoding": "utf-16"} if encoding == "utf-16" else {}
    assert days(await fetch(provider(tmp_path, **options))) == ["2024-01-02"]


async def test_a_file_is_parsed_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "AAPL.csv"
    file.write_text(HEADER + bar("2024-01-02"))
    files = provider(tmp_path)
    first = await fetch(files)
    hidden = file.read_bytes()
    stat = file.stat()
    file.write_bytes(b"x" * len(hidden))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = await fetch(files)
    assert again.frame.equals(first.frame)
    assert again.response_hash == first.response_hash
    file.write_text(HEADER + bar("2024-01-03"))
    changed = await fetch(files)
    assert days(changed) == ["2024-01-03"]
    assert changed.response_hash != first.response_hash


# --- one file a day ----------------------------------------------------------------------------------------------------


def minutes(root: Path, *dates: str) -> CsvProvider:
    for date in dates:
        (root / f"{date}_AAPL.csv").write_text("ms,open,high,low,close,volume\n0,1,2,1,2,3\n86340000,1,2,1,2,3\n")
    return provider(
        root,
        source={"resolutions": ["1m"], "calendar": "XNYS"},
        path="{date}_{symbol}.csv",
        columns={"timestamp": "ms"},
        timestamp_format="ms_of_day",
        timezone="America/New_York",
    )


def session(day: str) -> Window:
    return Window.of(f"{day}T05:00:00Z", f"{(datetime.fromisoformat(day) + timedelta(days=1)):%Y-%m-%d}T05:00:00Z")


async def test_only_the_files_around_the_window_are_read(tmp_path: Path) -> None:
    files = minutes(tmp_path, "20240102", "20240103", "20240104", "20240105")
    fetched = await fetch(files, session("2024-01-02"), resolution="1m")
    assert [str(stamp) for stamp in fetched.frame["timestamp"]] == [
        "2024-01-02 05:00:00+00:00",
        "2024-01-03 04:59:00+00:00",
    ]
    assert fetched.calls == 2


async def test_a_session_without_its_file_is_not_an_empty_answer(tmp_path: Path) -> None:
    files = minutes(tmp_path, "20240102", "20240104")
    with pytest.raises(PermanentVendorError, match="no file for 1 sessions from 2024-01-03"):
        await fetch(files, session("2024-01-03"), resolution="1m")
    hour = Window.of("2024-01-03T15:00:00Z", "2024-01-03T16:00:00Z")
    with pytest.raises(PermanentVendorError, match="2024-01-03"):
        await fetch(files, hour, resolution="1m")


async def test_a_day_that_is_no_session_needs_no_file(tmp_path: Path) -> None:
    files = minutes(tmp_path, "20240105", "20240108")
    weekend = Window.of("2024-01-06T05:00:00Z", "2024-01-08T05:00:00Z")
    assert (await fetch(files, weekend, resolution="1m")).frame.is_empty()


@pytest.mark.parametrize("end", ["2024-01-03", "2024-01-04"])
async def test_a_window_that_starts_before_the_first_file_is_before_the_history(tmp_path: Path, end: str) -> None:
    files = minutes(tmp_path, "20240103")
    with pytest.raises(HistoryNotAvailable) as caught:
        await fetch(files, Window.of("2024-01-02T05:00:00Z", f"{end}T05:00:00Z"), resolution="1m")
    assert caught.value.first == datetime(2024, 1, 3, 5, tzinfo=UTC)


async def test_an_unreadable_file_of_one_day_is_refused_on_that_day_alone(tmp_path: Path) -> None:
    files = minutes(tmp_path, "20240102", "20240103", "20240104")
    (tmp_path / "20240103_AAPL.csv").write_text("ms,open,high,low,close,volume\n-,1,2,1,2,3\n")
    counts = [(await fetch(files, session(f"2024-01-0{day}"), resolution="1m")).frame.height for day in (2, 4)]
    assert counts == [2, 2]
    with pytest.raises(PermanentVendorError, match=r"1 of 1 lines of .*20240103_AAPL\.csv cannot be read as ms_of_day"):
        await fetch(files, session("2024-01-03"), resolution="1m")


async def test_an_archive_without_the_contract_says_no_rows_if_another_has_it(tmp_path: Path) -> None:
    for date, months in (("20131007", ("201312",)), ("20131008", ("201312", "201403"))):
        folder = tmp_path / "future/cme/minute/es"
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / f"{date}_trade.zip", "w") as archive:
            for month in months:
                archive.writestr(f"{date}_es_minute_trade_{month}.csv", "0,1,2,1,2,3")
    options = {"root": str(tmp_path), "preset": "lean", "lean_market": "future/cme"}
    source = {"name": "lean", "provider": "csv", "start": "2013-01-01", "asset_class": "future", "options": options}
    files = CsvProvider.from_settings(SourceSettings.model_validate({**source, "symbols": ["ESZ13", "ESH14", "ESM14"]}))
    first = Window.of("2013-10-07", "2013-10-08")
    counts = {
        code: (await files.fetch_bars(Symbol.future(code), first, Resolution.MINUTE)).frame.height
        for code in ("ESZ13", "ESH14")
    }
    assert counts == {"ESZ13": 1, "ESH14": 0}
    with pytest.raises(UnknownSymbol, match="201406"):
        await files.fetch_bars(Symbol.future("ESM14"), first, Resolution.MINUTE)


# --- settings that cannot work ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"pathh": "x"}, "pathh"),
        ({"path": "{ticket}.csv"}, "ticket"),
        ({"path": "{date}/**/{symbol}.csv"}, "cannot follow"),
        ({"timezone": "New York"}, "IANA"),
        ({"price_scale": 32}, "power of ten"),
        ({"delimiter": "||"}, "one character"),
        ({"encoding": "utf-99"}, "utf-99"),
        ({"columns": {"timestamp": 0, "time": 1}}, "not both"),
        ({"columns": {"adj_close": 5}}, "adj_close"),
        ({"preset": "lean"}, "lean_market"),
        ({"quote_side": "bid"}, "preset lean"),
        ({"preset": "lean", "lean_market": "crypto-coinbase"}, "crypto-coinbase"),
        ({"path": None}, "path is missing"),
    ],
)
def test_an_unusable_option_is_named(tmp_path: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        provider(tmp_path, **options)


def test_symbols_that_would_share_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 symbols in one path"):
        provider(tmp_path, "AAPL", "MSFT", path="all.csv")


def test_resolutions_that_would_share_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 resolutions in one path"):
        provider(tmp_path, source={"resolutions": ["1m", "1d"]})
    provider(tmp_path, source={"resolutions": ["1m", "1d"]}, path="{symbol}_{resolution}.csv")


async def test_a_futures_placeholder_needs_a_future(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="futures contract"):
        await fetch(provider(tmp_path, path="{underlying}_{expiry}.csv"))


def test_large_files_parse_by_columns(tmp_path: Path) -> None:
    def work(count: int) -> int:
        stamps = pl.datetime_range(datetime(2020, 1, 1), interval="1m", eager=True, end=datetime(2021, 1, 1))[:count]
        frame = pl.DataFrame({"timestamp": stamps}).with_columns(
            **{name: pl.lit("123.4500") for name in ("open", "high", "low", "close")}, volume=pl.lit("7")
        )
        frame.write_csv(tmp_path / "AAPL.csv", datetime_format="%Y-%m-%d %H:%M:%S")
        files = provider(tmp_path, source={"resolutions": ["1m"]}, timezone="America/New_York")
        with counted_work() as done:
            fetched = asyncio.run(fetch(files, resolution="1m"))
        assert fetched.frame.height == count
        return done.calls

    work(1000)  # imports
    few, many = work(1000), work(200_000)
    # Some more for every few megabytes, and none for a line.
    assert 0 < few <= many < few + 10_000


def test_files_are_found_beside_gb_yaml_from_wherever_a_command_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "files").mkdir(parents=True)
    elsewhere.mkdir()
    (project / "files" / "A.csv").write_text(
        "date,open,high,low,close,volume\n2024-01-02,1,2,1,2,7\n", encoding="utf-8"
    )
    for options in ("{path: 'files/{symbol}.csv'}", "{path: '{symbol}.csv', root: files}"):
        (project / "gb.yaml").write_text(
            f"sources: {{mine: {{provider: csv, options: {options}, start: 2024-01-02, symbols: [A], resolutions: [1d]}}}}",
            encoding="utf-8",
        )
        for folder in (project, elsewhere):
            monkeypatch.chdir(folder)
            source = Settings.load(project).source("mine")
            day = Window.of("2024-01-02", "2024-01-03")
            fetched = asyncio.run(
                CsvProvider.from_settings(source).fetch_bars(source.instruments[0], day, Resolution.DAY)
            )
            assert fetched.frame.height == 1
