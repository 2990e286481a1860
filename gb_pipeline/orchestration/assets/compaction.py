"""Compaction as an asset: which period of a dataset is merged, and what came of it.

Belongs here: its partitions and its report. Does not belong here: the rewriting and its proof (`lake.compaction`), and when
it is worth it (`sensors`).

Partitions are the table's own periods: a year, or a month for bars of a second. The period in progress is none: days are
still added to it.
"""

from datetime import date, datetime
from typing import Any

import dagster as dg

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.lake.compaction import CompactionReport, Partition
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.outcome import table
from gb_pipeline.orchestration.resources import LakeResource

# A run's list of what it merged; the rest is in the table's own log.
_LISTED = 50


def compaction_key(dataset: Dataset) -> dg.AssetKey:
    """`[source, "bars_1m_compaction"]`."""
    return dg.AssetKey([dataset.source.name, f"{dataset.resolution.table}_compaction"])


def periods(dataset: Dataset) -> dg.TimeWindowPartitionsDefinition:
    """The closed periods of the dataset's table."""
    start, zone = dataset.source.start, dataset.partitioning.zone
    # The zone of the bars: Dagster refuses a backfill over partitions of two zones that depend on each other.
    if dataset.resolution is Resolution.SECOND:
        first = datetime(start.year, start.month, 1)
        return dg.TimeWindowPartitionsDefinition(cron_schedule="0 0 1 * *", start=first, fmt="%Y-%m", timezone=zone)
    first = datetime(start.year, 1, 1)
    return dg.TimeWindowPartitionsDefinition(cron_schedule="0 0 1 1 *", start=first, fmt="%Y", timezone=zone)


def is_closed(period: str, today: date) -> bool:
    """Whether a table's period, `2024` or `2024-03`, has ended; a week late, so that the last sessions have settled."""
    year, _, month = period.partition("-")
    end = date(int(year) + 1, 1, 7) if not month else date(int(year) + int(month) // 12, int(month) % 12 + 1, 7)
    return today >= end


def crowded(store: LakeStore, dataset: Dataset) -> list[Partition]:
    """Partitions of the dataset's table with many files; no data file is opened."""
    candidates = store.compaction_candidates()
    return [item for item in candidates if item.table == dataset.table and item.source == dataset.source.name]


def compaction_asset(dataset: Dataset) -> dg.AssetsDefinition:
    """One asset per dataset; a partition is a period of all its symbols."""

    @dg.asset(
        key=compaction_key(dataset),
        group_name="lake",
        kinds={"delta"},
        pool="compaction",
        partitions_def=periods(dataset),
        deps=list(dataset.symbols),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        description=f"Merges the small files of {dataset.table} (source {dataset.source.name}) once a period is over. A merge"
        " is committed only after the new file is proved to hold the same rows; reading and fetching go on meanwhile.",
    )
    def compaction(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
        wanted = [item for item in crowded(lake.store, dataset) if item.period == context.partition_key]
        done: list[CompactionReport] = []
        failed: list[dict[str, str]] = []
        for item in wanted:
            try:
                done.append(lake.store.compact(item.table, item.source, item.symbol, item.period))
            except (LakeError, CompactionRefused) as error:
                failed.append({"symbol": item.symbol or "all", "reason": error.what})
        if failed:
            raise dg.Failure(
                f"{len(failed)} of {len(wanted)} partitions were left as they are; {failed[0]['symbol']}: {failed[0]['reason']}",
                metadata={"left": table(failed[:_LISTED]), "merged": len(done)},
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=_shown(done))

    return compaction


def _shown(done: list[CompactionReport]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "merged": len(done),
        "files_before": sum(item.partition.files for item in done),
        "files_after": sum(item.files_after for item in done),
        "bytes_before": sum(item.partition.bytes for item in done),
        "bytes_after": sum(item.bytes_after for item in done),
        "rows": sum(item.partition.rows for item in done),
    }
    rows = [
        {
            "symbol": item.partition.symbol or "all",
            "files": item.partition.files,
            "rows": item.partition.rows,
            "bytes_before": item.partition.bytes,
            "bytes_after": item.bytes_after,
            "fingerprint": item.fingerprint[:16],
        }
        for item in done[:_LISTED]
    ]
    return shown | ({"merges": table(rows)} if rows else {})
