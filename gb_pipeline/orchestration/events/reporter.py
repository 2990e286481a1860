"""This module writes outcomes to Dagster's event log, while the run goes on. What the events say is up to `series_events`.

A partition is called materialised after its rows are committed, so a run that is killed has claimed nothing that is not there.
Many events are one transaction: those of the outcomes that come within a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from gb_pipeline.dagster_runtime.event_log import together
from gb_pipeline.dagster_runtime.runs import LEFT_OUT_TAG
from gb_pipeline.dagster_runtime.status_cache import keep_status_warm
from gb_pipeline.errors import QuotaExhausted
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.dataset_check import Findings
from gb_pipeline.orchestration.events.outcome import (
    PartitionOutcome,
    build_table,
    describe_deferral,
    split_by_partition,
    tag_deferral,
)
from gb_pipeline.orchestration.events.red_days import RedDays
from gb_pipeline.orchestration.events.series_events import (
    count_series_rows,
    describe_close,
    describe_open,
    describe_run,
    describe_series,
)
from gb_pipeline.orchestration.events.unstored import find_unstored
from gb_pipeline.orchestration.events.waiting import TOGETHER, WaitingOutcomes
from gb_pipeline.orchestration.series_group import SeriesGroup

# A failure's own list: enough to see the pattern, the rest is red on the partitions page.
_LISTED = 50
# Or as soon as there are `TOGETHER` partitions: who looks at the page of a run that goes on sees what became of it.
_SECONDS = 1.0
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
        self._waiting = WaitingOutcomes(_SECONDS, TOGETHER)
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
            said = f"{', '.join(still)}: {describe_close(self._group, still[-1])}"
            self._context.log.warning(f"not fetched: {said}")
            self._context.instance.add_run_tags(self._context.run.run_id, {LEFT_OUT_TAG: said})
        return over

    def report(self, job: Outcome) -> None:
        """Write what became of a job that is stored: at once, or with others that come within a second."""
        touched = sum(days[0] < job.end and days[1] > job.start for days in self._keys.values())
        if self._waiting.add(job, touched):
            self._flush()

    def _flush(self) -> None:
        jobs = self._waiting.take()
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
