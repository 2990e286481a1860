"""This module tells a project's Dagster of what happened without it: of what `gb fetch` stored, and of what `gb adopt` finds.

The events are those that a run writes (`reporter`). A fetch gets a run of its own, which nobody launched: Dagster shows a
partition as failed where a run that meant to make it has failed. What is adopted belongs to no run.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import dagster as dg
import polars as pl

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.dagster_runtime.event_log import together
from gb_pipeline.dagster_runtime.home import ensure_home
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.dagster_runtime.private import (
    MAX_RETRIES_TAG,
    AssetMaterializationPlannedData,
    AssetObservationData,
    StepMaterializationData,
)
from gb_pipeline.dagster_runtime.status_cache import keep_status_warm
from gb_pipeline.errors import QuotaExhausted
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.events.dataset_check import Findings
from gb_pipeline.orchestration.events.outcome import PartitionOutcome, tag_deferral
from gb_pipeline.orchestration.events.red_days import RedDays
from gb_pipeline.orchestration.events.series_events import count_series_rows, describe_run, describe_series
from gb_pipeline.orchestration.events.stored_partitions import existing_keys, find_stored_partitions, stored_outcomes
from gb_pipeline.orchestration.events.unstored import find_unstored
from gb_pipeline.orchestration.events.waiting import TOGETHER, WaitingOutcomes
from gb_pipeline.orchestration.series_group import SeriesGroup

T = TypeVar("T")

JOB_NAME = "gb_fetch"
# Nobody looks at a page of a run that is not there yet, and each look at the ledger has its price.
_SECONDS = 5.0
# What only a fetch knows, and the ledger does not keep.
_OF_THE_FETCH = {
    "received", "stored", "unchanged", "duplicates", "restated", "suspicious", "whole_fetch", "of_no_session", "latency_ms",
    "vendor_bytes",
}  # fmt: skip


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance that `gb up` keeps for a project; it is made if there is none."""
    with open_home(ensure_home(settings.path.parent)) as instance:
        yield instance


class FetchEvents:
    """Reports the outcomes of one fetch, as they come.

    Args:
        instance: of the project.
        group: what is fetched.
        store: where it is stored.

    Example:
        >>> events = FetchEvents(instance, group, store)
        >>> ingest(store, group.source, group.resolution, jobs, on_outcome=events.report)
        >>> events.finish()
    """

    def __init__(self, instance: dg.DagsterInstance, group: SeriesGroup, store: LakeStore) -> None:
        """Nothing is written yet."""
        self._instance, self._group, self._store = instance, group, store
        self._run_id = str(uuid.uuid4())
        self._existing = list(existing_keys(group, store.clock()))
        self._waiting = WaitingOutcomes(_SECONDS)
        self._written = 0
        self._findings = Findings()
        self._red = RedDays(instance, store, group)
        self._failed: list[PartitionOutcome] = []
        self._deferred: QuotaExhausted | None = None

    def report(self, job: Outcome) -> None:
        """Take an outcome in; it is written with others a few seconds later.

        Raises:
            DagsterError: the instance cannot be written; what was fetched is stored all the same.
        """
        if self._waiting.add(job):
            with _explained():
                self._flush()

    def finish(self) -> None:
        """Write what is left, and the run: a failed one if partitions are not stored.

        Raises:
            DagsterError: as `report` does.
        """
        with _explained():
            self._flush()
            if self._written:
                rows = count_series_rows(self._store, self._group)
                self._findings.note_earlier(find_unstored(self._instance, self._store, self._group))
                with together(self._instance, self._run_id):
                    for event in describe_run(self._store, self._group, rows, self._findings):
                        self._tell(event)
                self._record_run()

    def _flush(self) -> None:
        jobs = self._waiting.take()
        if not jobs:
            return
        for items in _groups(self._outcomes(jobs), TOGETHER):
            self._write(items, count_series_rows(self._store, self._group))
            self._written += len(items)

    def _outcomes(self, jobs: Sequence[Outcome]) -> Iterator[tuple[Symbol, PartitionOutcome]]:
        """What became of each partition that the jobs touch; nothing of one that is stored in part."""
        partitioning = self._group.partitioning
        symbols = list({job.symbol.code: job.symbol for job in jobs}.values())
        touched = pl.DataFrame(
            sorted({(report.symbol, partitioning.key(report.session)) for job in jobs for report in job.sessions}),
            schema={"symbol": pl.String(), "key": pl.String()},
            orient="row",
        ).filter(pl.col("key").is_in(self._existing))
        if touched.is_empty():
            return
        spans = [partitioning.sessions(key) for key in touched["key"].unique()]
        first, last = min(start for start, _ in spans), max(end for _, end in spans)
        stored = set(find_stored_partitions(self._store, self._group, symbols, first, last).iter_rows())
        for symbol, outcome in stored_outcomes(self._store, self._group, symbols, touched, jobs):
            if outcome.failed or outcome.deferred or (symbol.code, outcome.key) in stored:
                yield symbol, outcome

    def _write(self, items: Sequence[tuple[Symbol, PartitionOutcome]], rows: Mapping[str, int]) -> None:
        of_series: dict[dg.AssetKey, list[PartitionOutcome]] = {}
        for symbol, outcome in items:
            of_series.setdefault(self._group.key(symbol), []).append(outcome)
        events = {key: list(describe_series(key, own, rows, self._red)) for key, own in of_series.items()}
        with together(self._instance, self._run_id):
            for key, outcomes in of_series.items():
                for outcome in outcomes:
                    self._findings.add(outcome.job.symbol.code, outcome)
                    self._deferred = outcome.deferred or self._deferred
                    if outcome.failed:
                        self._log("ASSET_MATERIALIZATION_PLANNED", AssetMaterializationPlannedData(key, outcome.key))
                        self._failed.append(outcome)
                for event in events[key]:
                    self._tell(event)

    def _tell(self, event: dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation) -> None:
        if isinstance(event, dg.AssetMaterialization):
            self._log("ASSET_MATERIALIZATION", StepMaterializationData(event))
        elif isinstance(event, dg.AssetObservation):
            self._log("ASSET_OBSERVATION", AssetObservationData(event))
        else:
            self._log("ASSET_CHECK_EVALUATION", event)

    def _log(self, kind: str, data: Any) -> None:
        event = dg.DagsterEvent(dg.DagsterEventType(kind).value, JOB_NAME, event_specific_data=data)
        self._instance.report_dagster_event(event, self._run_id)

    def _record_run(self) -> None:
        """The run comes last: one that is under way would be looked after by Dagster's daemon, which knows no process of it."""
        tags = {MAX_RETRIES_TAG: "0", "gb/command": f"gb fetch {self._group.source.name} -r {self._group.resolution}"}
        if self._deferred is not None:
            tags |= tag_deferral(self._group.name, self._deferred)
        status = dg.DagsterRunStatus.STARTED if self._failed else dg.DagsterRunStatus.SUCCESS
        run = self._instance.add_run(dg.DagsterRun(JOB_NAME, run_id=self._run_id, status=status, tags=tags))
        if self._failed:
            self._instance.report_run_failed(
                run,
                f"{len(self._failed):,} partitions are not stored. {self._failed[0].why}",
            )


def adopt(
    instance: dg.DagsterInstance,
    group: SeriesGroup,
    store: LakeStore,
    symbols: Sequence[Symbol],
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Mark every partition that is stored as materialised, unless it is already.

    Args:
        instance: of the project.
        group: the series.
        store: where they are stored.
        symbols: of the group.
        on_progress: called with the number of partitions that were looked at since the last call.

    Returns:
        How many were marked.
    """
    start = group.source.start
    stored = find_stored_partitions(store, group, symbols, start, group.source.end)
    stored = stored.filter(stored["key"].is_in(list(existing_keys(group, store.clock()))))
    rows = count_series_rows(store, group)
    known = {symbol.code: symbol for symbol in symbols}
    marked = 0
    for (code,), partitions in stored.partition_by("symbol", as_dict=True).items():
        symbol = known[str(code)]
        key = group.key(symbol)
        done = instance.get_materialized_partitions(key)
        missing = partitions.filter(~pl.col("key").is_in(list(done)))
        for outcomes in _groups(stored_outcomes(store, group, [symbol], missing), TOGETHER):
            with together(instance):
                for _, outcome in outcomes:
                    instance.report_runless_asset_event(_adoption(key, outcome, rows.get(symbol.code, 0)))
            marked += len(outcomes)
            if on_progress is not None:
                on_progress(len(outcomes))
        if on_progress is not None:
            on_progress(partitions.height - missing.height)
        keep_status_warm(instance, [key], group.partitions)
    return marked


def _adoption(key: dg.AssetKey, outcome: PartitionOutcome, series_rows: int) -> dg.AssetMaterialization:
    metadata = outcome.materialization_metadata(series_rows)
    return dg.AssetMaterialization(
        key,
        description=f"{outcome.sentence}, found in the lake",
        metadata={name: value for name, value in metadata.items() if name not in _OF_THE_FETCH},
        partition=outcome.key,
    )


@contextmanager
def _explained() -> Iterator[None]:
    """An error of the database as one that says what to do."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise DagsterError(
            f"Dagster could not be told of what is stored: {' '.join(str(error).split())[:200]}",
            fix="nothing is lost; run `gb adopt` when Dagster's folder can be written",
        ) from error


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
