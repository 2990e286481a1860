"""The series of a group are one asset each, all made by one step.

Here is what Dagster must know about them, and the few lines that connect a run with `ingest`, which fetches, validates and
stores, and with `reporter`, which writes the events.
"""

from collections.abc import Iterable, Iterator

import dagster as dg

from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.asset_facts import NO_FACTS, AssetFacts
from gb_pipeline.orchestration.assets.dataset import build_column_schema
from gb_pipeline.orchestration.events.reporter import Reporter
from gb_pipeline.orchestration.resources import LakeResource, list_required_resources, with_run_credentials
from gb_pipeline.orchestration.series_group import SeriesGroup


def build_bars_asset(group: SeriesGroup, facts: AssetFacts = NO_FACTS) -> dg.AssetsDefinition:
    """All series of one source and resolution, any of which can be selected alone."""

    @dg.multi_asset(
        name=group.name,
        specs=list(build_series_specs(group, facts)),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(group.source.partitions_per_run),
        pool=group.pool,
        required_resource_keys=list_required_resources(group.source),
    )
    def bars(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        lake: LakeResource = context.resources.lake
        source = with_run_credentials(context, group.source)
        reporter = Reporter(context, group, lake.store)
        over = reporter.report_open(lake.store.clock())
        jobs = [
            Job(group.symbols[key], start, end)
            for key in sorted(context.selected_asset_keys)
            for start, end in group.partitioning.join_ranges(over)
        ]
        run_id = context.run.run_id
        ingest(lake.store, source, group.resolution, jobs, run_id=run_id, on_outcome=reporter.report)
        reporter.finish()
        # No outputs: the events are written already, and Dagster would count them twice.
        yield from ()

    return bars


def build_series_specs(group: SeriesGroup, facts: AssetFacts = NO_FACTS) -> Iterable[dg.AssetSpec]:
    """One asset per series."""
    table = f"{group.table} (source={group.source.name})"
    columns = build_column_schema(group)
    for key, symbol in group.symbols.items():
        yield dg.AssetSpec(
            key,
            skippable=True,
            partitions_def=group.partitions,
            group_name=group.name,
            kinds={"delta", "polars"},
            owners=facts.owners,
            tags={
                "vendor": group.vendor,
                "asset_class": symbol.asset_class.value,
                "resolution": str(group.resolution),
                "calendar": group.source.calendar.replace("/", "-"),
            },
            description=facts.describe(_describe(group, symbol)),
            metadata={
                "dagster/column_schema": columns,
                "dagster/table_name": table,
                "dagster/storage_kind": "deltalake",
                "calendar": group.source.calendar,
                "gap_policy": group.source.gap_policy.value,
                **facts.metadata,
            },
        )


def _describe(group: SeriesGroup, symbol: Symbol) -> str:
    listing = f" on {symbol.exchange}" if symbol.exchange else ""
    return (
        f"{symbol.code}{listing}: bars of {group.resolution} from `{group.source.name}` ({group.vendor}), since"
        f" {group.source.start}. A partition is a {group.partitioning.grain} of calendar {group.source.calendar};"
        " it is materialised once its rows are committed to the lake."
    )
