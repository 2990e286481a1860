"""Compaction as assets: which partitions of the lake's tables are merged, and what came of it.

Belongs here: what an asset merges, its partitions and its report. Does not belong here: the rewriting and its proof
(`storage.compaction`), and when it is worth it (`sensors`).

Bars of a dataset have one asset; its partitions are the periods of the table's files, the one in progress included: a month, a
year for days and longer, a day for seconds. Everything else is merged by one asset without partitions: the ledgers, which
belong to no dataset, and bars that gb.yaml no longer names.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import bars, bars_of
from gb_pipeline.lake.maintenance import merge
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.outcome import table
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.storage.compaction import CompactionReport, Partition, candidates
from gb_pipeline.storage.dataset import PERIOD, Period

LEDGERS = dg.AssetKey("ledgers_compaction")
POOL = "compaction"
# A period counts as closed this long after its end, so that its last sessions have settled and holes have been filled.
SETTLING = timedelta(days=7)
# A run's list of what it merged; the rest is in the tables' own logs.
_LISTED = 50
_CRON = {Period.DAY: "0 0 * * *", Period.MONTH: "0 0 1 * *", Period.YEAR: "0 0 1 1 *"}


def compaction_key(dataset: Dataset) -> dg.AssetKey:
    """`[source, "bars_1m_compaction"]`."""
    return dg.AssetKey([dataset.source.name, f"{dataset.resolution.table}_compaction"])


def periods(dataset: Dataset) -> dg.TimeWindowPartitionsDefinition:
    """The periods of the dataset's table, up to the one in progress."""
    period = bars(dataset.resolution).period
    assert period is not None, "files of bars have a period"
    start = dataset.source.start
    first = datetime(start.year, 1 if period is Period.YEAR else start.month, start.day if period is Period.DAY else 1)
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule=_CRON[period],
        start=first,
        fmt=period.value,
        # The zone of the bars: Dagster refuses a backfill over partitions of two zones that depend on each other.
        timezone=dataset.partitioning.zone,
        end_offset=1,
    )


def crowded(store: LakeStore, damaged: list[LakeError] | None = None) -> list[Partition]:
    """Partitions with too many files, of all tables: closed ones that have several, open ones that have many.

    No data file is opened.

    Args:
        damaged: takes the errors of tables whose contents are not known; they are left out.
    """
    return candidates(store.tables, now=store.clock() - SETTLING, damaged=[] if damaged is None else damaged)


def of_dataset(found: Sequence[Partition], dataset: Dataset) -> list[Partition]:
    """Those that the dataset's compaction asset merges."""
    known = periods(dataset)

    def mine(item: Partition) -> bool:
        # A source that went wide has older bars in the standard table.
        kind = bars_of(item.table)
        return (
            kind is not None
            and kind[0] is dataset.resolution
            and item.values["source"] == dataset.source.name
            and known.has_partition_key(item.values[PERIOD])
        )

    return [item for item in found if mine(item)]


def of_no_dataset(found: Sequence[Partition], parts: Sequence[Dataset]) -> list[Partition]:
    """Those of the ledgers, of sources that are gone, and of days before a source's start."""
    taken = {id(item) for dataset in parts for item in of_dataset(found, dataset)}
    return [item for item in found if id(item) not in taken]


def compaction_asset(dataset: Dataset) -> dg.AssetsDefinition:
    """One asset per dataset; a partition is a period of all its symbols."""

    @dg.asset(
        key=compaction_key(dataset),
        group_name="lake",
        kinds={"delta"},
        pool=POOL,
        partitions_def=periods(dataset),
        deps=list(dataset.symbols),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        description=f"Merges the small files of {dataset.table} (source {dataset.source.name}): of a period that is over for"
        " good, of the one in progress when it has many. A merge is committed only after the new file is proved to hold the"
        " rows that were recorded; reading and fetching go on meanwhile.",
    )
    def compaction(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
        found = of_dataset(crowded(lake.store), dataset)
        return _merged(lake.store, [item for item in found if item.values[PERIOD] == context.partition_key])

    return compaction


def ledgers_compaction_asset(parts: Sequence[Dataset]) -> dg.AssetsDefinition:
    """One asset for whatever belongs to no dataset.

    Args:
        parts: the datasets that have a compaction asset of their own.
    """

    @dg.asset(
        key=LEDGERS,
        group_name="lake",
        kinds={"delta"},
        pool=POOL,
        description="Merges the small files of the ledgers (sessions, quarantine, fetches, corporate actions), and of bars that"
        " gb.yaml no longer names.",
    )
    def ledgers_compaction(lake: LakeResource) -> dg.MaterializeResult[None]:
        return _merged(lake.store, of_no_dataset(crowded(lake.store), parts))

    return ledgers_compaction


def _merged(store: LakeStore, wanted: Sequence[Partition]) -> dg.MaterializeResult[None]:
    merged = list(merge(store, wanted))
    done = [report for item in merged for report in item.done]
    left = [pair for item in merged for pair in item.left]
    if left:
        failed = [{"partition": str(item), "reason": error.what, "fix": error.fix} for item, error in left]
        raise dg.Failure(
            f"{len(failed)} of {len(wanted)} partitions were left as they are; {failed[0]['partition']}: {failed[0]['reason']}",
            metadata={"left": table(failed[:_LISTED]), "merged": len(done)},
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=_shown(done))


def _shown(done: Sequence[CompactionReport]) -> dict[str, Any]:
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
            "partition": str(item.partition),
            "files_before": item.partition.files,
            "files_after": item.files_after,
            "rows": item.partition.rows,
            "bytes_before": item.partition.bytes,
            "bytes_after": item.bytes_after,
        }
        for item in done[:_LISTED]
    ]
    return shown | ({"merges": table(rows)} if rows else {})
