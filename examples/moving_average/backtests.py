"""This module makes the backtests Dagster assets: one per symbol, on the partitions of its bars, which it reads from the lake."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
from moving_average import Backtest, backtest, plot

from gb_pipeline import Lake, Results
from gb_pipeline.errors import ConfigError, NoDataInRange, UnknownSeries
from gb_pipeline.lake.pins import Pin
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup

KIND = "moving_average"
# Of the strategy; a change of it is another one.
VERSION = "1"


def build_backtest_assets(group: SeriesGroup, *, fast: int, slow: int) -> dg.AssetsDefinition:
    """One asset per symbol of a group, on the same partitions.

    Args:
        group: whose bars are tested.
        fast, slow: lengths of the averages, in bars.
    """

    @dg.multi_asset(
        name=f"{group.source.name}_{KIND}",
        specs=list(_build_specs(group, fast, slow)),
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(group.source.partitions_per_run),
    )
    def moving_average(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.Output[None]]:
        for symbol in group.symbols.values():
            key = group.key(symbol, KIND)
            if key not in context.selected_asset_keys:
                continue
            for partition in context.partition_keys:
                first, end = group.partitioning.sessions(partition)
                window = group.partitioning.calendar.window(first, end, group.resolution)
                read = Window(window.start - _estimate_history(group, slow), window.end)
                bars = _read_closes(lake.reader, group, symbol, read.start, read.end)
                result = None if bars is None else backtest(bars, fast=fast, slow=slow, start=window.start)
                metadata = _build_metadata(result, f"{symbol} {partition}")
                if result is not None and not result.curve.is_empty():
                    run_id = f"{symbol.code}-{partition}-{context.run.run_id[:8]}"
                    pin = _pin(lake.reader, group, symbol, partition, read)
                    metadata["run"] = _save(Results(lake.reader), run_id, pin, result, {"fast": fast, "slow": slow})
                context.log_event(dg.AssetMaterialization(key, partition=partition, metadata=metadata))
        # No outputs: the events are written already, and Dagster would count them twice.
        yield from ()

    return moving_average


def build_follow_sensor(assets: dg.AssetsDefinition) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the automation of the backtests, and of nothing else."""
    return dg.AutomationConditionSensorDefinition(
        "backtests_follow_the_bars",
        target=dg.AssetSelection.assets(*assets.keys),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the backtest of the newest partition after its bars were fetched.",
    )


def _build_specs(group: SeriesGroup, fast: int, slow: int) -> Iterable[dg.AssetSpec]:
    # Averages reach back into the partition before; the very first one has none.
    history = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=0, allow_nonexistent_upstream_partitions=True)
    # Plain `eager` never fires while any earlier day is missing.
    condition = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
    for series, symbol in group.symbols.items():
        yield dg.AssetSpec(
            group.key(symbol, KIND),
            skippable=True,
            deps=[dg.AssetDep(series, partition_mapping=history)],
            partitions_def=group.partitions,
            automation_condition=condition,
            group_name=f"{group.source.name}_{KIND}",
            kinds={"polars"},
            description=f"{symbol.code}: long while the average of {fast} closes lies above that of {slow}, else out of the"
            " market. No costs.",
        )


def _read_closes(lake: Lake, group: SeriesGroup, symbol: Symbol, start: datetime, end: datetime) -> pl.DataFrame | None:
    try:
        return lake.bars(
            symbol,
            group.resolution,
            start,
            end,
            source=group.source.name,
            columns=["timestamp", "close"],
            as_float=True,
        )
    except (NoDataInRange, UnknownSeries):
        return None


def _pin(lake: Lake, group: SeriesGroup, symbol: Symbol, partition: str, window: Window) -> Pin:
    """A pin of the bars that were read: the one that is there already where they are the same bars."""
    series = group.source.name, symbol.code, group.resolution
    content = lake.fingerprint(*series, window.start, window.end).whole
    name = f"{symbol.code[:40]}-{partition}-{content[:16]}"
    try:
        pin = lake.replay(name).pin
    except ConfigError:
        pin = lake.pin(name, ":".join(series[:2]), group.resolution, window.start, window.end)
    return pin


def _estimate_history(group: SeriesGroup, bars: int) -> timedelta:
    """Time that surely holds so many bars: a week has five sessions, and holidays are no longer than another week."""
    start, end = datetime(2024, 1, 1).date(), datetime(2024, 2, 1).date()
    a_month = group.partitioning.calendar.expected(start, end, group.resolution, group.source.alignment).height
    return timedelta(days=31 * bars / max(a_month, 1) + 7)


def _save(results: Results, run_id: str, pin: Pin, result: Backtest, parameters: dict[str, int]) -> str:
    """Keep what came of it beside the bars, so that it can be found, compared and repeated; the name of the run."""
    with results.record(KIND, VERSION, run_id=run_id, parameters=parameters, data=pin, tags="dagster") as run:
        run.add_equity(result.curve)
        run.log_metrics({"return": result.earned, "drawdown": result.drawdown, "trades": result.trades})
    return str(run.name)


def _build_metadata(result: Backtest | None, title: str) -> dict[str, Any]:
    if result is None or result.curve.is_empty():
        return {"status": "no bars", "dagster/partition_row_count": 0}
    return {
        "equity": dg.MetadataValue.md(plot(result, title)),
        "return_percent": round(100 * result.earned, 4),
        "hold_percent": round(100 * result.held, 4),
        "drawdown_percent": round(100 * result.drawdown, 4),
        "trades": result.trades,
        "dagster/partition_row_count": result.curve.height,
    }
