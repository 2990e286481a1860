"""Downstream of the bars: the moving-average backtest of every symbol, as an example of one's own assets.

Belongs here: reading a partition and its history, and showing the result. Does not belong here: the strategy
(`moving_average`).
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg

from gb_pipeline.config.settings import MovingAverageSettings
from gb_pipeline.errors import NoDataInRange, UnknownSeries
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.orchestration.dataset import Dataset
from gb_pipeline.orchestration.moving_average import Backtest, backtest, plot
from gb_pipeline.orchestration.resources import LakeResource

KIND = "moving_average"


def backtest_asset(dataset: Dataset, settings: MovingAverageSettings) -> dg.AssetsDefinition:
    """One asset per symbol of a dataset, on the same partitions."""
    specs = list(_specs(dataset, settings))

    @dg.multi_asset(
        name=f"{dataset.source.name}_{KIND}",
        specs=specs,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(dataset.source.partitions_per_run),
    )
    def moving_average(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.Output[None]]:
        for asset in specs:
            if asset.key not in context.selected_asset_keys:
                continue
            for key in context.partition_keys:
                start, end = dataset.partitioning.sessions(key)
                symbol = Symbol(asset.key.path[-1])
                shown = _shown(_run(lake, dataset, settings, symbol, start, end), f"{symbol} {key}")
                context.log_event(dg.AssetMaterialization(asset.key, partition=key, metadata=shown))
        yield from ()

    return moving_average


def follows_bars(assets: dg.AssetsDefinition) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the automation of the backtests, and of nothing else."""
    return dg.AutomationConditionSensorDefinition(
        "backtests_follow_the_bars",
        target=dg.AssetSelection.assets(*assets.keys),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the backtest of the newest partition after its bars were fetched.",
    )


def _specs(dataset: Dataset, settings: MovingAverageSettings) -> Iterable[dg.AssetSpec]:
    # Averages reach back into the partition before; the very first one has none.
    history = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=0, allow_nonexistent_upstream_partitions=True)
    # Plain `eager` never fires while any earlier day is missing.
    condition = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
    for key, symbol in dataset.symbols.items():
        yield dg.AssetSpec(
            dataset.key(symbol, KIND),
            skippable=True,
            deps=[dg.AssetDep(key, partition_mapping=history)],
            partitions_def=dataset.partitions,
            automation_condition=condition,
            group_name=f"{dataset.source.name}_{KIND}",
            kinds={"polars"},
            description=f"{symbol.code}: long while the average of {settings.fast} closes lies above that of {settings.slow},"
            " else out of the market. No costs. An example of an asset that is built on the lake.",
        )


def _run(
    lake: LakeResource, dataset: Dataset, settings: MovingAverageSettings, symbol: Symbol, start: date, end: date
) -> Backtest | None:
    window = dataset.partitioning.calendar.window(start, end, dataset.resolution)
    try:
        bars = lake.reader.bars(
            symbol,
            dataset.resolution,
            window.start - _history(dataset, settings.slow),
            window.end,
            source=dataset.source.name,
            columns=["timestamp", "close"],
            as_float=True,
        )
    except (NoDataInRange, UnknownSeries):
        return None
    found = backtest(bars, fast=settings.fast, slow=settings.slow, start=window.start)
    return None if found.curve.is_empty() else found


def _history(dataset: Dataset, bars: int) -> timedelta:
    """Time that surely holds so many bars: a week has five sessions, and holidays are no longer than another week."""
    month = Window.of(date(2024, 1, 1), date(2024, 2, 1))
    count = dataset.partitioning.calendar.expected(
        month.start.date(), month.end.date(), dataset.resolution, dataset.source.alignment
    ).height
    return timedelta(days=31 * bars / max(count, 1) + 7)


def _shown(result: Backtest | None, title: str) -> dict[str, Any]:
    if result is None:
        return {"status": "no bars", "dagster/partition_row_count": 0}
    return {
        "equity": dg.MetadataValue.md(plot(result, title)),
        "return_percent": round(100 * result.earned, 4),
        "hold_percent": round(100 * result.held, 4),
        "drawdown_percent": round(100 * result.drawdown, 4),
        "trades": result.trades,
        "dagster/partition_row_count": result.curve.height,
    }
