"""Compaction changes files, never rows, and gives way to writers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.lake import compaction
from gb_pipeline.lake.specs import ROW_GROUP_ROWS
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline_tests.bars import at, minutes

START = at("2024-01-01T00:00")


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    made = LakeStore.at(tmp_path)
    for number in range(8):
        write_day(made, number)
    return made


def write_day(store: LakeStore, number: int, edition: str = "") -> None:
    start = START + timedelta(days=number)
    frame = minutes(start.replace(tzinfo=None).isoformat()).with_columns(pl.format("{}{}", "volume", pl.lit(edition)))
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, Window(start, start + timedelta(days=1)), frame)


def rows(store: LakeStore) -> pl.DataFrame:
    return pl.read_delta(store.storage.table("bars_1m")).sort("timestamp")


def test_small_files_are_found_in_the_log(store: LakeStore) -> None:
    (found,) = store.compaction_candidates()
    assert (found.table, found.source, found.symbol, found.period) == ("bars_1m", "sim", "BTC-USD", "2024")
    assert (found.files, found.rows) == (8, 8 * 1440)
    assert store.compaction_candidates(min_files=9) == []


def test_one_file_holds_exactly_the_same_rows_afterwards(store: LakeStore) -> None:
    before = rows(store)
    report = store.compact("bars_1m", "sim", "BTC-USD", "2024")
    assert rows(store).equals(before)
    assert (report.partition.files, report.files_after) == (8, 1)
    assert report.bytes_after < report.partition.bytes
    assert store.compaction_candidates(min_files=2) == []


def test_the_new_file_is_written_like_the_others(store: LakeStore) -> None:
    store.compact("bars_1m", "sim", "BTC-USD", "2024")
    (path,) = Path(store.storage.table("bars_1m")).rglob("compacted-*.parquet")
    columns = duckdb.sql(f"select * from parquet_metadata('{path}')").pl()
    assert set(columns["compression"]) == {"ZSTD"}
    price = columns.filter(pl.col("path_in_schema") == "open")
    assert price["type"].unique().to_list() == ["INT64"]
    assert "DELTA_BINARY_PACKED" in price["encodings"][0]
    assert columns["row_group_num_rows"].max() <= ROW_GROUP_ROWS


def test_compacting_twice_does_nothing(store: LakeStore) -> None:
    first = store.compact("bars_1m", "sim", "BTC-USD", "2024")
    again = store.compact("bars_1m", "sim", "BTC-USD", "2024")
    assert (again.version, again.fingerprint) == (None, first.fingerprint)


def test_a_reader_that_opened_before_reads_on(store: LakeStore) -> None:
    lazy = pl.scan_delta(store.storage.table("bars_1m"))
    store.compact("bars_1m", "sim", "BTC-USD", "2024")
    assert lazy.collect().height == 8 * 1440


def test_a_window_can_be_restated_after_compaction(store: LakeStore) -> None:
    store.compact("bars_1m", "sim", "BTC-USD", "2024")
    write_day(store, 3, edition="5")
    after = rows(store)
    assert after.height == 8 * 1440
    assert after["timestamp"].is_unique().all()
    assert after["known_at"].n_unique() > 1


def test_whoever_changes_the_partition_meanwhile_wins(store: LakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = LakeStore.at(store.storage.root)
    prove = compaction._prove

    def prove_while_somebody_writes(*arguments: object) -> None:
        prove(*arguments)  # type: ignore[arg-type]
        write_day(other, 3, edition="7")

    monkeypatch.setattr(compaction, "_prove", prove_while_somebody_writes)
    with pytest.raises(LakeError, match="changed while it was compacted"):
        store.compact("bars_1m", "sim", "BTC-USD", "2024")
    assert rows(store).height == 8 * 1440
    assert not list(Path(store.storage.table("bars_1m")).rglob("compacted-*.parquet"))


def test_a_day_that_arrives_meanwhile_is_kept(store: LakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    other = LakeStore.at(store.storage.root)
    prove = compaction._prove

    def prove_while_a_day_arrives(*arguments: object) -> None:
        prove(*arguments)  # type: ignore[arg-type]
        write_day(other, 20)

    monkeypatch.setattr(compaction, "_prove", prove_while_a_day_arrives)
    store.compact("bars_1m", "sim", "BTC-USD", "2024")
    after = rows(store)
    assert (after.height, after["timestamp"].is_unique().all()) == (9 * 1440, True)


def test_a_file_that_reads_back_differently_is_refused(store: LakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file = compaction._write

    def write_something_else(tables: object, spec: object, found: pl.DataFrame, partition: object) -> object:
        lossy = found.with_columns(
            volume=pl.when(pl.int_range(pl.len()) == 77).then(pl.col("open")).otherwise("volume")
        )
        return write_file(tables, spec, lossy, partition)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_write", write_something_else)
    before = rows(store)
    with pytest.raises(CompactionRefused, match="differs"):
        store.compact("bars_1m", "sim", "BTC-USD", "2024")
    assert rows(store).equals(before)
    assert not list(Path(store.storage.table("bars_1m")).rglob("compacted-*.parquet"))


def test_a_crash_before_the_commit_leaves_the_table_as_it_was(
    store: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(store)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compaction, "_prove", die)
    with pytest.raises(KeyboardInterrupt):
        store.compact("bars_1m", "sim", "BTC-USD", "2024")
    assert rows(store).equals(before)


def test_daily_bars_of_many_symbols_are_compacted_together(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for number in range(5):
        start = START + timedelta(days=number)
        frame = pl.concat([minutes(start.replace(tzinfo=None).isoformat(), 1, symbol=code) for code in ("A", "B")])
        window = Window(start, start + timedelta(days=1))
        store.write_bars("sim", ["A", "B"], Resolution.DAY, window, frame, rules=BarRules(Resolution.DAY))
    before = pl.read_delta(store.storage.table("bars_1d")).sort("symbol", "timestamp")
    report = store.compact("bars_1d", "sim", None, "2024")
    assert (report.partition.files, report.files_after) == (5, 1)
    assert pl.read_delta(store.storage.table("bars_1d")).equals(before)


def test_what_is_not_there_cannot_be_compacted(store: LakeStore) -> None:
    with pytest.raises(LakeError, match="nothing is stored"):
        store.compact("bars_1m", "sim", "ETH-USD", "2024")
    with pytest.raises(LakeError, match="no table bars_1h"):
        store.compact("bars_1h", "sim", "BTC-USD", "2024")


def test_bars_stored_twice_are_reported_not_merged(store: LakeStore) -> None:
    twice = rows(store).head(10)
    store.tables.append(compaction.spec_of("bars_1m"), twice)
    with pytest.raises(CompactionRefused, match="stored twice"):
        store.compact("bars_1m", "sim", "BTC-USD", "2024")
