"""A lake in a bucket is the same lake: what is written is read, on this machine and on others, and nothing is listed to read it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.bucket import Bucket
from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import table as table_module
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store


def write(store: LakeStore, edition: int, date: str = "2024-01-02", rows: int = 30) -> WriteReport:
    frame = minutes(date, rows).with_columns(pl.lit(str(edition)).alias("volume"))
    return store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(date), frame)


def volumes(store: LakeStore, **options: object) -> list[int]:
    return Lake(store).bars("BTC-USD", "1m", **options)["volume"].cast(pl.Int64).unique().to_list()  # type: ignore[arg-type]


def test_one_machine_writes_and_another_reads(machine: Machine) -> None:
    writer, reader = machine("a"), machine("b")
    assert [write(writer, edition).version for edition in (1, 1, 2)] == [0, None, 1]
    assert volumes(reader) == [2]
    known = Lake(reader).bars("BTC-USD", "1m")["known_at"].min()
    assert isinstance(known, type(day("2024-01-02").start))
    assert volumes(reader, as_of=known - timedelta(microseconds=1)) == [1]
    assert write(writer, 3).restated == 30
    assert volumes(reader) == [3]
    assert verify(reader).ok


def test_upkeep_works_as_in_a_folder(
    machine: Machine, server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 5)
    store = machine("a")
    for edition in range(1, 8):
        write(store, edition, f"2024-01-{edition:02}")
    checkpoints = [request for request in server.requests if "checkpoint.parquet" in request.name]
    assert checkpoints
    (partition, *_) = [item for item in store.compaction_candidates(min_files=2) if item.table == "bars_1m"]
    (report,) = store.compact(partition)
    assert report.files_after == 1
    later = store.clock() + timedelta(days=30)
    assert sum(item.files for item in store.vacuum(dry_run=False, now=later)) >= 7
    other = machine("b")
    assert sorted(volumes(other)) == list(range(1, 8))
    assert verify(other).ok


def test_reading_lists_nothing_and_says_what_it_costs(machine: Machine, server: Store) -> None:
    for date in ("2024-01-02", "2024-01-03", "2024-02-01"):
        write(machine("a"), 1, date, rows=1440)
    refresh_catalog(machine("a"))
    server.requests.clear()
    lake = Lake(machine("new"))
    bars = lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03")
    cold = list(server.requests)
    assert bars.height == 1440
    assert lake.coverage().height == 3
    assert lake.sql("select count(*) from bars_1m").item() == 3 * 1440
    assert not server.listings()
    data = [request for request in cold if request.name.endswith(".parquet")]
    assert len(data) == 1
    server.requests.clear()
    lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03")
    warm = Counter(request.method for request in server.requests)
    print(f"cold {len(cold)} requests, warm {sum(warm.values())}: {dict(warm)}")
    assert len(cold) <= 20
    assert sum(warm.values()) <= 8


def test_the_catalog_is_one_object_that_others_fetch_when_it_changed(machine: Machine, server: Store) -> None:
    write(machine("a"), 1)
    refresh_catalog(machine("a"))
    reader = Lake(machine("b"))
    server.requests.clear()
    assert reader.symbols()["record_count"].to_list() == [30]
    assert reader.sql("select record_count from symbol_data").item() == 30
    fetched = [request for request in server.requests if request.name.endswith("catalog.duckdb")]
    assert Counter(request.method for request in fetched)["GET"] == 1
    assert "PUT" not in {request.method for request in server.requests}
    write(machine("a"), 1, "2024-01-03")
    refresh_catalog(machine("a"))
    assert reader.sql("select record_count from symbol_data").item() == 60


def test_a_catalog_and_a_state_that_are_lost_are_made_again(machine: Machine, bucket: Bucket, tmp_path: Path) -> None:
    write(machine("a"), 1)
    refresh_catalog(machine("a"))
    store = machine("b")
    store.storage.files.delete("catalog.duckdb")
    assert Lake(store).sql("select record_count from symbol_data").item() == 30
    assert store.storage.files.size("catalog.duckdb")
    store.storage.files.put("catalog.duckdb", b"no database")
    assert Lake(machine("c")).sql("select record_count from symbol_data").item() == 30


def test_kept_answers_lie_in_the_bucket(machine: Machine) -> None:
    name = RawStore(machine("a").storage).put(b'{"candles":[]}')
    other = RawStore(machine("b").storage)
    assert other.get(name) == b'{"candles":[]}'
    assert other.inspect(name).state == "intact"
    assert other.address(name).startswith("s3://")
    assert other.inspect("0" * 64).state == "missing"


def test_a_bucket_without_a_lake_is_said(bucket: Bucket, server: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    with pytest.raises(LakeError, match="credentials"):
        Lake.open(str(bucket))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
    server.requests.clear()
    with pytest.raises(ConfigError, match=f"there is no lake at s3://{bucket.name}/lake"):
        Lake.open(str(bucket))
    assert [request.method for request in server.requests] == ["GET"]


def test_a_store_that_ignores_conditions_is_refused_before_anything_counts(machine: Machine, server: Store) -> None:
    server.ignores_conditions = True
    store = machine("a")
    with pytest.raises(LakeError, match="ignores the condition"):
        write(store, 1)
    with pytest.raises(LakeError, match="ignores the condition"):
        write(store, 1)
    server.heal()
    assert machine("b").tables.newest("bars_1m").version == -1
