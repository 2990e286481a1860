"""The series of a group are one asset each, all made by one step.

Here is what Dagster must know about them, and the few lines that connect a run with `ingest`, which fetches, validates and
stores, and with `reporter`, which writes the events.
"""

from collections.abc import Iterable, Iterator

import dagster as dg

from gb_pipeline.dagster_runtime.event_storage import keep_event_log_open
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.market.schema import bar_schema
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.outcome import COMPLETE, VALID
from gb_pipeline.orchestration.reporter import Reporter
from gb_pipeline.orchestration.resources import LakeResource, list_required_resources, with_run_credentials
from gb_pipeline.orchestration.series_group import SeriesGroup


def build_bars_asset(group: SeriesGroup) -> dg.AssetsDefinition:
    """All series of one source and resolution, any of which can be selected alone."""

    @dg.multi_asset(
        name=group.name,
        specs=list(build_series_specs(group)),
        check_specs=list(build_check_specs(group)),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(group.source.partitions_per_run),
        pool=group.pool,
        required_resource_keys=list_required_resources(group.source),
    )
    def bars(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        lake: LakeResource = context.resources.lake
        source = with_run_credentials(context, group.source)
        jobs = [
            Job(group.symbols[key], start, end)
            for key in sorted(context.selected_asset_keys)
            for start, end in group.partitioning.join_ranges(context.partition_keys)
        ]
        run_id, reporter = context.run.run_id, Reporter(context, group, lake.store)
        with keep_event_log_open(context.instance, run_id):
            ingest(lake.store, source, group.resolution, jobs, run_id=run_id, on_outcome=reporter.report)
        reporter.finish()
        # No outputs: the events are written already, and Dagster would count them twice.
        yield from ()

    return bars


def build_series_specs(group: SeriesGroup) -> Iterable[dg.AssetSpec]:
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
            tags={"vendor": group.vendor, "asset_class": symbol.asset_class.value},
            description=_describe(group, symbol),
            metadata={
                "dagster/column_schema": columns,
                "dagster/table_name": table,
                "dagster/storage_kind": "deltalake",
                "calendar": group.source.calendar,
                "gap_policy": group.source.gap_policy.value,
            },
        )


def build_check_specs(group: SeriesGroup) -> Iterable[dg.AssetCheckSpec]:
    """Two checks per series: are the rows right, and are they all there."""
    for key in group.symbols:
        yield dg.AssetCheckSpec(
            VALID,
            asset=key,
            partitions_def=group.partitions,
            description="Every row that the vendor sent obeys the rules of a bar. Some bad rows are kept in quarantine and"
            " warned about; too many refuse the session, and nothing of it is stored.",
        )
        yield dg.AssetCheckSpec(
            COMPLETE,
            asset=key,
            partitions_def=group.partitions,
            description="Every bar that the calendar expects is stored, or its absence has a reason: the market was closed,"
            " the instrument not listed, nothing traded, or the vendor's well-formed answer was empty.",
        )


def build_column_schema(group: SeriesGroup) -> dg.TableSchema:
    """The columns of the table, from the one place that declares them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=(field.metadata or {}).get(b"comment", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in bar_schema(group.source.precision)
        ]
    )


def _describe(group: SeriesGroup, symbol: Symbol) -> str:
    listing = f" on {symbol.exchange}" if symbol.exchange else ""
    return (
        f"{symbol.code}{listing}: bars of {group.resolution} from `{group.source.name}` ({group.vendor}), since"
        f" {group.source.start}. A partition is a {group.partitioning.grain} of calendar {group.source.calendar};"
        " it is materialised once its rows are committed to the lake."
    )
