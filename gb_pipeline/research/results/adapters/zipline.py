"""This module reads the performance frame of zipline: curves, transactions, positions and the last of each risk number.

The frame is taken from memory. A pickle of one is not read: unpickling runs whatever code is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gb_pipeline.research.results.adapters.frames import (
    curves,
    events,
    finite,
    moments,
    plain_number,
    require,
    symbol_of,
)
from gb_pipeline.research.results.found import BacktestParts

_CURVES = {
    "portfolio_value": "equity", "ending_cash": "cash", "returns": "returns", "pnl": "pnl",
    "algorithm_period_return": "period_return", "benchmark_period_return": "benchmark_return",
}  # fmt: skip
_METRICS = (
    "sharpe",
    "sortino",
    "alpha",
    "beta",
    "max_drawdown",
    "max_leverage",
    "algorithm_period_return",
    "algo_volatility",
)


def from_zipline(performance: Any, *, zone: str = "UTC") -> BacktestParts:
    """What a run of zipline has found.

    Args:
        performance: the pandas frame that `run_algorithm` returned.
        zone: of its moments, where they have none.

    Raises:
        ConfigError: it is no such frame.
    """
    require(performance, ("columns", "index", "iloc"), "the frame that run_algorithm returned")
    names = set(performance.columns)
    columns = {ours: performance[theirs] for theirs, ours in _CURVES.items() if theirs in names}
    equity = curves(performance.index, columns, zone) if columns else None
    metrics: dict[str, Any] = {}
    if len(performance):
        last = performance.iloc[-1]
        found = {name: plain_number(last[name]) for name in _METRICS if name in names}
        metrics = {name: value for name, value in found.items() if value is not None}
    fills = list(_fills(performance["transactions"], zone)) if "transactions" in names else []
    held = list(_positions(performance, zone)) if "positions" in names else []
    return BacktestParts(
        metrics=metrics,
        equity=equity,
        fills=events(fills, ("quantity", "price", "fee"), ("side", "order_id")),
        positions=events(held, ("quantity", "price", "value", "cost_basis"), ()),
    )


def _fills(days: Any, zone: str) -> Iterator[dict[str, Any]]:
    for rows in days:
        for row in rows if isinstance(rows, list) else []:
            [stamp] = moments([row["dt"]], zone)
            yield {
                "timestamp": stamp, "symbol": symbol_of(row.get("sid", row.get("asset"))),
                "side": "buy" if row["amount"] > 0 else "sell",
                "quantity": abs(row["amount"]), "price": row["price"], "fee": finite(row.get("commission")),
                "order_id": None if row.get("order_id") is None else str(row["order_id"]),
            }  # fmt: skip


def _positions(performance: Any, zone: str) -> Iterator[dict[str, Any]]:
    stamps = moments(performance.index, zone)
    for stamp, rows in zip(stamps, performance["positions"], strict=True):
        for row in rows if isinstance(rows, list) else []:
            yield {
                "timestamp": stamp, "symbol": symbol_of(row.get("sid", row.get("asset"))), "quantity": row["amount"],
                "price": finite(row["last_sale_price"]),
                "value": row["amount"] * row["last_sale_price"],
                "cost_basis": finite(row["cost_basis"]),
            }  # fmt: skip
