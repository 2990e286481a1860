"""This module makes the backtests Dagster assets, downstream of bars that another code location makes.

A series' backtest has the partitions of its bars, and gets them as an argument. The report of a month reads what it wants.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from breakout.market import SESSIONS, SOURCE, SYMBOLS, bars_key
from breakout.strategy import backtest
from gb_pipeline.orchestration.resources import LakeResource

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


@dg.asset(
    key=[GROUP, "monthly"],
    deps=[[GROUP, symbol] for symbol in SYMBOLS],
    partitions_def=dg.MonthlyPartitionsDefinition(start_date="2024-01-01", end_offset=1),
    group_name=GROUP,
    kinds={"polars"},
    description="Both series over a month, against holding them.",
)
def monthly(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[None]:
    """What `lake.reader` gives is a `Lake`: any symbols, range, moment and adjustment."""
    first, end = month_of(context.partition_key)
    bars = lake.reader.bars(
        SYMBOLS, "1m", first - timedelta(days=1), end, source=SOURCE, columns=COLUMNS, as_float=True
    )
    sessions = backtest(bars).filter(pl.col("session") >= first)
    totals = sessions.group_by("symbol").agg(
        sessions=pl.len(),
        trades=pl.col("entry").count(),
        earned_percent=100 * ((1 + pl.col("earned")).product() - 1),
        held_percent=100 * (pl.col("exit").last() / pl.col("exit").first() - 1),
    )
    rows = totals.sort("symbol").with_columns(pl.col(pl.Float64).round(4)).to_dicts()
    return dg.MaterializeResult(metadata={"sessions": sessions.height, "totals": table_of(rows)})


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


def month_of(partition: str) -> tuple[date, date]:
    """The days [first, end) of a month's partition, 2024-01-01."""
    first = datetime.strptime(partition, "%Y-%m-%d").date()
    return first, (first + timedelta(days=31)).replace(day=1)


def table_of(rows: Sequence[dict[str, Any]]) -> dg.TableMetadataValue:
    """Rows as Dagster's page shows them."""
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
