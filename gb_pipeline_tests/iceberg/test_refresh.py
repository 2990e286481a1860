"""Engines that speak only Iceberg read the bars of now, digit by digit, over the lake's own files."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline.iceberg import manifests, versions
from gb_pipeline.iceberg import refresh as refresh_module
from gb_pipeline.iceberg.care import refresh_and_clean
from gb_pipeline.iceberg.place import Place
from gb_pipeline.iceberg.refresh import IcebergReport, refresh_iceberg
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage.commit import wall_clock
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.iceberg.engines import (
    COLUMNS,
    KEY,
    WITH_EXTENSION,
    by_duckdb,
    by_duckdb_extension,
    by_lake,
    by_polars,
    by_pyiceberg,
    data_files,
    table,
)

SYMBOLS = ["AAPL", "MSFT", "SPY"]


@pytest.fixture(autouse=True)
def planner(monkeypatch: pytest.MonkeyPatch) -> None:
    # Polars otherwise says that another package would plan faster.
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path / "a lake")


def write(
    store: LakeStore, date: str, volume: str = "1", *, rows: int = 40, symbol: str = "BTC-USD", wide: bool = False
) -> None:
    frame = minutes(date, rows, symbol=symbol).with_columns(volume=pl.lit(volume))
    rules = BarRules(resolution=Resolution.MINUTE, precision=Precision.WIDE if wide else Precision.STANDARD)
    store.write_bars("sim", symbol, "1m", day(date), frame, rules=rules)


def write_days(store: LakeStore, first: str, count: int, volume: str = "5") -> None:
    """Bars of days of several symbols, which share files."""
    frames = [minutes(first, count, symbol=code, step=86_400).with_columns(volume=pl.lit(volume)) for code in SYMBOLS]
    store.write_bars("sim", SYMBOLS, "1d", day(first, count), pl.concat(frames))


def refresh(store: LakeStore) -> dict[str, IcebergReport]:
    return {report.table: report for report in refresh_iceberg(LakeStore(store.storage))}


def assert_equal(store: LakeStore, name: str, resolution: str) -> None:
    """Every engine reads what the lake reads."""
    expected = by_lake(store, resolution)
    for read in (by_pyiceberg, by_polars, by_duckdb):
        found = read(store, name)
        assert found.schema == expected.schema, read.__name__
        assert found.equals(expected), read.__name__
    report = refresh(store)[name]
    assert report.rows - report.hidden == expected.height


def test_bars_are_the_same_after_everything_that_happens_to_them(store: LakeStore) -> None:
    write(store, "2024-01-02")
    write(store, "2024-02-01", symbol="ETH-USD")
    assert refresh(store)["bars_1m"].added == 2
    assert_equal(store, "bars_1m", "1m")

    write(store, "2024-01-03")
    write(store, "2024-01-02", "2")  # a restatement
    refresh(store)
    assert_equal(store, "bars_1m", "1m")

    write(store, "2024-01-03", rows=30)  # ten bars are withdrawn
    refresh(store)
    assert_equal(store, "bars_1m", "1m")
    assert by_pyiceberg(store, "bars_1m")["withdrawn"].sum() == 10

    for partition in store.compaction_candidates(min_files=2):
        store.compact(partition)
    report = refresh(store)["bars_1m"]
    assert report.removed > report.added > 0
    assert_equal(store, "bars_1m", "1m")

    later = wall_clock() + timedelta(days=30)
    refresh_and_clean(store, now=later)
    assert sum(item.files for item in store.vacuum(dry_run=False, now=later)) > 0
    assert_equal(store, "bars_1m", "1m")


def test_days_of_many_symbols_share_files(store: LakeStore) -> None:
    write_days(store, "2023-12-01", 60)
    write_days(store, "2024-01-10", 5, "6")
    report = refresh(store)["bars_1d"]
    assert (report.rows, report.files) == (3 * 60, 2)
    assert_equal(store, "bars_1d", "1d")
    some = table(store, "bars_1d").scan(row_filter="symbol == 'MSFT' and timestamp >= '2024-01-12T00:00:00+00:00'")
    assert len(list(some.plan_files())) == 1
    assert some.to_arrow().num_rows == 18


def test_wide_prices_keep_all_their_digits(store: LakeStore) -> None:
    write(store, "2024-01-02", "1.000000000000000001", wide=True)
    refresh(store)
    assert_equal(store, "bars_1m_wide", "1m")
    assert str(by_pyiceberg(store, "bars_1m_wide")["volume"][0]) == "1.000000000000000001"


def test_bars_that_a_wide_one_took_the_place_of_do_not_count(store: LakeStore) -> None:
    write(store, "2024-01-02")
    write(store, "2024-01-03")
    write(store, "2024-01-03", symbol="ETH-USD")
    refresh(store)
    write(store, "2024-01-03", "1.000000000000000001", rows=25, wide=True)
    report = refresh(store)["bars_1m"]
    hidden = report.hidden
    assert hidden >= 25
    for again in (False, True):
        wide, expected = by_pyiceberg(store, "bars_1m_wide"), by_lake(store, "1m")
        for read in (by_pyiceberg, by_polars, by_duckdb):
            both = pl.concat([wide, read(store, "bars_1m").cast(dict(wide.schema))]).sort(KEY)
            assert both.equals(expected), read.__name__
        if not again:
            write(store, "2024-01-02", "1.000000000000000002", wide=True)
            # Of the files of deletes, the one that is still right stays as it is.
            assert refresh(store)["bars_1m"].hidden > hidden
    names = [
        entry["file_path"].rsplit("/", 1)[-1] for entry in table(store, "bars_1m").inspect.delete_files().to_pylist()
    ]
    assert len(set(names)) == len(names)
    refresh_and_clean(store, now=wall_clock() + timedelta(days=30))
    assert {file.name for file in Path(str(store.storage.root)).rglob("*-deletes.parquet")} == set(names)
    assert by_pyiceberg(store, "bars_1m").height == expected.height - by_pyiceberg(store, "bars_1m_wide").height


def test_no_data_file_is_copied(store: LakeStore) -> None:
    write(store, "2024-01-02", rows=1440)
    write_days(store, "2024-01-01", 30)
    before = data_files(store)
    refresh(store)
    assert data_files(store) == before


def test_nothing_new_makes_no_snapshot(store: LakeStore) -> None:
    write(store, "2024-01-02")
    first = refresh(store)["bars_1m"]
    write_days(store, "2024-01-01", 3)
    second = refresh(store)["bars_1m"]
    assert (first.metadata, first.added) == (second.metadata, 1)
    assert second.added == second.removed == 0


def test_a_snapshot_says_which_version_it_mirrors_and_what_is_in_it(store: LakeStore) -> None:
    write(store, "2024-01-02")
    write(store, "2024-02-02")
    refresh(store)
    write(store, "2024-02-02", "2")
    report = refresh(store)["bars_1m"]
    first, second = table(store, "bars_1m").metadata.snapshots
    assert (first.summary.operation.value, second.summary.operation.value) == ("append", "overwrite")
    said = second.summary.additional_properties
    delta = store.tables.newest("bars_1m")
    assert (said["gb-pipeline.delta-version"], said["gb-pipeline.delta-table-id"]) == (
        str(delta.version),
        delta.table_id,
    )
    assert {name: said[name] for name in ("added-data-files", "deleted-data-files", "total-data-files")} == {
        "added-data-files": "1", "deleted-data-files": "1", "total-data-files": "2"
    }  # fmt: skip
    assert said["total-records"] == str(report.rows) == "80"
    # Engines that read from snapshot to snapshot see what came.
    assert second.parent_snapshot_id == first.snapshot_id


def test_engines_skip_files_by_partition_and_by_what_is_in_them(store: LakeStore) -> None:
    for date in ("2024-01-02", "2024-02-02", "2024-03-02"):
        write(store, date)
        write(store, date, symbol="ETH-USD")
    refresh(store)

    def planned(row_filter: str) -> int:
        return len(list(table(store, "bars_1m").scan(row_filter=row_filter).plan_files()))

    assert planned("source == 'sim'") == 6
    assert planned("symbol == 'ETH-USD'") == 3
    assert planned("symbol == 'ETH-USD' and timestamp >= '2024-03-01T00:00:00+00:00'") == 1
    # Within the month, by the smallest and largest timestamp.
    assert planned("timestamp >= '2024-03-02T12:00:00+00:00'") == 0
    assert planned("known_at < '2020-01-01T00:00:00+00:00'") == 0


def test_a_lake_that_was_moved_gets_a_new_table(store: LakeStore, tmp_path: Path) -> None:
    write(store, "2024-01-02")
    refresh(store)
    (tmp_path / "a lake").rename(tmp_path / "moved")
    moved = LakeStore.at(tmp_path / "moved")
    report = refresh(moved)["bars_1m"]
    assert (report.added, report.metadata) == (1, f"file://{tmp_path}/moved/iceberg/bars_1m/metadata/v2.metadata.json")
    assert_equal(moved, "bars_1m", "1m")
    assert str(tmp_path / "a lake") not in table(moved, "bars_1m").metadata.model_dump_json()


def test_a_vacuum_leaves_no_snapshot_of_files_that_are_gone(store: LakeStore) -> None:
    write(store, "2024-01-02")
    refresh(store)
    write(store, "2024-01-02", "2")
    refresh(store)
    write(store, "2024-01-02", "3")  # nobody has refreshed since
    metadata_files = len(list((Path(str(store.storage.root)) / "iceberg").rglob("*.*")))
    later = wall_clock() + timedelta(days=8)
    assert refresh_and_clean(store, now=later).files > 0
    store.vacuum(dry_run=False, now=later)
    assert len(list((Path(str(store.storage.root)) / "iceberg").rglob("*.*"))) < metadata_files
    opened = table(store, "bars_1m")
    assert len(opened.metadata.snapshots) == 1
    for snapshot in opened.metadata.snapshots:
        assert opened.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_rows == 40
    assert_equal(store, "bars_1m", "1m")
    write(store, "2024-01-02", "4")
    refresh(store)
    assert_equal(store, "bars_1m", "1m")


def test_snapshots_of_files_that_stay_are_kept(store: LakeStore) -> None:
    write(store, "2024-01-02")
    refresh(store)
    write(store, "2024-01-02", "2")
    refresh_and_clean(store)
    store.vacuum(dry_run=False)
    opened = table(store, "bars_1m")
    assert len(opened.metadata.snapshots) == 2
    for volume, snapshot in enumerate(opened.metadata.snapshots, 1):
        rows = opened.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
        assert set(rows["volume"].to_pylist()) == {volume}


def test_many_refreshes_keep_few_manifests_and_snapshots(store: LakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_SPARE", 3)
    monkeypatch.setattr(refresh_module, "_MOST_SNAPSHOTS", 5)
    for number in range(9):
        write(store, "2024-01-02", str(number + 1), rows=2, symbol=f"S{number:02}")
        refresh(store)
    opened = table(store, "bars_1m")
    assert len(opened.metadata.current_snapshot().manifests(opened.io)) <= 5
    assert len(opened.metadata.snapshots) == 5
    for snapshot in opened.metadata.snapshots:
        rows = opened.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_rows
        assert str(rows) == snapshot.summary.additional_properties["total-records"]
    assert_equal(store, "bars_1m", "1m")


def test_two_at_once_both_end_with_the_newest(store: LakeStore) -> None:
    write(store, "2024-01-02")
    refresh(store)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            own = LakeStore(store.storage)
            for step in range(4):
                write(own, f"2024-0{number + 2}-0{step + 1}", symbol=f"S{number}")
                refresh_iceberg(own)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    place = Place(store.storage, "bars_1m")
    newest = versions.find_newest(place)
    assert store.storage.files.read(f"{place.folder}/metadata/version-hint.text") == str(newest).encode()
    report = refresh(store)["bars_1m"]
    assert report.added == 0 and report.metadata.endswith(f"/v{newest}.metadata.json")
    assert_equal(store, "bars_1m", "1m")


def test_who_is_slower_looks_again_and_leaves_nothing_behind(store: LakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, "2024-01-02")
    refresh(store)
    write(store, "2024-01-03")
    write_snapshot, overtaken = refresh_module.write_snapshot, []

    def overtake(*arguments: Any) -> Any:
        """While the first one writes its manifests, somebody else adds bars and is quicker."""
        if not overtaken:
            overtaken.append(True)
            write(store, "2024-01-04")
            overtaken.append(refresh(store)["bars_1m"])
        return write_snapshot(*arguments)

    monkeypatch.setattr(refresh_module, "write_snapshot", overtake)
    write(store, "2024-02-01")
    report = refresh(store)["bars_1m"]
    assert overtaken[1].rows == 160
    assert (report.added, report.rows, report.metadata) == (0, 160, overtaken[1].metadata)
    opened = table(store, "bars_1m")
    named = {snapshot.manifest_list for snapshot in opened.metadata.snapshots}
    named |= {item.manifest_path for snapshot in opened.metadata.snapshots for item in snapshot.manifests(opened.io)}
    folder = Path(str(store.storage.root)) / "iceberg" / "bars_1m" / "metadata"
    assert {f"file://{file}" for file in folder.glob("*.avro")} == named
    assert_equal(store, "bars_1m", "1m")


def test_moments_of_snapshots_grow_although_clocks_differ(store: LakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, "2024-01-02")
    refresh(store)
    monkeypatch.setattr(manifests, "wall_clock", lambda: wall_clock() - timedelta(hours=1))
    write(store, "2024-01-03")
    refresh(store)
    first, second = table(store, "bars_1m").metadata.snapshots
    assert first.timestamp_ms < second.timestamp_ms == table(store, "bars_1m").metadata.last_updated_ms


def test_a_column_that_came_later_is_null_in_older_files(store: LakeStore) -> None:
    write(store, "2024-01-02")
    refresh(store)
    older = store.tables.newest("bars_1m").dataset
    columns = older.columns.append(pa.field("turnover", pa.int64(), nullable=True))
    newer = LakeStore.at(store.storage.root, datasets=[replace(older, columns=columns)])
    write(newer, "2024-01-03")
    [report] = refresh_iceberg(newer)
    assert (report.added, report.rows) == (2, 80)  # the table has other columns: it is made anew
    rows = pl.DataFrame(table(newer, "bars_1m").scan().to_arrow())
    assert rows["turnover"].null_count() == 80
    assert rows.select(COLUMNS).sort(KEY).equals(by_lake(newer, "1m"))


def test_no_credential_and_no_setting_of_the_machine_is_in_a_table(store: LakeStore) -> None:
    write(store, "2024-01-02")
    refresh(store)
    document = json.loads(Path(table(store, "bars_1m").metadata_location.removeprefix("file://")).read_text("utf-8"))
    assert set(document["properties"]) == {
        "comment", "gc.enabled", "schema.name-mapping.default", "write.metadata.previous-versions-max"
    }  # fmt: skip
    # Dropping the table in an engine must not take the lake's files along.
    assert document["properties"]["gc.enabled"] == "false"


@pytest.mark.skipif(WITH_EXTENSION is None, reason="GB_DUCKDB_ICEBERG names a Python with DuckDB's extension `iceberg`")
def test_duckdb_reads_the_same_by_its_own_extension(store: LakeStore) -> None:
    write(store, "2024-01-02")
    write(store, "2024-01-03", symbol="ETH-USD")
    write(store, "2024-01-02", "1.000000000000000001", rows=25, wide=True)
    write_days(store, "2023-12-01", 60)
    refresh(store)
    for name in ("bars_1m", "bars_1m_wide", "bars_1d"):
        frame = by_pyiceberg(store, name)
        expected = [
            [source, symbol, f"{stamp:%Y-%m-%d %H:%M:%S}+00", *(str(number) for number in numbers)]
            for source, symbol, stamp, *numbers in frame.select(frame.columns[:8]).rows()
        ]
        assert by_duckdb_extension(store, name) == sorted(expected)


def test_an_empty_lake_gets_no_table(store: LakeStore) -> None:
    assert refresh_iceberg(store) == []
    assert not Path(str(store.storage.root)).exists()
