"""Compaction is done by assets: here is which partitions of the lake's tables each merges, and what came of it.

The rewriting and its proof are in `storage.compaction`; when it is worth it is up to `sensors`.

Bars of a group have one asset; its partitions are the periods of the table's files, the one in progress included: a month, a
year for days and longer, a day for seconds. Everything else is merged by one asset without partitions: the ledgers and what
collectors keep, which belong to no group, and bars that gb.yaml no longer names.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import bars_dataset, parse_bar_table
from gb_pipeline.lake.maintenance import compact_tables
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.events.outcome import build_table
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.storage.compaction import CompactionReport, Partition, find_candidates
from gb_pipeline.storage.dataset import PERIOD, Period

LEDGERS = dg.AssetKey("ledgers_compaction")
POOL = "compaction"
# A period counts as closed this long after its end, so that its last sessions have settled and holes have been filled.
SETTLING = timedelta(days=7)
# A run's list of what it merged; the rest is in the tables' own logs.
_LISTED = 50
_CRON = {Period.DAY: "0 0 * * *", Period.MONTH: "0 0 1 * *", Period.YEAR: "0 0 1 1 *"}


def define_periods(group: SeriesGroup) -> dg.TimeWindowPartitionsDefinition:
    """The periods of the group's table, up to the one in progress."""
    period = bars_dataset(group.resolution).period
    assert period is not None, "files of bars have a period"
    start = group.source.start
    first = datetime(start.year, 1 if period is Period.YEAR else start.month, start.day if period is Period.DAY else 1)
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule=_CRON[period],
        start=first,
        fmt=period.value,
        # The zone of the bars: Dagster refuses a backfill over partitions of two zones that depend on each other.
        timezone=group.partitioning.zone,
        end_offset=1,
    )


def find_crowded_partitions(store: LakeStore, damaged: list[LakeError] | None = None) -> list[Partition]:
    """Partitions with too many files, of all tables: closed ones that have several, open ones that have many.

    No data file is opened.

    Args:
        damaged: takes the errors of tables whose contents are not known; they are left out.
    """
    return find_candidates(store.tables, now=store.clock() - SETTLING, damaged=[] if damaged is None else damaged)


def select_of_group(partitions: Sequence[Partition], group: SeriesGroup) -> list[Partition]:
    """Those that the group's compaction asset merges."""
    known = define_periods(group)

    def is_of_group(item: Partition) -> bool:
        # A source that went wide has older bars in the standard table.
        kind = parse_bar_table(item.table)
        return (
            kind is not None
            and kind[0] is group.resolution
            and item.values["source"] == group.source.name
            and known.has_partition_key(item.values[PERIOD])
        )

    return [item for item in partitions if is_of_group(item)]


def select_ungrouped(partitions: Sequence[Partition], groups: Sequence[SeriesGroup]) -> list[Partition]:
    """Those of the ledgers, of sources that are gone, and of days before a source's start."""
    grouped = {id(item) for group in groups for item in select_of_group(partitions, group)}
    return [item for item in partitions if id(item) not in grouped]


def build_compaction_asset(group: SeriesGroup) -> dg.AssetsDefinition:
    """One asset per group; a partition is a period of all its symbols."""

    @dg.asset(
        key=group.compaction_key,
        group_name="maintenance",
        kinds={"delta"},
        pool=POOL,
        partitions_def=define_periods(group),
        deps=list(group.symbols),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        description=f"Merges the small files of {group.table} (source {group.source.name}): of a period that is over for"
        " good, of the one in progress when it has many. A merge is committed only after the new file is proved to hold the"
        " rows that were recorded; reading and fetching go on meanwhile.",
    )
    def compaction(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
        crowded = select_of_group(find_crowded_partitions(lake.store), group)
        return _merge(lake.store, [item for item in crowded if item.values[PERIOD] == context.partition_key])

    return compaction


def build_ledgers_compaction_asset(groups: Sequence[SeriesGroup]) -> dg.AssetsDefinition:
    """One asset for whatever belongs to no group.

    Args:
        groups: those that have a compaction asset of their own.
    """

    @dg.asset(
        key=LEDGERS,
        group_name="maintenance",
        kinds={"delta"},
        pool=POOL,
        description="Merges the small files of the ledgers (sessions, quarantine, fetches, corporate actions), of trades and order"
        " books, and of bars that gb.yaml no longer names.",
    )
    def ledgers_compaction(lake: LakeResource) -> dg.MaterializeResult[None]:
        return _merge(lake.store, select_ungrouped(find_crowded_partitions(lake.store), groups))

    return ledgers_compaction


def _merge(store: LakeStore, wanted: Sequence[Partition]) -> dg.MaterializeResult[None]:
    merged = list(compact_tables(store, wanted))
    done = [report for item in merged for report in item.reports]
    left = [pair for item in merged for pair in item.skipped]
    if left:
        failed = [{"partition": str(item), "reason": error.what, "fix": error.fix} for item, error in left]
        raise dg.Failure(
            f"{len(failed)} of {len(wanted)} partitions were left as they are; {failed[0]['partition']}: {failed[0]['reason']}",
            metadata={"left": build_table(failed[:_LISTED]), "merged": len(done)},
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=_build_metadata(done))


def _build_metadata(done: Sequence[CompactionReport]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "merged": len(done),
        "files_before": sum(item.partition.files for item in done),
        "files_after": sum(item.files_after for item in done),
        "bytes_before": sum(item.partition.bytes for item in done),
        "bytes_after": sum(item.bytes_after for item in done),
        "rows": sum(item.partition.rows for item in done),
    }
    rows = [
        {
            "partition": str(item.partition),
            "files_before": item.partition.files,
            "files_after": item.files_after,
            "rows": item.partition.rows,
            "bytes_before": item.partition.bytes,
            "bytes_after": item.bytes_after,
        }
        for item in done[:_LISTED]
    ]
    return metadata | ({"merges": build_table(rows)} if rows else {})
