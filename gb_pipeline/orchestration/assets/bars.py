"""The series of a dataset: one asset each, all made by one step.

Belongs here: what Dagster must know about the series, and the few lines that connect a run with `ingest`.
Does not belong here: fetching, judging, storing (`ingest`), and the events (`reporter`).
"""

from collections.abc import Iterable, Iterator

import dagster as dg

from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.market.schema import bar_schema
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.outcome import COMPLETE, VALID
from gb_pipeline.orchestration.reporter import Reporter
from gb_pipeline.orchestration.resources import LakeResource, required_keys, with_run_credentials


def bars_asset(dataset: Dataset) -> dg.AssetsDefinition:
    """All series of one source and resolution, any of which can be selected alone."""

    @dg.multi_asset(
        name=dataset.name,
        specs=list(series_specs(dataset)),
        check_specs=list(check_specs(dataset)),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(dataset.source.partitions_per_run),
        pool=dataset.pool,
        required_resource_keys=required_keys(dataset.source),
    )
    def bars(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        lake: LakeResource = context.resources.lake
        source = with_run_credentials(context, dataset.source)
        jobs = [
            Job(dataset.symbols[key], start, end)
            for key in sorted(context.selected_asset_keys)
            for start, end in dataset.partitioning.ranges(context.partition_keys)
        ]
        with Reporter(context, dataset, lake.store) as reporter:
            run, tell = context.run.run_id, reporter.tell
            ingest(lake.store, source, dataset.resolution, jobs, run_id=run, on_outcome=tell)
        reporter.finish()
        # No outputs: the events are written already, and Dagster would count them twice.
        yield from ()

    return bars


def series_specs(dataset: Dataset) -> Iterable[dg.AssetSpec]:
    """One asset per series."""
    table = f"{dataset.table} (source={dataset.source.name})"
    columns = column_schema(dataset)
    for key, symbol in dataset.symbols.items():
        yield dg.AssetSpec(
            key,
            skippable=True,
            partitions_def=dataset.partitions,
            group_name=dataset.name,
            kinds={"delta", "polars"},
            tags={"vendor": dataset.vendor, "asset_class": symbol.asset_class.value},
            description=_description(dataset, symbol),
            metadata={
                "dagster/column_schema": columns,
                "dagster/table_name": table,
                "dagster/storage_kind": "deltalake",
                "calendar": dataset.source.calendar,
                "gap_policy": dataset.source.gap_policy.value,
            },
        )


def check_specs(dataset: Dataset) -> Iterable[dg.AssetCheckSpec]:
    """Two checks per series: are the rows right, and are they all there."""
    for key in dataset.symbols:
        yield dg.AssetCheckSpec(
            VALID,
            asset=key,
            partitions_def=dataset.partitions,
            description="Every row that the vendor sent obeys the rules of a bar. Some bad rows are kept in quarantine and"
            " warned about; too many refuse the session, and nothing of it is stored.",
        )
        yield dg.AssetCheckSpec(
            COMPLETE,
            asset=key,
            partitions_def=dataset.partitions,
            description="Every bar that the calendar expects is stored, or its absence has a reason: the market was closed,"
            " the instrument not listed, nothing traded, or the vendor's well-formed answer was empty.",
        )


def column_schema(dataset: Dataset) -> dg.TableSchema:
    """The columns of the table, from the one place that declares them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=(field.metadata or {}).get(b"comment", b"").decode(),
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in bar_schema(dataset.source.precision)
        ]
    )


def _description(dataset: Dataset, symbol: Symbol) -> str:
    listing = f" on {symbol.exchange}" if symbol.exchange else ""
    return (
        f"{symbol.code}{listing}: bars of {dataset.resolution} from `{dataset.source.name}` ({dataset.vendor}), since"
        f" {dataset.source.start}. A partition is a {dataset.partitioning.grain} of calendar {dataset.source.calendar};"
        " it is materialised once its rows are committed to the lake."
    )
