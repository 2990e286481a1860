"""`gb compact` and `gb vacuum`: many files become few that say the same, and what nobody needs is removed when it is asked for."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.cli.lakes import data, entries, files, flip

FIRST = date(2024, 1, 2)


def hours(day: date) -> pl.DataFrame:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    opens = [start + timedelta(hours=hour) for hour in range(24)]
    prices = dict.fromkeys(("open", "high", "low", "close"), ["10"] * 24)
    kinds = {"timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame({"timestamp": opens, **prices, "volume": ["1"] * 24}, schema_overrides=kinds)


def write(lake: Path, resolution: str, symbol: str, start: date, count: int) -> None:
    """So many days, one commit each."""
    store = LakeStore.at(lake)
    kind = Resolution.parse(resolution)
    for number in range(count):
        day = start + timedelta(days=number)
        frame = hours(day) if kind.intraday else hours(day).head(1)
        window = Window.of(day, day + timedelta(days=1))
        store.write_bars("sim", symbol, kind, window, frame, rules=BarRules(resolution=kind))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Months that are over in three files each, days of two symbols in one table, and four failures in the ledger."""
    write(tmp_path, "1h", "BTC-USD", FIRST, 3)
    write(tmp_path, "1h", "ETH-USD", FIRST, 3)
    write(tmp_path, "1d", "BTC-USD", FIRST, 2)
    write(tmp_path, "1d", "SOL-USD", FIRST, 1)
    store, rules = LakeStore.at(tmp_path), BarRules(resolution=Resolution.MINUTE)
    for day in range(4):
        start = FIRST + timedelta(days=day)
        store.record_failure("sim", ["ADA-USD"], Window.of(start, start + timedelta(days=1)), rules=rules)
    return tmp_path


def everything(lake: Path) -> list[pl.DataFrame]:
    opened = Lake.open(lake)
    bars = [opened.bars(None, length, source="sim") for length in ("1h", "1d")]
    return [*bars, opened.coverage(), opened.gaps()]


def test_closed_periods_are_merged_for_good_and_everything_says_the_same(gb: Gb, lake: Path) -> None:
    before = everything(lake)

    told = gb("compact", "--json", "--lake", lake)

    assert told.code == 0
    merged = {row["of"]: row for row in told.json["partitions"] if row["table"].startswith("bars_")}
    assert set(merged) == {"sim BTC-USD 2024-01", "sim ETH-USD 2024-01", "sim 2024"}
    assert all((row["files_before"], row["files_after"]) == (3, 1) for row in merged.values())
    assert all(row["bytes_after"] > 0 for row in merged.values())
    assert {row["table"] for row in told.json["partitions"]} == {"bars_1h", "bars_1d", "sessions"}
    assert max(files(lake).values()) == 1
    for then, now in zip(before, everything(lake), strict=True):
        assert now.equals(then)
    assert not catalog_is_stale(LakeStore.at(lake))


def test_compacting_again_finds_nothing(gb: Gb, lake: Path) -> None:
    gb("compact", "--lake", lake)
    told = gb("compact", "--lake", lake)
    assert (told.code, told.out, told.err) == (0, "", "no partition has many small files\n")
    assert gb("compact", "--json", "--lake", lake).json == {"dry_run": False, "partitions": []}


def test_a_person_reads_files_and_bytes_before_and_after(gb: Gb, lake: Path) -> None:
    told = gb("compact", "--lake", lake)
    for words in ("bars_1h", "sim BTC-USD 2024-01", "files after", "size after"):
        assert words in told.out
    assert " files became " in told.err
    assert "gb vacuum" in told.err


def test_a_dry_run_says_what_would_be_merged_and_changes_nothing(gb: Gb, lake: Path) -> None:
    gb("sql", "select 1", "--lake", lake)
    before = {path: path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()}

    told = gb("compact", "--dry-run", "--lake", lake)

    assert told.code == 0
    assert "sim BTC-USD 2024-01" in told.out
    assert "nothing was changed" in told.err
    assert {path: path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()} == before


def test_of_one_series_only_files_that_hold_it_are_merged(gb: Gb, lake: Path) -> None:
    rows = gb("compact", "sim:ETH-USD", "--dry-run", "--json", "--lake", lake).json["partitions"]
    assert [(row["table"], row["of"]) for row in rows] == [("bars_1h", "sim ETH-USD 2024-01")]
    rows = gb("compact", "sim:SOL-USD", "--dry-run", "--json", "--lake", lake).json["partitions"]
    assert [(row["table"], row["of"]) for row in rows] == [("bars_1d", "sim 2024")]
    assert gb("compact", "sim:ADA-USD", "--dry-run", "--json", "--lake", lake).json["partitions"] == []
    unknown = gb("compact", "sim:NO-USD", "--lake", lake)
    assert (unknown.code, "NO-USD" in unknown.err) == (1, True)


def test_the_period_in_progress_is_merged_when_it_has_many_files_or_everything_is_asked_for(
    gb: Gb, tmp_path: Path
) -> None:
    # Two years from now, so that its month is in progress whenever this runs.
    at = datetime.now(UTC) + timedelta(days=700)
    store = LakeStore.at(tmp_path)
    for number in range(2):
        store.record_fetches([FetchRecord("sim", f"S{number}", "1m", at, at, at, FetchOutcome.EMPTY)])
    assert gb("compact", "--json", "--lake", tmp_path).json["partitions"] == []

    [row] = gb("compact", "--all", "--json", "--lake", tmp_path).json["partitions"]

    assert (row["table"], row["of"]) == ("fetches", f"sim {at:%Y-%m}")
    assert (row["files_before"], row["files_after"]) == (2, 1)


def test_what_is_damaged_is_left_and_named_and_the_rest_is_merged(gb: Gb, lake: Path) -> None:
    broken = data(lake, "bars_1h", "ETH-USD")[0]
    flip(broken)

    told = gb("compact", "--json", "--lake", lake)

    assert told.code == 1
    assert broken.name in told.err
    assert "gb verify sim:ETH-USD --repair" in told.err
    rows = {row["of"]: row for row in told.json["partitions"]}
    assert rows["sim BTC-USD 2024-01"]["files_after"] == 1
    assert rows["sim ETH-USD 2024-01"]["files_after"] is None
    assert broken.name in rows["sim ETH-USD 2024-01"]["error"]
    assert files(lake)["bars_1h sim ETH-USD 2024-01"] == 3


def test_a_table_with_a_damaged_log_is_named_and_the_others_are_merged(gb: Gb, lake: Path) -> None:
    entries(lake, "bars_1d")[-1].write_text("{", encoding="utf-8")

    told = gb("compact", "--json", "--lake", lake)

    assert told.code == 1
    assert "table bars_1d: entry" in told.err
    assert "gb verify --repair" in told.err
    assert {row["table"] for row in told.json["partitions"]} == {"bars_1h", "sessions"}


# --- vacuum -----------------------------------------------------------------------------------------------------------


def orphan(lake: Path, days: float) -> Path:
    """A file that a killed writer left behind so long ago."""
    path = data(lake, "bars_1h")[0].with_name("left-behind.parquet")
    path.write_bytes(b"x" * 1000)
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_a_dry_run_is_the_default_and_counts_files_and_bytes_by_table(gb: Gb, lake: Path) -> None:
    left = orphan(lake, 8)
    told = gb("vacuum", "--json", "--lake", lake)
    [row] = [row for row in told.json["tables"] if row["files"]]
    assert (row["table"], row["files"], row["bytes"], row["deleted"]) == ("bars_1h", 1, 1000, False)
    assert row["names"] == [str(left.relative_to(lake))]
    person = gb("vacuum", "--lake", lake)
    assert "bars_1h" in person.out
    assert "1 file, 1.0 kB would be deleted; use --delete to delete them" in person.err
    assert left.exists()


def test_with_delete_they_are_gone_and_nothing_else_is(gb: Gb, lake: Path) -> None:
    left, before = orphan(lake, 8), everything(lake)
    told = gb("vacuum", "--delete", "--lake", lake)
    assert told.code == 0
    assert "1 file, 1.0 kB deleted" in told.err
    assert not left.exists()
    for then, now in zip(before, everything(lake), strict=True):
        assert now.equals(then)
    assert "every file is still needed" in gb("vacuum", "--delete", "--lake", lake).err


def test_what_was_replaced_just_now_stays_for_the_retention(gb: Gb, lake: Path) -> None:
    old = set(data(lake, "bars_1h"))
    gb("compact", "--lake", lake)
    for path in old:
        then = time.time() - 30 * 86_400
        os.utime(path, (then, then))
    assert not any(
        row["files"] for row in gb("vacuum", "--retention", "1h", "--delete", "--json", "--lake", lake).json["tables"]
    )
    assert old <= set(data(lake, "bars_1h"))
    told = gb("vacuum", "--delete", "--lake", lake)
    assert "stay: they were replaced less than 7d ago" in told.err
    assert "still needed" not in told.err


def test_a_retention_is_a_number_of_hours_days_or_weeks(gb: Gb, lake: Path) -> None:
    orphan(lake, 8)
    counts = {
        text: sum(row["files"] for row in gb("vacuum", "--retention", text, "--json", "--lake", lake).json["tables"])
        for text in ("7d", "9d", "24h", "1w", "2w")
    }
    assert counts == {"7d": 1, "9d": 0, "24h": 1, "1w": 1, "2w": 0}
    for text in ("soon", "7", "-1d", "1.5d", "0h", "30m"):
        told = gb("vacuum", "--retention", text, "--lake", lake)
        assert (told.code, told.out) == (2, ""), text
        assert len(told.err.splitlines()) == 2, text


def test_a_plain_client_can_read_the_catalogs_views_after_a_vacuum(gb: Gb, lake: Path) -> None:
    gb("sql", "select 1", "--lake", lake)
    write(lake, "1h", "BTC-USD", FIRST + timedelta(days=3), 1)
    assert gb("vacuum", "--delete", "--lake", lake).code == 0
    assert not catalog_is_stale(LakeStore.at(lake))
    with duckdb.connect(str(lake / "catalog.duckdb"), read_only=True) as client:
        assert client.execute("select count(*) from bars_1h").fetchone() == (7 * 24,)
