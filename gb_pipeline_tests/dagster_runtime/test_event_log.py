"""The event log of an instance: what belongs together is one transaction, and Dagster reads it as its own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.loader import LoadingContextForTest
from sqlalchemy import Engine, event

from gb_pipeline.dagster_runtime.event_log import BATCH_ENVIRONMENT, together
from gb_pipeline.dagster_runtime.opening import open_home

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-01")
SERIES = [f"S{number:02d}" for number in range(20)]
KEY = dg.AssetKey("mine")


@dg.multi_asset(specs=[dg.AssetSpec(name, partitions_def=DAYS, skippable=True) for name in SERIES], can_subset=True)
def many() -> Iterator[dg.MaterializeResult]:
    yield from ()


def announce(instance: dg.DagsterInstance) -> tuple[str, int]:
    """A run over five days, made as the daemon makes it, and how many transactions that took."""
    begun: list[object] = []
    count = begun.append
    event.listen(Engine, "begin", count)
    days = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-07"}
    job = dg.Definitions(assets=[many]).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, tags=days, asset_selection=frozenset(map(dg.AssetKey, SERIES)))
    event.remove(Engine, "begin", count)
    return run.run_id, len(begun)


def report(instance: dg.DagsterInstance, partition: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=partition))


def test_what_a_run_announces_is_one_transaction(instance, monkeypatch: pytest.MonkeyPatch) -> None:
    run, one_by_one = announce(instance)
    for name, value in BATCH_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    batched, few = announce(instance)
    assert one_by_one >= 5 * len(SERIES)
    assert few < 20
    for run_id in (run, batched):
        planned = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        assert len(planned) == 5 * len(SERIES)
    assert set(instance.all_asset_keys()) == {dg.AssetKey(name) for name in SERIES}


def test_what_belongs_together_is_there_as_a_whole_or_not_at_all(instance) -> None:
    with suppress(ZeroDivisionError), together(instance):
        report(instance, "a")
        raise ZeroDivisionError
    assert instance.get_materialized_partitions(KEY) == set()
    assert instance.all_asset_keys() == []
    with together(instance):
        for partition in "abc":
            report(instance, partition)
    assert instance.get_materialized_partitions(KEY) == set("abc")
    report(instance, "d")
    assert instance.get_materialized_partitions(KEY) == set("abcd")


def test_nobody_overtakes_a_transaction_of_asset_events(instance) -> None:
    """Pages remember the newest number that they have seen; one that appears below it later would never be shown."""
    begun, done = threading.Event(), threading.Event()

    def overtake() -> None:
        begun.wait(30)
        report(instance, "second")
        done.set()

    other = threading.Thread(target=overtake)
    other.start()
    with together(instance):
        report(instance, "first")
        begun.set()
        assert not done.wait(0.5)
    other.join(30)
    assert done.is_set()
    numbers = instance.event_log_storage.get_latest_storage_id_by_partition(
        KEY, dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    assert numbers["first"] < numbers["second"]


def test_a_page_shows_partitions_while_a_run_writes(prepare: Callable[[str], Path]) -> None:
    """It would wait for a minute to keep what it shows, and every other request with it."""
    home = prepare("sqlite")
    with open_home(home) as instance:
        report(instance, "2024-01-03")
        log = instance.event_log_storage
        index = home / "history" / "runs" / "index.db"
        with closing(sqlite3.connect(index, isolation_level=None)) as run:
            run.execute("begin immediate")
            [value] = log.get_asset_status_cache_values([(KEY, DAYS)], LoadingContextForTest(instance))
            run.execute("rollback")
        assert value is not None
        assert set(value.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()) == {"2024-01-03"}
        assert instance.get_asset_records([KEY])[0].asset_entry.cached_status is None

        [again] = log.get_asset_status_cache_values([(KEY, DAYS)], LoadingContextForTest(instance))
        assert again == value == instance.get_asset_records([KEY])[0].asset_entry.cached_status
