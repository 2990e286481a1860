"""`gb compare`: sessions that two sources have otherwise, and intraday bars that do not add up to the daily one."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline_tests.bars import changed, day, minutes
from gb_pipeline_tests.cli.console import Gb

DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two sources of one symbol that differ on the last of three days, and daily bars of one day with another volume."""
    opened = Lake.open(tmp_path / "data", create=True)
    for text in DAYS:
        frame = minutes(text, 24, symbol="BTC-USD", step=3600)
        opened.write_bars("one", "BTC-USD", "1h", day(text), frame)
        other = changed(frame, 23, close="90", low="90") if text == DAYS[-1] else frame
        opened.write_bars("two", "BTC-USD", "1h", day(text), other)
    rolled = opened.bars("BTC-USD", "1h", source="one", resample="1d").head(1)
    daily = rolled.select(pl.col("timestamp"), *(pl.col(name) for name in ("open", "high", "low", "close", "volume")))
    daily = daily.with_columns(pl.col("volume") * 2).cast({pl.Decimal: pl.String})
    opened.write_bars("one", "BTC-USD", "1d", day(DAYS[0]), daily)
    return tmp_path / "data"


def test_each_session_that_differs_is_a_line_and_the_command_ends_with_one(gb: Gb, lake: Path) -> None:
    told = gb("compare", "one", "two", "--lake", lake)
    assert told.code == 1
    [line] = [line.split() for line in told.out.splitlines() if "2024" in line]
    assert line[:4] == ["two", "1h", "BTC-USD", DAYS[-1]]
    assert all(share.startswith("-") and share.endswith("%") for share in line[4:]) and len(line) == 6
    assert told.err == (
        "one 1h and two 1h: 3 sessions of 1 series compared, 1 differs (prices by 0.10%, volume by 5.00%)\n"
    )
    assert gb("compare", "one", "two", "--prices", "0.9", "--lake", lake).code == 0
    rows = gb("compare", "one:BTC-USD", "two", "--start", DAYS[1], "--lake", lake, "--json").json
    assert [(row["session"], row["agrees"], row["other"]) for row in rows] == [
        (DAYS[1], True, "two"),
        (DAYS[2], False, "two"),
    ]


def test_a_source_alone_is_compared_with_all_others_and_with_its_own_daily_bars(gb: Gb, lake: Path) -> None:
    told = gb("compare", "one", "--lake", lake)
    assert told.code == 1
    assert [line.split(":")[0] for line in told.err.splitlines()] == ["one 1h and one 1d", "one 1h and two 1h"]
    [line] = [line.split() for line in told.out.splitlines() if " 1d " in line]
    assert line == ["one", "1d", "BTC-USD", DAYS[0], "+100.00%"]
    assert gb("compare", "one", "one", "--volume", "1", "--lake", lake).code == 0


def test_what_cannot_be_compared_is_said(gb: Gb, lake: Path) -> None:
    told = gb("compare", "two", "two", "--lake", lake)
    assert told.code == 1 and "two has no intraday bars beside daily ones of the same symbol" in told.err
    assert gb("compare", "nobody", "--lake", lake).code == 1
    told = gb("compare", "*:BTC-USD", "--lake", lake)
    assert (told.code, "means series of 2 sources (one, two)" in told.err) == (2, True)
    assert gb("compare", "one", "two", "--start", "2030-01-01", "--lake", lake).err == (
        "one 1h and two 1h have no session in common there\n"
    )
