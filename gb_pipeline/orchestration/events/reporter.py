"""This module writes outcomes to Dagster's event log, while the run goes on. What the events say is up to `outcome`.

A partition is called materialised after its rows are committed, so a run that is killed has claimed nothing that is not there.
Many events are one transaction: those of the outcomes that come within a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from gb_pipeline.dagster_runtime.event_log import together
from gb_pipeline.dagster_runtime.status_cache import keep_status_warm
from gb_pipeline.errors import QuotaExhausted
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Precision
from gb_pipeline.orchestration.assets.dataset import describe_dataset
from gb_pipeline.orchestration.events.dataset_check import Findings
from gb_pipeline.orchestration.events.outcome import (
    NOT_STORED,
    PartitionOutcome,
    build_table,
    describe_deferral,
    split_by_partition,
    tag_deferral,
)
from gb_pipeline.orchestration.events.red_days import RedDays
from gb_pipeline.orchestration.events.unstored import find_unstored
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.storage import reading

# A failure's own list: enough to see the pattern, the rest is red on the partitions page.
_LISTED = 50
# Events of so many partitions are one transaction, or those that came in so many seconds.
_TOGETHER = 100
_FLUSH_SECONDS = 1.0
# From so many partitions on a run computes what the pages show of them; a single day is quickly seen to by the page.
_LONG = 5


class Reporter:
    """Writes the events of one run of one group.

    Args:
        context: of the running asset.
        group: what it fetches.
        store: where it is stored.
    """

    def __init__(self, context: dg.AssetExecutionContext, group: SeriesGroup, store: LakeStore) -> None:
        """Nothing is written yet."""
        self._context, self._group, self._store = context, group, store
        self._keys = {key: group.partitioning.sessions(key) for key in context.partition_keys}
        self._waiting: list[Outcome] = []
        self._partitions, self._flushed = 0, time.monotonic()
        self._findings = Findings()
        self._red = RedDays(context.instance, store, group)
        self._failed: list[tuple[str, PartitionOutcome]] = []
        self._reported = 0
        self._tagged = False
        self._rows: dict[str, int] = {}
        self._rows_at: int | None = None

    def report_open(self, now: datetime) -> list[str]:
        """Say of sessions that are not over that they are not fetched yet; the partitions that can be stored as a whole.

        A day exists as soon as a half day would be over, so a backfill in the afternoon may hold one that is not.
        """
        keys = self._context.partition_keys
        over = self._group.find_over(keys, now)
        still = sorted(set(keys) - set(over))
        events = [
            event for key in still for event in describe_open(self._group, self._context.selected_asset_keys, key)
        ]
        if still:
            with together(self._context.instance, self._context.run.run_id):
                for event in events:
                    self._context.log_event(event)
            self._context.log.warning(f"not fetched, as the session is not over: {', '.join(still)}")
        return over

    def report(self, job: Outcome) -> None:
        """Write what became of a job that is stored: at once, or with others that come within a second."""
        self._waiting.append(job)
        self._partitions += sum(days[0] < job.end and days[1] > job.start for days in self._keys.values())
        if self._partitions >= _TOGETHER or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        jobs, self._waiting, self._partitions = self._waiting, [], 0
        self._flushed = time.monotonic()
        if not jobs:
            return
        rows = self._count_rows(jobs)
        by_series = [(self._group.key(job.symbol), split_by_partition(self._keys, job)) for job in jobs]
        # What takes time is done: others who write wait for the transaction.
        events = [event for key, own in by_series for event in describe_series(key, own, rows, self._red)]
        with together(self._context.instance, self._context.run.run_id):
            for event in events:
                self._context.log_event(event)
        outcomes = [(outcome.job.symbol.code, outcome) for _, own in by_series for outcome in own]
        for code, outcome in outcomes:
            self._findings.add(code, outcome)
            if (why := outcome.deferred) is not None:
                self._tag_deferred(why)
        self._failed += [(code, outcome) for code, outcome in outcomes if outcome.failed]
        self._reported += len(outcomes)

    def _tag_deferred(self, why: QuotaExhausted) -> None:
        if self._tagged:
            return
        self._tagged = True
        self._context.instance.add_run_tags(self._context.run.run_id, tag_deferral(self._group.name, why))
        self._context.log.warning(f"{describe_deferral(why)}; what is left of this run waits until then")

    def finish(self) -> None:
        """Raise where anything is not stored: Dagster shows the partitions of a failed run that have no event as failed.

        Raises:
            dagster.Failure: with a table of what and why. Retrying would only repeat what the transport tried already.
        """
        self._flush()
        if self._reported:
            self._findings.note_earlier(find_unstored(self._context.instance, self._store, self._group))
            for event in describe_run(self._store, self._group, self._rows, self._findings):
                self._context.log_event(event)
        if len(self._keys) >= _LONG:
            keep_status_warm(self._context.instance, self._context.selected_asset_keys, self._group.partitions)
        if not self._failed:
            return
        rows = [
            {"symbol": code, "partition": item.key, "reason": item.reason, "fix": item.fix}
            for code, item in self._failed[:_LISTED]
        ]
        raise dg.Failure(
            f"{len(self._failed)} of {self._reported} partitions are not stored. {self._failed[0][1].why}",
            metadata={"not_stored": build_table(rows)},
            allow_retries=False,
        )

    def _count_rows(self, jobs: Sequence[Outcome]) -> dict[str, int]:
        """Rows of whole series, from the log's statistics; read again only after a commit."""
        newest = max((job.version for job in jobs if job.version is not None), default=self._rows_at)
        if newest != self._rows_at or not self._rows:
            self._rows_at = newest
            self._rows = count_series_rows(self._store, self._group)
        return self._rows


def describe_series(
    key: dg.AssetKey, outcomes: Sequence[PartitionOutcome], rows: Mapping[str, int], red: RedDays
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """The event of each partition of a series: that it is stored, or why it is not; the page of a red day would be blank otherwise.

    Args:
        key: asset of the series.
        outcomes: in order.
        rows: bars of whole series by symbol.
        red: told of the outcomes; what it knows is said by the newest event of what is stored, which the page of the series shows.
    """
    for outcome in outcomes:
        red.add(outcome)
    newest = next((one for one in reversed(outcomes) if one.stored), None)
    for outcome in outcomes:
        if (why := outcome.deferred) is not None:
            sentence, metadata = describe_deferral(why), outcome.deferral_metadata(why)
            yield dg.AssetObservation(key, description=sentence, metadata=metadata, partition=outcome.key)
        elif not outcome.stored:
            metadata = outcome.failure_metadata()
            yield dg.AssetObservation(key, description=outcome.why, metadata=metadata, partition=outcome.key)
        else:
            metadata = outcome.materialization_metadata(rows.get(outcome.job.symbol.code, 0))
            if outcome is newest and (others := red.describe(key)) is not None:
                metadata = {NOT_STORED: others, **metadata}
            yield dg.AssetMaterialization(key, description=outcome.sentence, metadata=metadata, partition=outcome.key)


def describe_open(group: SeriesGroup, series: Iterable[dg.AssetKey], key: str) -> Iterator[dg.AssetObservation]:
    """What is said of a day whose session is not over, for each series."""
    close = max(group.partitioning.closes(*group.partitioning.sessions(key)).values())
    sentence = f"the session is not over before {close:%Y-%m-%d %H:%M}Z; the schedule fetches it then"
    metadata: dict[str, Any] = {"status": "not over", "closes": dg.MetadataValue.timestamp(close)}
    for one in sorted(series):
        yield dg.AssetObservation(one, description=sentence, metadata=metadata, partition=key)


def describe_run(
    store: LakeStore, group: SeriesGroup, rows: Mapping[str, int], findings: Findings
) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """What a dataset holds after a run, and what the run found."""
    yield describe_dataset(store, group, rows, findings.sentence)
    yield findings.evaluate(group.dataset_key)


def count_series_rows(store: LakeStore, group: SeriesGroup) -> dict[str, int]:
    """How many bars each stored symbol of a group has."""
    files_of = {}
    for precision in Precision:
        snapshot = store.tables.newest(bars_dataset(group.resolution, precision).name)
        files_of[precision] = reading.current_files(snapshot, snapshot.select({"source": group.source.name}))
    standard, wide = files_of[Precision.STANDARD], files_of[Precision.WIDE]
    if group.resolution.intraday and (standard.is_empty() or wide.is_empty()):
        # Every symbol has files of its own, and the log counts their rows.
        counts = pl.concat([files.select("symbol", "rows") for files in files_of.values()])
        return dict(counts.group_by("symbol").agg(pl.col("rows").sum()).iter_rows())
    keys = ["symbol", "timestamp"]
    rows = [
        reading.scan(store.storage, bars_dataset(group.resolution, precision), files, keys)
        for precision, files in files_of.items()
        if files.height
    ]
    if not rows:
        return {}
    # A wide row takes the place of its standard sibling.
    each = rows[0] if len(rows) == 1 else pl.concat(rows).unique()
    return dict(each.group_by("symbol").len().collect().iter_rows())
