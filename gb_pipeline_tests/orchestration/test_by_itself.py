"""What happens without being asked: the catalog follows the lake, and many files become few."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from gb_pipeline.catalog.connection import open_catalog
from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.orchestration.assets.compaction import (
    define_periods,
    find_crowded_partitions,
    select_of_group,
    select_ungrouped,
)
from gb_pipeline.orchestration.sensors import request_compactions
from gb_pipeline.orchestration.series_group import SeriesGroup, list_series_groups
from gb_pipeline.storage.compaction import Partition, find_candidates

BTC, ETH = "sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT"


def tick(bench, name: str) -> list[dg.RunRequest]:
    """Evaluate a sensor once; no request comes with a reason."""
    sensor = bench.definitions.resolve_sensor_def(name)
    with dg.build_sensor_context(bench.instance, definitions=bench.definitions) as context:
        data = sensor.evaluate_tick(context)
    assert data.run_requests or data.skip_message
    return list(data.run_requests)


def start_run(bench, *paths: str) -> dg.DagsterRun:
    """A run that has been created and has not ended."""
    job = bench.definitions.resolve_implicit_global_asset_job_def()
    return bench.instance.create_run_for_job(
        job,
        asset_selection=frozenset(dg.AssetKey(path.split("/")) for path in paths),
        status=dg.DagsterRunStatus.STARTED,
    )


def test_the_catalog_is_asked_for_once_per_state_of_the_lake(build_bench):
    bench = build_bench()
    assert tick(bench, "catalog_follows_the_lake") == []  # an empty lake needs none

    bench.run(BTC, partitions="2024-01-01")
    first, again = tick(bench, "catalog_follows_the_lake"), tick(bench, "catalog_follows_the_lake")
    assert len(first) == 1
    assert [item.run_key for item in again] == [item.run_key for item in first]

    assert bench.run("catalog").success
    assert not catalog_is_stale(bench.store)
    assert tick(bench, "catalog_follows_the_lake") == []

    bench.run(BTC, partitions="2024-01-02")
    assert tick(bench, "catalog_follows_the_lake")[0].run_key != first[0].run_key


def test_the_catalog_waits_for_runs_that_fetch_and_for_a_refresh_that_runs(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions="2024-01-01")

    fetching = start_run(bench, ETH)
    assert tick(bench, "catalog_follows_the_lake") == []
    bench.instance.report_run_canceled(fetching)
    assert len(tick(bench, "catalog_follows_the_lake")) == 1

    start_run(bench, "catalog")
    assert tick(bench, "catalog_follows_the_lake") == []


def test_a_long_ingestion_gets_a_catalog_nevertheless(build_bench, monkeypatch):
    bench = build_bench()
    bench.run(BTC, partitions="2024-01-01")
    start_run(bench, ETH)

    monkeypatch.setattr("gb_pipeline.orchestration.sensors.LONGEST_STALE_SECONDS", 0)

    assert len(tick(bench, "catalog_follows_the_lake")) == 1


def test_the_catalog_shows_what_it_holds(build_bench):
    bench = build_bench()
    bench.run(BTC, ETH, partitions=("2024-01-01", "2024-01-02"))

    assert bench.run("catalog").success

    shown = bench.metadata("catalog")
    assert (shown["series"], shown["sessions"], shown["bars"]) == (2, 4, 4 * 1440)
    assert [row.data["symbol"] for row in _table(bench, "catalog", "symbol_data")] == ["BTC-USDT", "ETH-USDT"]
    with open_catalog(bench.store.storage.catalog) as catalog:
        assert catalog.execute("select count(*) from bars_1m").fetchone() == (4 * 1440,)


def test_a_closed_month_of_many_files_is_compacted_once_and_says_the_same(build_bench):
    bench = build_bench()
    for day in range(1, 6):
        bench.run(BTC, partitions=f"2024-01-{day:02d}")
    rows = _rows(bench)
    assert _files(bench, "bars_1m") == {"bars_1m sim BTC-USDT 2024-01": 5}

    requests = tick(bench, "compaction")
    assert [(item.job_name, item.partition_key) for item in requests] == [
        ("sim_bars_1m_compaction", "2024-01"),
        ("compaction_of_ledgers", None),
    ]
    assert bench.run("sim/bars_1m_compaction", partitions="2024-01").success

    shown = bench.metadata("sim/bars_1m_compaction", "2024-01")
    assert (shown["merged"], shown["files_before"], shown["files_after"], shown["rows"]) == (1, 5, 1, 5 * 1440)
    assert _rows(bench).equals(rows)
    assert _files(bench, "bars_1m") == {"bars_1m sim BTC-USDT 2024-01": 1}
    assert [item.job_name for item in tick(bench, "compaction")] == ["compaction_of_ledgers"]


def test_a_closed_month_is_merged_for_good_when_two_files_are_left_of_it(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions="2024-01-01")
    assert tick(bench, "compaction") == []
    bench.run(BTC, partitions="2024-01-02")

    assert [item.partition_key for item in tick(bench, "compaction") if item.partition_key] == ["2024-01"]


def test_the_period_in_progress_is_compacted_when_it_has_many_files_and_asked_for_once_a_day(tmp_path):
    now = datetime(2024, 1, 20, 12, tzinfo=UTC)
    store = LakeStore.at(tmp_path, clock=lambda: now)
    for day in range(1, 4):
        _write_day(store, date(2024, 1, day))
    assert find_crowded_partitions(store) == []

    _write_day(store, date(2024, 1, 4))
    [item] = [item for item in find_crowded_partitions(store) if item.table == "bars_1m"]
    assert (item.values["period"], item.files, item.closed) == ("2024-01", 4, False)

    # A week after its end a month has settled.
    store.compact(item)
    _write_day(store, date(2024, 1, 5))
    assert [item for item in find_crowded_partitions(store) if item.table == "bars_1m"] == []
    now = datetime(2024, 2, 7, 12, tzinfo=UTC)
    assert [item for item in find_crowded_partitions(store) if item.table == "bars_1m"] == []
    now = datetime(2024, 2, 8, 12, tzinfo=UTC)
    [item] = [item for item in find_crowded_partitions(store) if item.table == "bars_1m"]
    assert (item.files, item.closed) == (2, True)


def test_a_period_in_progress_is_asked_for_once_a_day_and_a_closed_one_once_per_state(build_bench):
    group = next(list_series_groups(build_bench().settings))
    today = date(2024, 1, 20)

    def keys(files: int, *, closed: bool, on: date = today) -> list[str | None]:
        values = {"source": "sim", "symbol": "BTC-USDT", "period": "2024-01", "is_current": True}
        partitions = [Partition("bars_1m", values, files, 1440 * files, 1000, closed)]
        return [item.run_key for item in request_compactions(group, "job", partitions, on)]

    assert keys(4, closed=False) == keys(5, closed=False) == ["sim_bars_1m 2024-01 2024-01-20"]
    assert keys(4, closed=False, on=date(2024, 1, 21)) == ["sim_bars_1m 2024-01 2024-01-21"]
    assert keys(2, closed=True) == keys(2, closed=True, on=date(2024, 1, 21))
    assert keys(2, closed=True) != keys(3, closed=True)


def test_ledgers_are_compacted_by_an_asset_of_their_own(build_bench):
    bench = build_bench()
    for day in range(1, 6):
        bench.run(BTC, partitions=f"2024-01-{day:02d}")
    rules = bench.settings.source("sim").rules(Resolution.MINUTE)
    for day in range(10, 14):
        bench.store.record_failure(
            "sim", ["BTC-USDT"], Window.of(date(2024, 1, day), date(2024, 1, day + 1)), rules=rules
        )
    known, calls = ledger.current(bench.store.tables), fetches.read(bench.store.tables)
    sessions = sum(_files(bench, "sessions").values())
    assert sessions >= 4
    # Each fetch was told twice: when it was answered, and when its rows were stored.
    assert list(_files(bench, "fetches").values()) == [10]

    assert bench.run("ledgers_compaction").success

    shown = bench.metadata("ledgers_compaction")
    assert (shown["merged"], shown["files_before"], shown["files_after"]) == (2, 10 + sessions, 2)
    assert [row.data["partition"].split()[0] for row in _table(bench, "ledgers_compaction", "merges")] == [
        "fetches",
        "sessions",
    ]
    assert ledger.current(bench.store.tables).equals(known)
    assert fetches.read(bench.store.tables).equals(calls)
    assert [*_files(bench, "sessions").values(), *_files(bench, "fetches").values()] == [1, 1]


def test_bars_that_gb_yaml_names_no_more_are_merged_with_the_ledgers(build_bench):
    bench = build_bench()
    for day in range(1, 3):
        bench.run(BTC, partitions=f"2024-01-{day:02d}")
        bench.run(BTC, partitions=f"2024-02-{day:02d}")
    groups = list(list_series_groups(build_bench(start="2024-02-01").settings))

    partitions = find_crowded_partitions(bench.store)
    assert [item.values["period"] for item in select_of_group(partitions, groups[0])] == ["2024-02"]
    ungrouped = [item for item in select_ungrouped(partitions, groups) if item.table == "bars_1m"]
    assert [item.values["period"] for item in ungrouped] == ["2024-01"]


def test_what_is_not_as_it_was_recorded_is_left_alone_and_named(build_bench):
    bench = build_bench()
    for day in range(1, 4):
        bench.run(BTC, partitions=f"2024-01-{day:02d}")
    snapshot = bench.store.tables.newest("bars_1m")
    path = bench.settings.lake / "lake" / "bars_1m" / snapshot.files["path"][0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    path.write_bytes(damaged)

    done = bench.run("sim/bars_1m_compaction", partitions="2024-01")

    assert not done.success
    failure = done.failure_data_for_node("sim__bars_1m_compaction").user_failure_data
    [left] = failure.metadata["left"].records
    assert left.data["partition"] == "bars_1m sim BTC-USDT 2024-01"
    assert path.name in left.data["reason"]
    assert "gb verify" in left.data["fix"]
    assert _files(bench, "bars_1m") == {"bars_1m sim BTC-USDT 2024-01": 3}


def test_a_damaged_table_keeps_no_other_from_being_compacted(build_bench):
    bench = build_bench(resolutions=["1m", "1h"])
    bench.run(BTC, partitions="2024-01-01")
    bench.run(BTC, partitions="2024-01-02")
    bench.run("sim/bars_1h/BTC-USDT", partitions="2024-01-01")
    log = bench.settings.lake / "lake" / "bars_1h" / "_delta_log" / f"{0:020}.json"
    log.write_text("{", encoding="utf-8")

    assert [item.partition_key for item in tick(bench, "compaction") if item.partition_key] == ["2024-01"]
    assert bench.run("sim/bars_1m_compaction", partitions="2024-01").success
    assert _files(bench, "bars_1m") == {"bars_1m sim BTC-USDT 2024-01": 1}


def test_nothing_is_compacted_while_its_source_is_fetched(build_bench):
    bench = build_bench()
    for day in range(1, 6):
        bench.run(BTC, partitions=f"2024-01-{day:02d}")
    start_run(bench, ETH)

    assert tick(bench, "compaction") == []


def test_files_of_no_use_are_removed_every_night_and_counted(build_bench):
    bench = build_bench()
    bench.run(BTC, partitions="2024-01-01")
    [file] = (bench.settings.lake / "lake" / "bars_1m").rglob("is_current=true/*.parquet")
    left = file.with_name("left-behind.parquet")
    left.write_bytes(b"x" * 1000)
    long_ago = left.stat().st_mtime - 8 * 86_400
    os.utime(left, (long_ago, long_ago))
    rows = _rows(bench)

    assert bench.run("vacuum", config={"ops": {"vacuum": {"config": {"dry_run": True}}}}).success
    counted = bench.metadata("vacuum")
    assert (counted["files"], counted["bytes"], counted["deleted"], left.exists()) == (1, 1000, False, True)
    assert bench.run("vacuum").success

    shown = bench.metadata("vacuum")
    assert (shown["files"], shown["bytes"], shown["deleted"], left.exists()) == (1, 1000, True, False)
    assert [row.data for row in _table(bench, "vacuum", "tables")] == [{"table": "bars_1m", "files": 1, "bytes": 1000}]
    assert _rows(bench).equals(rows)
    assert not catalog_is_stale(bench.store)
    schedule = bench.definitions.resolve_schedule_def("vacuum_nightly")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.parametrize(
    ("resolution", "first", "cron"),
    [("1s", "2024-03-15", "0 0 * * *"), ("1m", "2024-03", "0 0 1 * *"), ("4h", "2024-03", "0 0 1 * *"),
     ("1d", "2024", "0 0 1 1 *"), ("1mo", "2024", "0 0 1 1 *")],
)  # fmt: skip
def test_partitions_of_compaction_are_the_periods_of_the_files_from_the_first_to_that_in_progress(
    build_bench, resolution, first, cron
):
    source = build_bench(start="2024-03-15", end=None).settings.source("sim")
    group = SeriesGroup(source, Resolution.parse(resolution))
    partitions = define_periods(group)
    at = datetime(2024, 5, 2, 12, tzinfo=UTC)

    keys = partitions.get_partition_keys(current_time=at)

    assert partitions.cron_schedule == cron
    assert keys[0] == first
    assert keys[-1] == at.strftime(bars_dataset(group.resolution).period)


def _rows(bench) -> pl.DataFrame:
    from gb_pipeline.reading.lake import Lake

    return Lake.open(bench.settings.lake).bars(None, "1m", source="sim")


def _table(bench, asset: str, entry: str) -> list[dg.TableRecord]:
    """The records of a table in the newest materialisation's metadata."""
    record = bench.instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey(asset)), limit=1).records[0]
    return list(record.asset_materialization.metadata[entry].records)


def _files(bench, table: str) -> dict[str, int]:
    """How many files each partition of a table has."""
    partitions = find_candidates(bench.store.tables, min_files=1, damaged=[])
    return {str(item): item.files for item in partitions if item.table == table}


def _write_day(store: LakeStore, day: date) -> None:
    minute = pl.datetime_range(
        datetime(day.year, day.month, day.day, tzinfo=UTC),
        datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=23, minutes=59),
        "1m",
        time_unit="us",
        eager=True,
    )
    frame = pl.DataFrame({"timestamp": minute}).with_columns(
        *(
            pl.lit(price).alias(name)
            for name, price in zip(("open", "high", "low", "close"), ("5", "9", "4", "7"), strict=True)
        ),
        pl.lit("1").alias("volume"),
    )
    store.write_bars("sim", "BTC-USDT", "1m", Window.of(day, day + timedelta(days=1)), frame)
