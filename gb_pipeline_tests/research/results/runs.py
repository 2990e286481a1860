"""Runs for the tests of results, small and with every kind of number."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from gb_pipeline.research.results import BacktestRun

DAY = datetime(2024, 1, 2, tzinfo=UTC)
DAYS = pl.datetime_range(DAY, datetime(2024, 1, 5, tzinfo=UTC), "1d", eager=True).alias("timestamp")


def make_run(run_id: str = "a", **changes: Any) -> BacktestRun:
    """A whole run; what is named is otherwise."""
    fields: dict[str, Any] = {
        "strategy": "momentum",
        "version": "1.0",
        "run_id": run_id,
        "parameters": {"window": 20, "exit": {"stop": 0.1}, "fee": Decimal("0.10"), "name": "fast", "long": True},
        "metrics": {"sharpe": 1.25, "trades": 2, "pnl": Decimal("12.5")},
        "equity": pl.DataFrame(
            {
                "timestamp": DAYS,
                "equity": [100.0, 0.1 + 0.2, float("nan"), None],
                "cash": pl.Series(["1.10", "2.20", None, "0.000000000000000001"]).cast(pl.Decimal(38, 18)),
                "shares": [1, 2, 3, 4],
            }
        ),
        "fills": pl.DataFrame(
            {
                "timestamp": [DAYS[0], DAYS[0]], "symbol": ["BTC-USD", "ETH-USD"], "side": ["buy", "sell"],
                "quantity": [Decimal("0.5"), Decimal("2.0")], "price": [1.1, 2.2],
            }
        ),
        "positions": pl.DataFrame({"timestamp": [DAYS[1]], "symbol": ["BTC-USD"], "quantity": [Decimal("0.5")], "value": [7]}),
        "artifacts": {"report.html": b"<p>fine</p>"},
        "markets": ["crypto"],
        "seeds": {"numpy": 7},
        "tags": ["nightly"],
        "environment": {"python": "3.11"},
        "started_at": DAY,
        "finished_at": DAY,
    }  # fmt: skip
    return BacktestRun(**fields | changes)


def little(strategy: str, version: str, run_id: str, **changes: Any) -> BacktestRun:
    """A run of names and what is named."""
    fields: dict[str, Any] = {"environment": {}, "started_at": DAY, "finished_at": DAY}
    return BacktestRun(strategy=strategy, version=version, run_id=run_id, **fields | changes)
