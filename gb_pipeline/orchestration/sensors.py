"""This module decides what happens by itself between the schedules: the catalog follows the lake, and many small files become few.

What is done then is up to `assets`. Both sensors ask the lake rather than Dagster's event log, so what `gb fetch` or another
program wrote counts as well.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from gb_pipeline.catalog.projection import catalog_is_stale, table_versions
from gb_pipeline.dagster_runtime.private import AssetJob
from gb_pipeline.errors import LakeError
from gb_pipeline.iceberg.exported import is_exported
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.assets.catalog import CATALOG
from gb_pipeline.orchestration.assets.compaction import (
    LEDGERS,
    find_crowded_partitions,
    select_of_group,
    select_ungrouped,
)
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.runs import find_unfinished_runs
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.storage.compaction import Partition
from gb_pipeline.storage.dataset import PERIOD

# While runs are under way the catalog would be stale again at once; a long backfill gets one this often nevertheless.
LONGEST_STALE_SECONDS = 600
CATALOG_JOB = "catalog_refresh"
LEDGERS_JOB = "compaction_of_ledgers"
_SECONDS = 15
_COMPACTION_SECONDS = 600
_MOST_REQUESTS = 20
_URGENT_FILES = 100


def build_catalog_sensor(
    lake: LakeResource, groups: Sequence[SeriesGroup], *, iceberg: bool = False
) -> dg.SensorDefinition:
    """Refresh the catalog once ingestion has come to rest.

    Args:
        lake: which the catalog describes.
        groups: whose runs are waited for.
        iceberg: whether the catalog takes Iceberg tables along, so that it is refreshed where they are not there yet.
    """

    @dg.sensor(
        name="catalog_follows_the_lake",
        job=_define_job(CATALOG_JOB, CATALOG, "Refreshes the DuckDB catalog."),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Compares the catalog with the versions of the lake's tables, and refreshes it when no ingestion is"
        f" running, or at the latest after {LONGEST_STALE_SECONDS // 60} minutes.",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        store = lake.open_store()
        versions = table_versions(store)
        if not versions:
            return dg.SkipReason("the lake is empty")
        if not catalog_is_stale(store) and (not iceberg or is_exported(store)):
            return dg.SkipReason("the catalog says what the lake holds")
        if find_unfinished_runs(context.instance, [CATALOG], CATALOG_JOB):
            return dg.SkipReason("a refresh is under way")
        fetching = [
            created
            for group in groups
            for created in find_unfinished_runs(context.instance, group.symbols, group.daily_name)
        ]
        waited = time.time() - max(_read_catalog_time(store), min(fetching, default=0.0))
        if fetching and waited < LONGEST_STALE_SECONDS:
            return dg.SkipReason(f"{len(fetching)} runs are fetching")
        # One request per state of the lake and quarter of an hour: no duplicates, and a failed refresh is tried again.
        state = hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()[:12]
        return dg.RunRequest(run_key=f"catalog {state} {int(time.time()) // 900}")

    return follow


def build_compaction_sensor(lake: LakeResource, groups: Sequence[SeriesGroup]) -> dg.SensorDefinition:
    """Compact what consists of many files: closed periods for good, open ones and the ledgers once a day at most.

    Args:
        lake: whose tables.
        groups: those that have a compaction asset of their own; each waits until nobody fetches it.
    """
    jobs = {
        group.name: _define_job(group.compaction_name, group.compaction_key, f"Merges files of {group.name}.")
        for group in groups
    }
    ledgers_job = _define_job(LEDGERS_JOB, LEDGERS, "Merges files of the ledgers.")

    @dg.sensor(
        name="compaction",
        jobs=[*jobs.values(), ledgers_job],
        minimum_interval_seconds=_COMPACTION_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks into the tables' logs for periods that are over and consist of several files, and for periods in"
        " progress and ledgers that consist of many.",
    )
    def compact(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        store = lake.open_store()
        damaged: list[LakeError] = []
        crowded, today = find_crowded_partitions(store, damaged), store.clock().date()
        for error in damaged:
            context.log.error(f"{error.what}; it is left out. {error.fix}")
        requests: list[dg.RunRequest] = []
        fetching = False
        for group in groups:
            job = jobs[group.name].name
            if find_unfinished_runs(context.instance, group.symbols, group.daily_name):
                fetching = True
            elif not find_unfinished_runs(context.instance, [group.compaction_key], job):
                requests += request_compactions(group, job, select_of_group(crowded, group), today)
        ungrouped = select_ungrouped(crowded, groups)
        # A fetch that never ends must not keep its own ledgers from being merged.
        urgent = any(item.files >= _URGENT_FILES for item in ungrouped)
        if (
            ungrouped
            and (urgent or not fetching)
            and not find_unfinished_runs(context.instance, [LEDGERS], LEDGERS_JOB)
        ):
            occasion = f"{today} {_hash_files(ungrouped)}" if urgent else str(today)
            requests.append(dg.RunRequest(job_name=LEDGERS_JOB, run_key=f"ledgers {occasion}"))
        if not requests:
            reason = "a fetch is under way" if crowded and fetching else "nothing consists of many files"
            return dg.SkipReason("; ".join([reason, *(error.what for error in damaged)]))
        return dg.SensorResult(run_requests=requests[:_MOST_REQUESTS])

    return compact


def request_compactions(
    group: SeriesGroup, job: str, crowded: Sequence[Partition], today: date
) -> Iterator[dg.RunRequest]:
    """One request per period of a group's crowded partitions.

    A closed period's run key changes with its files, so that nothing is requested twice; the one in progress is requested
    once a day.
    """
    for period in sorted({item.values[PERIOD] for item in crowded}):
        items = [item for item in crowded if item.values[PERIOD] == period]
        occasion = _hash_files(items) if all(item.closed for item in items) else str(today)
        yield dg.RunRequest(job_name=job, partition_key=period, run_key=f"{group.name} {period} {occasion}")


def _hash_files(partitions: Sequence[Partition]) -> str:
    files = sorted((str(item), item.files, item.rows) for item in partitions)
    return hashlib.sha256(repr(files).encode()).hexdigest()[:12]


def _define_job(name: str, key: dg.AssetKey, description: str) -> AssetJob:
    return dg.define_asset_job(name, selection=dg.AssetSelection.assets(key), description=description)


def _read_catalog_time(store: LakeStore) -> float:
    path = store.storage.catalog
    return path.stat().st_mtime if path.is_file() else 0.0
