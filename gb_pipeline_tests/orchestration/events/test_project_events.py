"""What was fetched without Dagster is shown by it as if a run had fetched it, and what is stored can be adopted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.dagster_runtime.event_log import together
from gb_pipeline.ingest.backlog import find_backlog
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.orchestration.events.dataset_check import CHECK
from gb_pipeline.orchestration.events.project_events import JOB_NAME, FetchEvents, adopt
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline_tests.orchestration.conftest import Bench

BTC = "sim/bars_1m/BTC-USDT"
ETH = "sim/bars_1m/ETH-USDT"
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]
# Of the vendor's answer and its file, which another fetch has in another time and size.
OF_THE_FETCH = {"latency_ms", "vendor_bytes", "table_version", "stored", "unchanged", "whole_fetch"}

Build = Callable[..., Bench]


def group_of(bench: Bench, resolution: str = "1m") -> SeriesGroup:
    return SeriesGroup.of(bench.settings, "sim", resolution)


def fetch(bench: Bench, start: str, end: str, *, resolution: str = "1m", report: bool = True) -> list[Outcome]:
    """What `gb fetch sim --start --end` does in a project with an instance."""
    group = group_of(bench, resolution)
    days = (date.fromisoformat(start), date.fromisoformat(end))
    backlog = find_backlog(bench.store, group.source, group.resolution, group.source.instruments, *days)
    events = FetchEvents(bench.instance, group, bench.store)
    outcomes = ingest(
        bench.store, group.source, group.resolution, backlog.jobs(), on_outcome=events.report if report else None
    )
    events.finish()
    return outcomes


def statuses(bench: Bench, path: str, keys: Sequence[str]) -> list[str]:
    """As the pages show them: `MATERIALIZED`, `FAILED`, or missing as an empty text."""
    parts = path.split("/")
    found = bench.instance.get_status_by_partition(
        dg.AssetKey(parts), list(keys), group_of(bench, parts[1].removeprefix("bars_")).partitions
    )
    return [status.name if (status := (found or {}).get(key)) is not None else "" for key in keys]


def events_of(bench: Bench, path: str, key: str) -> dict[str, object]:
    return {name: value for name, value in bench.metadata(path, key).items() if name not in OF_THE_FETCH}


def test_a_fetch_is_shown_as_a_run_would_be(build_bench: Build, tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = build_bench()
    assert statuses(bench, BTC, DAYS) == ["", "", ""]
    fetch(bench, "2024-01-01", "2024-01-04")
    assert statuses(bench, BTC, DAYS) == ["MATERIALIZED"] * 3
    [run] = bench.instance.get_runs()
    assert (run.job_name, run.status) == (JOB_NAME, dg.DagsterRunStatus.SUCCESS)
    told = [events_of(bench, path, key) for path in (BTC, ETH) for key in DAYS]
    checks = bench.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(["sim", "bars_1m"]), CHECK), limit=10
    )
    assert [item.evaluation.passed for item in checks if item.evaluation] == [True]
    assert bench.metadata("sim/bars_1m")["dagster/row_count"] == 2 * 3 * 1440

    # The same days again, by a run: it says the same of them.
    assert bench.run(BTC, ETH, partitions=(DAYS[0], DAYS[-1])).success
    by_run = [events_of(bench, path, key) for path in (BTC, ETH) for key in DAYS]
    assert by_run == told


def test_sessions_that_failed_are_shown_as_failed_until_they_are_fetched(build_bench: Build) -> None:
    bench = build_bench(max_bad_fraction=0)
    bench.simulation.plant("bad", "ETH-USDT", start="2024-01-02T10:00Z", values={"high": "0.01"})
    fetch(bench, "2024-01-01", "2024-01-04")
    assert statuses(bench, ETH, DAYS) == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    assert statuses(bench, BTC, DAYS) == ["MATERIALIZED"] * 3
    [run] = bench.instance.get_runs()
    assert (run.job_name, run.status) == (JOB_NAME, dg.DagsterRunStatus.FAILURE)
    wanted = dg.AssetRecordsFilter(dg.AssetKey(ETH.split("/")), asset_partitions=["2024-01-02"])
    [record] = bench.instance.fetch_observations(wanted, limit=5).records
    assert "high_not_highest" in str(record.asset_observation and record.asset_observation.description)

    # Still, and again: what is said of a partition may be said as often as one likes.
    fetch(bench, "2024-01-01", "2024-01-04")
    assert statuses(bench, ETH, DAYS) == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    bench.simulation.reset()
    fetch(bench, "2024-01-01", "2024-01-04")
    assert statuses(bench, ETH, DAYS) == ["MATERIALIZED"] * 3


def test_a_month_is_materialised_once_all_of_it_is_stored(build_bench: Build) -> None:
    bench = build_bench(resolutions=["1d"])
    daily = "sim/bars_1d/BTC-USDT"
    fetch(bench, "2024-01-01", "2024-01-20", resolution="1d")
    assert statuses(bench, daily, ["2024-01", "2024-02"]) == ["", ""]
    fetch(bench, "2024-01-01", "2024-02-10", resolution="1d")
    assert statuses(bench, daily, ["2024-01", "2024-02"]) == ["MATERIALIZED", ""]
    # Of the whole month, not of the days that were fetched last.
    assert bench.metadata(daily, "2024-01")["rows"] == 31


def test_sessions_before_the_sources_start_are_no_partitions(build_bench: Build) -> None:
    bench = build_bench(start="2024-01-02")
    fetch(bench, "2024-01-01", "2024-01-04")
    assert bench.materialized(BTC) == set(DAYS[1:])


def test_what_is_stored_is_adopted_once(build_bench: Build) -> None:
    bench = build_bench()
    bench.simulation.plant("gap", "ETH-USDT", start="2024-01-03T10:00Z", end="2024-01-03T11:00Z")
    fetch(bench, "2024-01-01", "2024-01-04", report=False)
    assert bench.materialized(BTC) == set()
    group = group_of(bench)
    looked_at: list[int] = []
    assert adopt(bench.instance, group, bench.store, group.source.instruments, looked_at.append) == 6
    assert sum(looked_at) == 6
    assert bench.materialized(BTC) == bench.materialized(ETH) == set(DAYS)
    adopted = bench.metadata(ETH, "2024-01-03")
    assert (adopted["rows"], adopted["missing"], adopted["dagster/row_count"]) == (1380, 60, 3 * 1440 - 60)
    assert "vendor_bytes" not in adopted
    assert adopt(bench.instance, group, bench.store, group.source.instruments) == 0

    # One more day is all that the next time marks.
    fetch(bench, "2024-01-04", "2024-01-05", report=False)
    assert adopt(bench.instance, group, bench.store, group.source.instruments[:1]) == 1
    assert bench.materialized(BTC) == {*DAYS, "2024-01-04"}
    assert bench.materialized(ETH) == set(DAYS)


def test_what_failed_or_was_refused_is_not_adopted(build_bench: Build) -> None:
    bench = build_bench(max_bad_fraction=0)
    bench.simulation.plant("bad", "ETH-USDT", start="2024-01-02T10:00Z", values={"high": "0.01"})
    bench.simulation.faults.add(match="symbol=BTCUSDT", status=503, times=-1)
    fetch(bench, "2024-01-01", "2024-01-04", report=False)
    group = group_of(bench)
    adopt(bench.instance, group, bench.store, group.source.instruments)
    assert bench.materialized(BTC) == set()
    assert bench.materialized(ETH) == {"2024-01-01", "2024-01-03"}


def test_a_run_sees_what_was_adopted_and_goes_on(build_bench: Build) -> None:
    bench = build_bench()
    fetch(bench, "2024-01-01", "2024-01-03", report=False)
    group = group_of(bench)
    adopt(bench.instance, group, bench.store, group.source.instruments)
    assert bench.run(BTC, partitions="2024-01-03").success
    assert statuses(bench, BTC, DAYS) == ["MATERIALIZED"] * 3


def test_many_events_are_one_transaction_and_an_error_undoes_all_of_them(tmp_path: Path, build_bench: Build) -> None:
    instance = build_bench().instance
    key = dg.AssetKey("mine")
    with pytest.raises(ZeroDivisionError), together(instance):
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="a"))
        raise ZeroDivisionError
    assert instance.get_materialized_partitions(key) == set()
    with together(instance):
        for partition in "abc":
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
        # Another reader sees none of them yet.
        with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as other:
            assert other.get_materialized_partitions(key) == set()
    assert instance.get_materialized_partitions(key) == set("abc")
    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition="d"))
    assert instance.get_materialized_partitions(key) == set("abcd")
