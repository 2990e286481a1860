"""What happens by itself between the schedules: the catalog follows the lake, and many small files become few.

Belongs here: when. Does not belong here: what (`assets`). Both ask the lake rather than Dagster's event log, so what `gb fetch`
or another program wrote counts as well.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from gb_pipeline.catalog.projection import catalog_is_stale, table_versions
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.assets.catalog import CATALOG
from gb_pipeline.orchestration.assets.compaction import (
    LEDGERS,
    compaction_key,
    crowded,
    of_dataset,
    of_no_dataset,
)
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.schedules import daily_name
from gb_pipeline.storage.compaction import Partition
from gb_pipeline.storage.dataset import PERIOD

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# While runs are under way the catalog would be stale again at once; a long backfill gets one this often nevertheless.
LONGEST_STALE_SECONDS = 600
CATALOG_JOB = "catalog_refresh"
LEDGERS_JOB = "compaction_of_ledgers"
_SECONDS = 15
_COMPACTION_SECONDS = 600
_MOST_REQUESTS = 20
_URGENT_FILES = 100
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def catalog_sensor(lake: LakeResource, parts: Sequence[Dataset]) -> dg.SensorDefinition:
    """Refresh the catalog once ingestion has come to rest.

    Args:
        lake: which the catalog describes.
        parts: whose runs are waited for.
    """

    @dg.sensor(
        name="catalog_follows_the_lake",
        job=_job(CATALOG_JOB, CATALOG, "Refreshes the DuckDB catalog."),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Compares the catalog with the versions of the lake's tables, and refreshes it when no ingestion is"
        f" running, or at the latest after {LONGEST_STALE_SECONDS // 60} minutes.",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        store = lake.opened()
        versions = table_versions(store)
        if not versions:
            return dg.SkipReason("the lake is empty")
        if not catalog_is_stale(store):
            return dg.SkipReason("the catalog says what the lake holds")
        if under_way(context.instance, [CATALOG], CATALOG_JOB):
            return dg.SkipReason("a refresh is under way")
        fetching = [at for part in parts for at in under_way(context.instance, part.symbols, daily_name(part))]
        waited = time.time() - max(_modified(store), min(fetching, default=0.0))
        if fetching and waited < LONGEST_STALE_SECONDS:
            return dg.SkipReason(f"{len(fetching)} runs are fetching")
        # One request per state of the lake and quarter of an hour: no duplicates, and a failed refresh is tried again.
        state = hashlib.sha256(repr(sorted(versions.items())).encode()).hexdigest()[:12]
        return dg.RunRequest(run_key=f"catalog {state} {int(time.time()) // 900}")

    return follow


def compaction_sensor(lake: LakeResource, parts: Sequence[Dataset]) -> dg.SensorDefinition:
    """Compact what consists of many files: closed periods for good, open ones and the ledgers once a day at most.

    Args:
        lake: whose tables.
        parts: the datasets that have a compaction asset of their own; each waits until nobody fetches it.
    """
    jobs = {
        dataset.name: _job(f"{dataset.name}_compaction", compaction_key(dataset), f"Merges files of {dataset.name}.")
        for dataset in parts
    }
    rest = _job(LEDGERS_JOB, LEDGERS, "Merges files of the ledgers.")

    @dg.sensor(
        name="compaction",
        jobs=[*jobs.values(), rest],
        minimum_interval_seconds=_COMPACTION_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks into the tables' logs for periods that are over and consist of several files, and for periods in"
        " progress and ledgers that consist of many.",
    )
    def compact(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        store = lake.opened()
        damaged: list[LakeError] = []
        found, today = crowded(store, damaged), store.clock().date()
        for error in damaged:
            context.log.error(f"{error.what}; it is left out. {error.fix}")
        requests: list[dg.RunRequest] = []
        fetching = False
        for dataset in parts:
            job = jobs[dataset.name].name
            if under_way(context.instance, dataset.symbols, daily_name(dataset)):
                fetching = True
            elif not under_way(context.instance, [compaction_key(dataset)], job):
                requests += requests_of(dataset, job, of_dataset(found, dataset), today)
        others = of_no_dataset(found, parts)
        # A fetch that never ends must not keep its own ledgers from being merged.
        urgent = any(item.files >= _URGENT_FILES for item in others)
        if others and (urgent or not fetching) and not under_way(context.instance, [LEDGERS], LEDGERS_JOB):
            occasion = f"{today} {_state(others)}" if urgent else str(today)
            requests.append(dg.RunRequest(job_name=LEDGERS_JOB, run_key=f"ledgers {occasion}"))
        if not requests:
            told = "a fetch is under way" if found and fetching else "nothing consists of many files"
            return dg.SkipReason("; ".join([told, *(error.what for error in damaged)]))
        return dg.SensorResult(run_requests=requests[:_MOST_REQUESTS])

    return compact


def requests_of(dataset: Dataset, job: str, found: Sequence[Partition], today: date) -> Iterator[dg.RunRequest]:
    """One request per period. Of a closed one the key changes with its files, so that nothing is asked for twice; the one in
    progress is asked for once a day."""
    for period in sorted({item.values[PERIOD] for item in found}):
        items = [item for item in found if item.values[PERIOD] == period]
        occasion = _state(items) if all(item.closed for item in items) else str(today)
        yield dg.RunRequest(job_name=job, partition_key=period, run_key=f"{dataset.name} {period} {occasion}")


def _state(found: Sequence[Partition]) -> str:
    files = sorted((str(item), item.files, item.rows) for item in found)
    return hashlib.sha256(repr(files).encode()).hexdigest()[:12]


def _job(name: str, key: dg.AssetKey, description: str) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(name, selection=dg.AssetSelection.assets(key), description=description)


def under_way(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey], job: str) -> list[float]:
    """When the runs were created that have not ended and make some of these assets; `job` is the one of a schedule or sensor."""
    found = instance.get_run_records(dg.RunsFilter(statuses=_UNFINISHED))
    return [
        record.create_timestamp.timestamp()
        for record in found
        if record.dagster_run.job_name == job or not set(keys).isdisjoint(record.dagster_run.asset_selection or ())
    ]


def _modified(store: LakeStore) -> float:
    path = store.storage.catalog
    return path.stat().st_mtime if path.is_file() else 0.0
