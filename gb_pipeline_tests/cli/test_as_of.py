"""`--as-of`: what was known at a moment, in every command that shows what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.cli.console import Gb

DAY = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC)
NEXT = datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC)
BEFORE, FIRST, SECOND = "2024-01-04", "2024-01-05T12:00Z", "2024-01-07"


def bars(start: datetime, price: str, hours: int = 24) -> pl.DataFrame:
    opens = [start + timedelta(hours=hour) for hour in range(hours)]
    prices = dict.fromkeys(("open", "high", "low", "close"), [price] * hours)
    kinds = {"timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame({"timestamp": opens, **prices, "volume": ["1"] * hours}, schema_overrides=kinds)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the 5th a day without its last hour became known; on the 6th it was restated as a whole, and the next day came."""
    root = tmp_path_factory.mktemp("as-of")
    now = datetime(2024, 1, 5, tzinfo=UTC)
    store = LakeStore.at(root, clock=lambda: now)
    store.write_bars("sim", "BTC-USD", "1h", DAY, bars(DAY[0], "10", 23))
    now = datetime(2024, 1, 6, tzinfo=UTC)
    store.write_bars("sim", "BTC-USD", "1h", DAY, bars(DAY[0], "11"))
    store.write_bars("sim", "BTC-USD", "1h", NEXT, bars(NEXT[0], "12"))
    return root


def closes(gb: Gb, lake: Path, *more: str) -> set[str]:
    return {row["close"] for row in gb("show", "sim:BTC-USD", "--json", "--lake", lake, *more).json}


def test_show_prints_what_was_known(gb: Gb, lake: Path) -> None:
    assert closes(gb, lake) == closes(gb, lake, "--as-of", SECOND) == {"11", "12"}
    assert closes(gb, lake, "--as-of", FIRST) == {"10"}
    told = gb("show", "sim:BTC-USD", "--as-of", FIRST, "--lake", lake)
    assert told.err.startswith("23 bars, as known at 2024-01-05 12:00 UTC")


def test_what_was_not_known_yet_is_said_to_be_so(gb: Gb, lake: Path) -> None:
    told = gb("show", "sim:BTC-USD", "--as-of", BEFORE, "--lake", lake)
    assert (told.code, told.out) == (1, "")
    assert "nothing of sim:BTC-USD was known at 2024-01-04 00:00 UTC" in told.err
    assert "nothing was known then" in gb("status", "--as-of", BEFORE, "--lake", lake).err


def test_gaps_are_those_that_were_known(gb: Gb, lake: Path) -> None:
    [gap] = gb("gaps", "sim:BTC-USD", "--as-of", FIRST, "--json", "--lake", lake).json
    assert (gap["start"], gap["missing"]) == ("2024-01-02T23:00:00Z", 1)
    assert gb("gaps", "sim:BTC-USD", "--json", "--lake", lake).json == []
    assert "nothing was known to be missing then" in gb("gaps", "--as-of", SECOND, "--lake", lake).err


def test_status_counts_what_was_known(gb: Gb, lake: Path) -> None:
    [then] = gb("status", "--as-of", FIRST, "--json", "--lake", lake).json
    assert (then["expected"], then["actual"], then["missing"], then["last"]) == (24, 23, 1, "2024-01-02T22:00:00Z")
    [now] = gb("status", "--json", "--lake", lake).json
    assert (now["expected"], now["actual"], now["missing"], now["last"]) == (48, 48, 0, "2024-01-03T23:00:00Z")


def test_sql_sees_tables_as_they_were_known_and_names_every_version(gb: Gb, lake: Path) -> None:
    query = "select count(*) as bars, max(close) as highest from bars_1h"
    assert gb("sql", query, "--as-of", FIRST, "--json", "--lake", lake).json == [{"bars": 23, "highest": "10"}]
    assert gb("sql", query, "--json", "--lake", lake).json == [{"bars": 48, "highest": "12"}]
    macro = query.replace("bars_1h", "bars_1h_as_of(timestamptz '2024-01-05 12:00Z')")
    assert gb("sql", macro, "--json", "--lake", lake).json == [{"bars": 23, "highest": "10"}]
    versions = "select count(*) as versions from bars_1h_history"
    assert gb("sql", versions, "--json", "--lake", lake).json == [{"versions": 48 + 23}]


def test_explain_shows_the_version_that_held(gb: Gb, lake: Path) -> None:
    asked = ("explain", "sim:BTC-USD", "2024-01-02T10:00Z", "--json", "--lake", lake)
    assert gb(*asked, "--as-of", FIRST).json["bar"]["close"] == "10"
    assert gb(*asked).json["bar"]["close"] == "11"
    files = {gb(*asked, *more).json["place"]["file"] for more in ((), ("--as-of", FIRST))}
    assert len(files) == 2


@pytest.mark.parametrize("command", [("show", "sim:BTC-USD"), ("gaps",), ("status",), ("sql", "select 1")])
@pytest.mark.parametrize("moment", ["soon", "2024-01-05T12:00"])
def test_a_moment_that_is_none_ends_with_two(gb: Gb, lake: Path, command: tuple[str, ...], moment: str) -> None:
    told = gb(*command, "--as-of", moment, "--lake", lake)
    assert (told.code, told.out) == (2, "")
    assert len(told.err.splitlines()) == 2
