"""What happens by itself between the schedules: the catalog follows the lake, and closed periods are compacted.

Belongs here: when. Does not belong here: what (`assets`). Both ask the lake rather than Dagster's event log, so what `gb fetch`
or another program wrote counts as well.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from gb_pipeline.lake.catalog import catalog_is_stale, table_versions
from gb_pipeline.lake.compaction import Partition
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.assets.catalog import CATALOG
from gb_pipeline.orchestration.assets.compaction import compaction_key, crowded, is_closed
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.schedules import daily_name

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# While runs are under way the catalog would be stale again at once; a long backfill gets one this often nevertheless.
LONGEST_STALE_SECONDS = 600
CATALOG_JOB = "catalog_refresh"
_SECONDS = 15
_COMPACTION_SECONDS = 600
_MOST_REQUESTS = 20
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def catalog_sensor(lake: str, parts: Sequence[Dataset]) -> dg.SensorDefinition:
    """Refresh the catalog once ingestion has come to rest.

    Args:
        lake: root of the lake.
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
        store = LakeStore.at(lake)
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


def compaction_sensor(lake: str, parts: Sequence[Dataset]) -> dg.SensorDefinition:
    """Compact a period when it is over and consists of many files, and nobody writes to its source.

    Args:
        lake: root of the lake.
        parts: what may be compacted.
    """
    jobs = {
        dataset.name: _job(f"{dataset.name}_compaction", compaction_key(dataset), f"Merges files of {dataset.name}.")
        for dataset in parts
    }

    @dg.sensor(
        name="compaction_of_closed_periods",
        jobs=list(jobs.values()),
        minimum_interval_seconds=_COMPACTION_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks into the tables' logs for periods that are over and consist of many files.",
    )
    def compact(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        store = LakeStore.at(lake)
        requests: list[dg.RunRequest] = []
        for dataset in parts:
            job = jobs[dataset.name].name
            fetching = under_way(context.instance, dataset.symbols, daily_name(dataset))
            if not fetching and not under_way(context.instance, [compaction_key(dataset)], job):
                requests += _requests(dataset, job, crowded(store, dataset))
        if not requests:
            return dg.SkipReason("no closed period consists of many files")
        return dg.SensorResult(run_requests=requests[:_MOST_REQUESTS])

    return compact


def _requests(dataset: Dataset, job: str, found: Sequence[Partition]) -> Iterator[dg.RunRequest]:
    """One request per closed period; the key changes with the files, so nothing is asked for twice."""
    today = datetime.now(UTC).date()
    first = dataset.source.start
    for period in sorted({item.period for item in found}):
        if _begins(period) < date(first.year, first.month if "-" in period else 1, 1) or not is_closed(period, today):
            continue
        files = sorted((item.symbol or "", item.files, item.rows) for item in found if item.period == period)
        state = hashlib.sha256(repr(files).encode()).hexdigest()[:12]
        yield dg.RunRequest(job_name=job, partition_key=period, run_key=f"{dataset.name} {period} {state}")


def _begins(period: str) -> date:
    year, _, month = period.partition("-")
    return date(int(year), int(month or 1), 1)


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
