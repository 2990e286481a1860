"""This module reads the analyzers of a backtrader strategy that has run: returns, transactions, and what is a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from gb_pipeline.research.results.adapters.frames import curves, events, moments, numbers_in, require
from gb_pipeline.research.results.found import BacktestParts


def from_backtrader(strategy: Any, *, zone: str = "UTC") -> BacktestParts:
    """What the analyzers of a strategy have found.

    Args:
        strategy: one of those that `cerebro.run()` returned. Of its analyzers `TimeReturn` gives the curves `returns` and
            `growth` (of 1 at the beginning), `Transactions` the fills, and all others metrics, such as
            `sharperatio.sharperatio`.
        zone: of its moments, which have none.

    Raises:
        ConfigError: it is no strategy that has run.
    """
    require(strategy, ("analyzers", "broker"), "a strategy of what cerebro.run() returned")
    metrics: dict[str, Any] = {}
    equity, fills = None, None
    for analyzer in strategy.analyzers:
        kind, found = type(analyzer).__name__, analyzer.get_analysis()
        if kind == "TimeReturn":
            days = list(found)
            values = [float(value) for value in found.values()]
            growth = list(accumulate(values, lambda money, step: money * (1 + step), initial=1.0))[1:]
            equity = curves(days, {"returns": values, "growth": growth}, zone)
        elif kind == "Transactions":
            fills = events(list(_fills(found, zone)), ("quantity", "price"), ("side",))
        else:
            metrics |= numbers_in(found, f"{kind.lower()}.")
    metrics["final_value"] = float(strategy.broker.getvalue())
    return BacktestParts(metrics=metrics, equity=equity, fills=fills)


def _fills(found: Mapping[Any, Iterable[Any]], zone: str) -> Iterable[dict[str, Any]]:
    for moment, rows in found.items():
        [stamp] = moments([moment], zone)
        for amount, price, number, symbol, *_ in rows:
            yield {
                "timestamp": stamp, "symbol": str(symbol or number), "side": "buy" if amount > 0 else "sell",
                "quantity": abs(amount), "price": price,
            }  # fmt: skip
