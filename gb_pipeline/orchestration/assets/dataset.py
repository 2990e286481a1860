"""A dataset is the table of a group of series: one asset that shows what it holds, and carries the check of all of them.

Nothing is made here: the series are (`bars`), and each run that stores some of them reports what the dataset holds by then.
"""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg
import polars as pl

from gb_pipeline.errors import UnknownSeries
from gb_pipeline.lake.report import UNSTORED
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import bar_schema
from gb_pipeline.orchestration.asset_facts import NO_FACTS, AssetFacts, describe_columns
from gb_pipeline.orchestration.events.dataset_check import CHECK, DESCRIPTION, Findings
from gb_pipeline.orchestration.events.source_page import describe_source
from gb_pipeline.orchestration.events.unstored import find_unstored
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.quality.gaps import OPEN_REASONS

# Days that a check from the page looks at.
_RECENT = timedelta(days=30)


def build_dataset_spec(group: SeriesGroup, facts: AssetFacts = NO_FACTS) -> dg.AssetSpec:
    """The asset of the whole table of a source."""
    return dg.AssetSpec(
        group.dataset_key,
        group_name=group.name,
        kinds={"delta", "parquet"},
        owners=facts.owners,
        tags={"vendor": group.vendor, "resolution": str(group.resolution)},
        description=facts.describe(
            f"All bars of {group.resolution} from `{group.source.name}` ({group.vendor}), {len(group.symbols):,} series:"
            " what is stored after the newest run, and whether that run found it valid and complete."
        ),
        metadata={
            "dagster/column_schema": build_column_schema(group),
            "dagster/table_name": f"{group.table} (source={group.source.name})",
            "dagster/storage_kind": "deltalake",
            "calendar": group.source.calendar,
            **facts.metadata,
        },
    )


def build_dataset_check(group: SeriesGroup) -> dg.AssetChecksDefinition:
    """The check of the dataset; executed from the page it looks at the newest days."""

    @dg.asset_check(asset=group.dataset_key, name=CHECK, description=DESCRIPTION)
    def valid_and_complete(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
        found = look_at_newest(lake, group)
        found.note_earlier(find_unstored(context.instance, lake.store, group))
        return dg.AssetCheckResult(
            passed=found.passed, severity=found.severity, description=found.sentence, metadata=found.metadata
        )

    return valid_and_complete


def look_at_newest(lake: LakeResource, group: SeriesGroup) -> Findings:
    """What the ledger says of the newest days that it knows of a group."""
    findings = Findings()
    if not lake.store.storage.exists:
        return findings
    reader, of = lake.reader, {"source": group.source.name, "resolution": group.resolution}
    names = {symbol.code for symbol in group.symbols.values()}
    try:
        sessions = reader.coverage(**of).filter(pl.col("symbol").is_in(names))
    except UnknownSeries:
        return findings
    sessions = sessions.filter(pl.col("session") > pl.col("session").max() - _RECENT)
    gaps = reader.gaps(**of).filter(pl.col("reason").is_in([reason.value for reason in OPEN_REASONS]))
    open_gaps = gaps.group_by("symbol", "session").agg(pl.col("missing").sum().alias("unexplained"))
    joined = sessions.join(open_gaps, on=["symbol", "session"], how="left").with_columns(
        pl.col("unexplained").fill_null(0), pl.col("status").is_in(UNSTORED).alias("absent")
    )
    joined = joined.with_columns(group.partitioning.keys(joined["session"]).alias("key"))
    findings.count("partitions", joined.height)
    findings.count("not_stored", int(joined["absent"].sum()))
    for name in ("actual", "missing", "unexplained", "quarantined", "withdrawn"):
        findings.count(name, int(joined[name].sum()))
    bad = joined.filter(pl.col("absent") | (pl.col("unexplained") > 0) | (pl.col("quarantined") > 0))
    for row in bad.iter_rows(named=True):
        findings.note(
            row["symbol"],
            row["key"],
            reason=f"the session is {row['status']}" if row["absent"] else "",
            quarantined=row["quarantined"],
            unexplained=row["unexplained"],
        )
    return findings


def describe_dataset(
    store: LakeStore, group: SeriesGroup, rows: Mapping[str, int], sentence: str
) -> dg.AssetMaterialization:
    """The event that tells what a dataset holds by now.

    Args:
        rows: bars of each series that has some.
        sentence: what a run found.
    """
    table = store.tables.newest(group.table)
    files = table.select({"source": group.source.name})
    return dg.AssetMaterialization(
        group.dataset_key,
        description=sentence,
        metadata={
            "series": len(rows),
            "dagster/row_count": sum(rows.values()),
            "dagster/uri": store.storage.table(group.table),
            "files": files.height,
            "bytes": int(files["size"].sum()),
            "table_version": table.version,
            **describe_source(store, group),
        },
    )


def build_column_schema(group: SeriesGroup) -> dg.TableSchema:
    """The columns of the table, from the one place that declares them."""
    return describe_columns(bar_schema(group.source.precision))
