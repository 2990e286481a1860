"""This module writes outcomes to Dagster's event log, while the run goes on. What the events say is up to `outcome`.

A partition is called materialised after its rows are committed, so a run that is killed has claimed nothing that is not there.

`context.log_event` writes at once, also from the thread that stores. Passed checks name the materialisation they speak about,
or Dagster's pages do not show them; its number is only known after it was written, hence one query per series and job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg
import polars as pl

from gb_pipeline.dagster_runtime.private import CheckTarget
from gb_pipeline.errors import QuotaExhausted
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Precision
from gb_pipeline.orchestration.outcome import (
    DEFERRED_TAG,
    UNTIL_FORMAT,
    UNTIL_TAG,
    PartitionOutcome,
    build_table,
    describe_deferral,
    split_by_partition,
)
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.storage import reading

# A failure's own list: enough to see the pattern, the rest is red on the partitions page.
_LISTED = 50


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
        self._failed: list[tuple[str, PartitionOutcome]] = []
        self._reported = 0
        self._tagged = False
        self._rows: dict[str, int] = {}
        self._rows_at: int | None = None

    def report(self, job: Outcome) -> None:
        """Write what became of a job that is stored."""
        key = self._group.key(job.symbol)
        outcomes = split_by_partition(self._keys, job)
        stored = [outcome for outcome in outcomes if not outcome.failed and outcome.deferred is None]
        rows = self._count_series_rows(job)
        for outcome in stored:
            self._context.log_event(materialization(key, outcome, rows))
        for outcome in outcomes:
            for observation in observations(key, outcome):
                self._context.log_event(observation)
            if (why := outcome.deferred) is not None:
                self._tag_deferred(why)
        targets = find_check_targets(self._context.instance, key, [outcome.key for outcome in stored])
        for outcome in outcomes:
            for check in check_evaluations(key, outcome, targets.get(outcome.key)):
                self._context.log_event(check)
        self._failed += [(job.symbol.code, outcome) for outcome in outcomes if outcome.failed]
        self._reported += len(outcomes)

    def _tag_deferred(self, why: QuotaExhausted) -> None:
        if self._tagged:
            return
        self._tagged = True
        # The tags are how the sensor finds the run again, and what its page says of it.
        tags = {DEFERRED_TAG: self._group.name, UNTIL_TAG: why.until.strftime(UNTIL_FORMAT)}
        self._context.instance.add_run_tags(self._context.run.run_id, tags)
        self._context.log.warning(f"{describe_deferral(why)}; what is left of this run waits until then")

    def finish(self) -> None:
        """Raise where anything is not stored: Dagster shows the partitions of a failed run that have no event as failed.

        Raises:
            dagster.Failure: with a table of what and why. Retrying would only repeat what the transport tried already.
        """
        if not self._failed:
            return
        rows = [{"symbol": code, "partition": item.key, "reason": item.reason} for code, item in self._failed[:_LISTED]]
        first = rows[0]
        raise dg.Failure(
            f"{len(self._failed)} of {self._reported} partitions are not stored; the first: {first['symbol']} {first['partition']}:"
            f" {first['reason']}",
            metadata={"not_stored": build_table(rows)},
            allow_retries=False,
        )

    def _count_series_rows(self, job: Outcome) -> int:
        """Rows of the whole series, from the log's statistics; read again only after a commit."""
        if (job.version is not None and job.version != self._rows_at) or job.symbol.code not in self._rows:
            self._rows_at = job.version
            self._rows = count_series_rows(self._store, self._group)
        return self._rows.get(job.symbol.code, 0)


def materialization(key: dg.AssetKey, outcome: PartitionOutcome, series_rows: int) -> dg.AssetMaterialization:
    """The event of a partition that is stored; `series_rows` are those of the whole series."""
    return dg.AssetMaterialization(
        key,
        description=outcome.sentence,
        metadata=outcome.materialization_metadata(series_rows),
        partition=outcome.key,
    )


def observations(key: dg.AssetKey, outcome: PartitionOutcome) -> Iterable[dg.AssetObservation]:
    """Why a partition is deferred or not stored: the page of a red day would be blank otherwise."""
    if (why := outcome.deferred) is not None:
        yield dg.AssetObservation(
            key, description=describe_deferral(why), metadata=outcome.deferral_metadata(why), partition=outcome.key
        )
    if outcome.failed:
        yield dg.AssetObservation(
            key, description=outcome.reason, metadata=outcome.failure_metadata(), partition=outcome.key
        )


def check_evaluations(
    key: dg.AssetKey, outcome: PartitionOutcome, target: CheckTarget | None
) -> Iterable[dg.AssetCheckEvaluation]:
    """The results of a partition's checks; `target` is the materialisation that they speak about."""
    for name, (passed, severity, metadata) in outcome.evaluate_checks().items():
        yield dg.AssetCheckEvaluation(
            asset_key=key,
            check_name=name,
            passed=passed,
            severity=severity,
            metadata=metadata,
            partition=outcome.key,
            target_materialization_data=target,
        )


def find_check_targets(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, CheckTarget]:
    """The newest materialisation of each partition, as a check names it."""
    if not partitions:
        return {}
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=list(partitions))
    targets: dict[str, CheckTarget] = {}
    # Newest first; the events just written are the newest of their partitions.
    for record in instance.fetch_materializations(wanted, limit=len(partitions)).records:
        if record.partition_key is not None:
            target = CheckTarget(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
            targets.setdefault(record.partition_key, target)
    return targets


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
