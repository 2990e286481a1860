"""From outcomes to Dagster's event log, while the run goes on.

Belongs here: which events are written, in which order. A partition is called materialised after its rows are committed, so
a run that is killed has claimed nothing that is not there. Does not belong here: what the events say (`outcome`).

`context.log_event` writes at once, also from the thread that stores. Passed checks name the materialisation they speak about,
or Dagster's pages do not show them; its number is only known after it was written, hence one query per series and job.

Dagster opens and closes a SQLite connection for every statement, and SQLite folds its journal back into the database
whenever the last one closes. Connections that stay open for the length of the run, and do nothing, halve the time: 59 to 32
milliseconds for a day with its two checks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import dagster as dg
import polars as pl
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData as Target,
)
from dagster._core.storage.event_log import SqliteEventLogStorage

from gb_pipeline.errors import QuotaExhausted
from gb_pipeline.ingest.job import Outcome
from gb_pipeline.lake.datasets import bars
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Precision
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.outcome import (
    DEFERRED_TAG,
    UNTIL_FORMAT,
    UNTIL_TAG,
    PartitionOutcome,
    postponed,
    split,
    table,
)
from gb_pipeline.storage import reading

# A failure's own list: enough to see the pattern, the rest is red on the partitions page.
_LISTED = 50


class Reporter:
    """Events of one run of one dataset.

    Args:
        context: of the running asset.
        dataset: what it fetches.
        store: where it is stored.
    """

    def __init__(self, context: dg.AssetExecutionContext, dataset: Dataset, store: LakeStore) -> None:
        """Nothing is written yet."""
        self._context, self._dataset, self._store = context, dataset, store
        self._keys = {key: dataset.partitioning.sessions(key) for key in context.partition_keys}
        self._bad: list[tuple[str, PartitionOutcome]] = []
        self._seen = 0
        self._postponed = False
        self._rows: dict[str, int] = {}
        self._rows_at: int | None = None
        self._idle: list[sqlite3.Connection] = []

    def __enter__(self) -> Reporter:
        """Keep the event log's files open."""
        storage = self._context.instance.event_log_storage
        if not isinstance(storage, SqliteEventLogStorage):
            return self
        for shard in ("index", self._context.run.run_id):
            connection = sqlite3.connect(storage.path_for_shard(shard), check_same_thread=False)
            self._idle.append(connection)
            # Only the first statement really opens the file.
            connection.execute("select count(*) from sqlite_master").fetchone()
        return self

    def __exit__(self, *_: object) -> None:
        """Let them go."""
        for connection in self._idle:
            connection.close()

    def tell(self, job: Outcome) -> None:
        """Write what became of a job that is stored."""
        key = self._dataset.key(job.symbol)
        outcomes = split(self._keys, job)
        fine = [outcome for outcome in outcomes if not outcome.failed and outcome.deferred is None]
        rows = self._series_rows(job)
        for outcome in fine:
            self._context.log_event(
                dg.AssetMaterialization(
                    key, description=outcome.sentence, metadata=outcome.metadata(rows), partition=outcome.key
                )
            )
        for outcome in outcomes:
            if (why := outcome.deferred) is not None:
                seen = dg.AssetObservation(
                    key, description=postponed(why), metadata=outcome.postponement(why), partition=outcome.key
                )
                self._context.log_event(seen)
                self._postpone(why)
            if outcome.failed:
                # The page of a red day would be blank otherwise.
                seen = dg.AssetObservation(
                    key, description=outcome.reason, metadata=outcome.failure(), partition=outcome.key
                )
                self._context.log_event(seen)
        targets = self._targets(key, [outcome.key for outcome in fine])
        for outcome in outcomes:
            for check in self._evaluations(key, outcome, targets.get(outcome.key)):
                self._context.log_event(check)
        self._bad += [(job.symbol.code, outcome) for outcome in outcomes if outcome.failed]
        self._seen += len(outcomes)

    def _postpone(self, why: QuotaExhausted) -> None:
        if self._postponed:
            return
        self._postponed = True
        # The tags are how the sensor finds the run again, and what its page says of it.
        tags = {DEFERRED_TAG: self._dataset.name, UNTIL_TAG: why.until.strftime(UNTIL_FORMAT)}
        self._context.instance.add_run_tags(self._context.run.run_id, tags)
        self._context.log.warning(f"{postponed(why)}; what is left of this run waits until then")

    def finish(self) -> None:
        """Raise where anything is not stored: Dagster shows the partitions of a failed run that have no event as failed.

        Raises:
            dagster.Failure: with a table of what and why. Retrying would only repeat what the transport tried already.
        """
        if not self._bad:
            return
        rows = [{"symbol": code, "partition": item.key, "reason": item.reason} for code, item in self._bad[:_LISTED]]
        first = rows[0]
        raise dg.Failure(
            f"{len(self._bad)} of {self._seen} partitions are not stored; the first: {first['symbol']} {first['partition']}:"
            f" {first['reason']}",
            metadata={"not_stored": table(rows)},
            allow_retries=False,
        )

    def _evaluations(
        self, key: dg.AssetKey, outcome: PartitionOutcome, target: Target | None
    ) -> Iterable[dg.AssetCheckEvaluation]:
        for name, (passed, severity, metadata) in outcome.checks().items():
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=name,
                passed=passed,
                severity=severity,
                metadata=metadata,
                partition=outcome.key,
                target_materialization_data=target,
            )

    def _targets(self, key: dg.AssetKey, partitions: Sequence[str]) -> dict[str, Target]:
        if not partitions:
            return {}
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=list(partitions))
        found: dict[str, Target] = {}
        # Newest first; the events just written are the newest of their partitions.
        for record in self._context.instance.fetch_materializations(wanted, limit=len(partitions)).records:
            if record.partition_key is not None:
                target = Target(storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp)
                found.setdefault(record.partition_key, target)
        return found

    def _series_rows(self, job: Outcome) -> int:
        """Rows of the whole series, from the log's statistics; read again only after a commit."""
        if (job.version is not None and job.version != self._rows_at) or job.symbol.code not in self._rows:
            self._rows_at = job.version
            self._rows = series_rows(self._store, self._dataset)
        return self._rows.get(job.symbol.code, 0)


def series_rows(store: LakeStore, dataset: Dataset) -> dict[str, int]:
    """How many bars each stored symbol of a dataset has."""
    found = {}
    for precision in Precision:
        snapshot = store.tables.newest(bars(dataset.resolution, precision).name)
        found[precision] = reading.current(snapshot, snapshot.select({"source": dataset.source.name}))
    standard, wide = found[Precision.STANDARD], found[Precision.WIDE]
    if dataset.resolution.intraday and (standard.is_empty() or wide.is_empty()):
        # Every symbol has files of its own, and the log counts their rows.
        counts = pl.concat([files.select("symbol", "rows") for files in found.values()])
        return dict(counts.group_by("symbol").agg(pl.col("rows").sum()).iter_rows())
    keys = ["symbol", "timestamp"]
    rows = [
        reading.scan(store.storage, bars(dataset.resolution, precision), files, keys)
        for precision, files in found.items()
        if files.height
    ]
    if not rows:
        return {}
    # A wide row takes the place of its standard sibling.
    each = rows[0] if len(rows) == 1 else pl.concat(rows).unique()
    return dict(each.group_by("symbol").len().collect().iter_rows())
