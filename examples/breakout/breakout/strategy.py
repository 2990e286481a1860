"""This module is the strategy; it knows neither the lake nor Dagster.

Buy at the first close above the high of the session before, sell at the last close of the session. No costs, no slippage: it
shows how to read the lake, not how to earn.
"""

from __future__ import annotations

import polars as pl

_SESSION = ["symbol", "session"]


def backtest(bars: pl.DataFrame, *, margin: float = 0.0) -> pl.DataFrame:
    """What the strategy did in each session that has one before it.

    Args:
        bars: `symbol` (String), `timestamp` (Datetime us UTC, the bar's open), `high` and `close` (Float64) of one or more
            symbols that trade round the clock, sorted by time.
        margin: how far above the high a close has to be; 0.01 is one per cent of it.

    Returns:
        A row per symbol and session, sorted: `symbol`, `session` (Date), `bars`, `level` (the high before), `entered` (Datetime,
        null without a trade), `entry`, `exit` (Float64), and `earned` (Float64): 0.01 is one per cent.

    Example:
        >>> backtest(lake.bars("BTC-USDT", "1m", "2024-01-01", "2024-01-03", as_float=True))["session"].to_list()
        [datetime.date(2024, 1, 2)]
    """
    bars = bars.with_columns(session=pl.col("timestamp").dt.date())
    days = bars.group_by(_SESSION).agg(bars=pl.len(), high=pl.col("high").max(), exit=pl.col("close").last())
    days = days.sort(_SESSION).with_columns(level=pl.col("high").shift(1).over("symbol"))
    above = bars.join(days.select(*_SESSION, "level"), on=_SESSION, maintain_order="left").filter(
        pl.col("close") > pl.col("level") * (1 + margin)
    )
    trades = above.group_by(_SESSION).agg(entered=pl.col("timestamp").first(), entry=pl.col("close").first())
    return (
        days.filter(pl.col("level").is_not_null())
        .join(trades, on=_SESSION, how="left", maintain_order="left")
        .with_columns(earned=(pl.col("exit") / pl.col("entry") - 1).fill_null(0.0))
        .select(*_SESSION, "bars", "level", "entered", "entry", "exit", "earned")
    )
