"""A vacuum removes what has been of no use for the retention, and nothing that somebody may still need."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError
from gb_pipeline.lake import ledger, ledger_notes
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import reading
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.vacuum import Needed, vacuum
from gb_pipeline_tests.bars import day, minutes

HOUR = timedelta(hours=1)


def write(store: LakeStore, edition: int, text: str = "2024-01-02") -> None:
    frame = minutes(text, 30).with_columns(pl.lit(str(edition)).alias("volume"))
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(text), frame)


def later(**length: float) -> datetime:
    return datetime.now(UTC) + timedelta(**length)


def readable(store: LakeStore, snapshot: Snapshot) -> pl.DataFrame:
    return reading.read(store.storage, snapshot.dataset, snapshot.files)


def test_who_reads_an_older_version_keeps_its_files_for_the_retention(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(store, 1)
    old = store.tables.newest("bars_1m")
    # Files are made long before they are replaced: it is the replacement that counts.
    for path in Path(store.storage.table("bars_1m")).rglob("*.parquet"):
        os.utime(path, (0, 0))
    before = readable(store, old)
    write(store, 2)
    store.vacuum(retention=HOUR, dry_run=False, now=later(minutes=50))
    assert readable(store, old).equals(before)
    (report,) = [item for item in store.vacuum(retention=HOUR, dry_run=False, now=later(minutes=70)) if item.files]
    assert (report.table, report.names) == ("bars_1m", (f"lake/bars_1m/{old.files['path'][0]}",))
    assert Lake(store).bars("BTC-USD", "1m")["volume"].unique().to_list() == [2]


def test_files_that_no_commit_names_go_when_their_writer_cannot_be_at_work_any_more(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(store, 1)
    left = tmp_path / "lake/bars_1m/source=sim/symbol=BTC-USD/left-by-a-killed-writer.parquet"
    left.write_bytes(b"half a file")
    assert not any(item.files for item in store.vacuum(retention=HOUR, dry_run=False, now=later(minutes=50)))
    store.vacuum(retention=HOUR, dry_run=False, now=later(minutes=70))
    assert not left.exists()


def test_entries_that_wait_for_the_ledger_stay_although_a_checkpoint_is_newer(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    for edition in range(3):
        write(store, edition)
    store.tables["bars_1m"].checkpoint()
    coverage = Lake(store).coverage()
    vacuum(store.tables, ledger.find_needed(store.tables), dry_run=False, now=later(days=60))
    assert store.tables["bars_1m"].entry_versions() == [0, 1, 2]
    assert Lake(LakeStore.at(tmp_path)).coverage().equals(coverage)
    # What has been taken over is needed no more.
    store.vacuum(dry_run=False, now=later(days=60))
    assert store.tables["bars_1m"].entry_versions() == [2]
    assert Lake(LakeStore.at(tmp_path)).coverage().equals(coverage)


def test_files_that_wait_for_the_ledger_stay(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    rows, rules = minutes("2020-01-01", 1100, step=86_400), BarRules(resolution=Resolution.DAY)
    store.write_bars("sim", "BTC-USD", Resolution.DAY, day("2020-01-01", 1100), rows, rules=rules)
    waiting = ledger_notes.pending_files(store.tables)["path"].to_list()
    store.record_failure("sim", ["ETH-USD"], day("2020-01-01"), rules=rules)
    careless = vacuum(store.tables, Needed(), now=later(days=60))
    assert {name.removeprefix("lake/sessions/") for item in careless for name in item.names} == set(waiting) != set()
    vacuum(store.tables, ledger.find_needed(store.tables), dry_run=False, now=later(days=60))
    assert all((tmp_path / "lake/sessions" / path).exists() for path in waiting)
    store.vacuum(dry_run=False, now=later(days=60))
    assert all((tmp_path / "lake/sessions" / path).exists() for path in waiting)
    assert Lake(LakeStore.at(tmp_path)).coverage("sim", "BTC-USD").height == 1100


def test_a_dry_run_removes_nothing_and_a_short_retention_is_refused(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    write(store, 1)
    write(store, 2)
    names = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    (would,) = [item for item in store.vacuum(retention=HOUR, now=later(hours=2)) if item.files]
    assert (would.files, would.deleted) == (1, False)
    assert would.bytes == sum((tmp_path / name).stat().st_size for name in would.names)
    assert set(names) <= {path for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="shorter than"):
        vacuum(store.tables, Needed(), retention=timedelta(minutes=59))
