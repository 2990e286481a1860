"""Tables of trades obey the laws of all others: small files of a day become one that says the same, verified, vacuumed, copied."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from gb_pipeline import Lake, LakeStore
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import stream_fingerprints
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.verification import verify
from gb_pipeline.storage import reading
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_rows, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")


def test_many_small_files_of_a_day_become_one_that_says_the_same(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", create=True)
    times = [NINE + number * SECOND for number in range(60)]
    random.Random(3).shuffle(times)
    for start in range(0, 60, 6):
        commit_trades(lake.store, times[start : start + 6])
    commit_interval(lake.store, NINE, NINE + 60 * SECOND)
    commit_watermark(lake.store, NINE + 60 * SECOND)
    before = lake.trades("BTC-USD")
    (candidate,) = [item for item in lake.store.compaction_candidates() if item.table == "trades"]
    assert (candidate.files, candidate.rows) == (10, 60)
    (report,) = lake.store.compact(candidate)
    assert report.files_after == 1
    assert lake.stream_files(table="trades").height == 1
    assert lake.trades("BTC-USD").equals(before)
    assert before["timestamp"].is_sorted()
    assert verify(lake.store).ok
    there = LakeStore.at(tmp_path / "copy")
    assert plan_copy(lake.store, there).run().damaged == ()
    assert Lake.open(tmp_path / "copy").trades("BTC-USD").equals(before)


def test_ids_of_trades_are_packed_by_what_the_one_before_has_and_every_engine_reads_them(tmp_path: Path) -> None:
    lake, dataset = Lake.open(tmp_path / "lake", create=True), stream_dataset("trades")
    ids = [*map(str, range(4_000_000_000, 4_000_020_000)), None, "", "\u20bf-1", "\u20bf-2", "x" * 5_000, None]
    rows = [
        {
            "source": "kraken", "symbol": "BTC-USD", "at": NINE + number * SECOND // 1000, "trade_id": name, "ordinal": 0,
            "price": Decimal("1.5"), "size": Decimal(1), "origin": "stream",
        }
        for number, name in enumerate(ids)
    ]  # fmt: skip
    commit_rows(lake.store, dataset, rows)
    [path] = (tmp_path / "lake").rglob("trades/**/*.parquet")
    columns = pq.read_metadata(path).row_group(0)
    [packed] = [
        item for place in range(columns.num_columns) if (item := columns.column(place)).path_in_schema == "trade_id"
    ]
    assert "DELTA_BYTE_ARRAY" in packed.encodings
    assert packed.total_compressed_size < len(ids)
    assert pq.read_table(path)["trade_id"].to_pylist() == ids
    assert pl.read_parquet(path)["trade_id"].to_list() == ids
    assert [name for (name,) in duckdb.sql(f"select trade_id from '{path}' order by timestamp").fetchall()] == ids
    stored = reading.read(lake.store.storage, dataset, lake.store.tables.newest("trades").files, ["trade_id"])
    assert stored["trade_id"].to_list() == ids
    assert verify(lake.store).ok


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A minute of trades in six files, heard without a hole."""
    lake = Lake.open(tmp_path / "lake", create=True)
    for start in range(6):
        commit_trades(lake.store, [NINE + (10 * start + number) * SECOND for number in range(10)])
    commit_interval(lake.store, NINE, NINE + 60 * SECOND)
    commit_watermark(lake.store, NINE + 60 * SECOND)
    return lake


def test_a_copy_of_streams_alone_has_a_fingerprint_that_restore_compares(lake: Lake, tmp_path: Path) -> None:
    copy, restored = LakeStore.at(tmp_path / "copy"), LakeStore.at(tmp_path / "restored")
    first = plan_copy(lake.store, copy).run()
    assert len(first.streams) == 64
    assert first.fingerprint == ""
    assert plan_copy(copy, restored, restore=True).run().streams == first.streams
    assert Lake(restored).trades("BTC-USD").equals(lake.trades("BTC-USD"))
    commit_trades(lake.store, [NINE + 70 * SECOND])
    assert plan_copy(lake.store, copy).run().streams not in {"", first.streams}


def test_a_copy_that_holds_something_else_is_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = LakeStore.at(tmp_path / "copy")
    plan = plan_copy(lake.store, there)
    honest = stream_fingerprints.describe_streams
    told = []

    def describe(tables: object) -> object:
        found = honest(tables)  # type: ignore[arg-type]
        told.append(found)
        return found if len(told) == 1 else found.with_columns(rows=found["rows"] + 1)

    monkeypatch.setattr("gb_pipeline.lake.backup.describe_streams", describe)
    with pytest.raises(LakeError, match="something else of"):
        plan.run()
    assert len(told) == 2


def test_sync_follows_compaction_and_vacuum_and_old_files_go(lake: Lake, tmp_path: Path) -> None:
    there = LakeStore.at(tmp_path / "copy")
    before, trades = plan_copy(lake.store, there).run(), lake.trades("BTC-USD")
    lake.store.compact(*[item for item in lake.store.compaction_candidates() if item.table == "trades"])
    later = lake.store.clock() + timedelta(days=40)
    (freed,) = [item for item in lake.store.vacuum(dry_run=False, now=later) if item.table == "trades"]
    assert len(freed.names) == 6
    report = plan_copy(lake.store, there).run(remove=True)
    assert report.streams not in {"", before.streams}
    assert len([name for name, _ in report.removed if "trades" in name and name.endswith(".parquet")]) == 6
    assert Lake(there).trades("BTC-USD").equals(trades)
    assert verify(there).ok


def test_a_flipped_bit_of_trades_is_found_and_not_read(lake: Lake) -> None:
    (file,) = lake.stream_files(table="trades")["path"].to_list()[:1]
    path = Path(lake.store.storage.root) / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert [damage.table for damage in verify(lake.store).damages] == ["trades"]
    with pytest.raises(LakeError):
        Lake.open(lake.store.storage.root).trades("BTC-USD")
