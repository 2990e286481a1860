"""This module makes the backtests Dagster assets, downstream of bars that another code location makes.

A series' backtest has the partitions of its bars, and gets them as an argument.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from breakout.market import SESSIONS, bars_key
from breakout.strategy import backtest

GROUP = "breakout"
COLUMNS = ["symbol", "timestamp", "high", "close"]


def build_backtest(symbol: str) -> dg.AssetsDefinition:
    """The backtest of one series: a run for one session, or for the whole range of a backfill."""
    key = dg.AssetKey([GROUP, symbol])
    # The level is the high of the session before; the very first session has none.
    with_the_day_before = dg.TimeWindowPartitionMapping(start_offset=-1, allow_nonexistent_upstream_partitions=True)

    @dg.asset(
        key=key,
        partitions_def=SESSIONS,
        ins={
            "bars": dg.AssetIn(
                bars_key(symbol),
                partition_mapping=with_the_day_before,
                input_manager_key="bars_io",
                metadata={"columns": COLUMNS, "as_float": True},
            )
        },
        # Plain `eager` never fires while any earlier day is missing.
        automation_condition=dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing()),
        backfill_policy=dg.BackfillPolicy.single_run(),
        # The events are logged by the asset itself, each with the numbers of its session.
        output_required=False,
        group_name=GROUP,
        kinds={"polars"},
        description=f"{symbol}: long from the first close above the high of the session before, until the last one.",
    )
    def backtest_sessions(context: dg.AssetExecutionContext, bars: pl.DataFrame) -> Iterator[dg.Output[None]]:
        done = {str(row["session"]): row for row in backtest(bars).to_dicts()}
        for partition in context.partition_keys:
            metadata = describe(done.get(partition))
            context.log_event(dg.AssetMaterialization(key, partition=partition, metadata=metadata))
        yield from ()

    return backtest_sessions


def describe(row: dict[str, Any] | None) -> dict[str, Any]:
    """The numbers of one session, for its page and for the plots over all of them."""
    if row is None:
        return {"status": "no session before it, or no bars", "dagster/partition_row_count": 0}
    return {
        "traded": row["entry"] is not None,
        "level": row["level"],
        "earned_percent": round(100 * row["earned"], 4),
        "dagster/partition_row_count": row["bars"],
    }
