"""This module reads a portfolio of vectorbt, and whatever has its methods: `value`, `cash`, `orders` and `stats`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.results.adapters.frames import curves, events, finite, moments, numbers_in, require
from gb_pipeline.research.results.found import BacktestParts


def from_vectorbt(portfolio: Any, *, zone: str = "UTC", symbol: str | None = None) -> BacktestParts:
    """What a portfolio has found.

    Args:
        portfolio: of one column or group: `portfolio[column]` chooses one of several.
        zone: of its index, where that has none.
        symbol: what was traded, where the column has no name.

    Raises:
        ConfigError: it is no portfolio, or one of several columns.
    """
    require(portfolio, ("value", "cash", "orders", "stats"), "a portfolio of vectorbt")
    value, cash = portfolio.value(), portfolio.cash()
    if getattr(value, "ndim", 1) != 1:
        raise ConfigError(
            f"the portfolio has {value.shape[1]} columns", fix="choose one: portfolio[column], or group them"
        )
    metrics = numbers_in({str(name): item for name, item in portfolio.stats().items()})
    fills = list(_fills(portfolio.orders.records_readable, zone, symbol))
    return BacktestParts(
        metrics=metrics,
        equity=curves(value.index, {"equity": value, "cash": cash}, zone),
        fills=events(fills, ("quantity", "price", "fee"), ("side", "order_id")),
    )


def _fills(records: Any, zone: str, symbol: str | None) -> Iterator[dict[str, Any]]:
    for row in records.to_dict("records"):
        [stamp] = moments([row.get("Timestamp", row.get("Date"))], zone)
        yield {
            "timestamp": stamp, "symbol": symbol or str(row.get("Column", "")), "side": str(row["Side"]).lower(),
            "quantity": row["Size"], "price": row["Price"], "fee": finite(row.get("Fees")), "order_id": str(row["Order Id"]),
        }  # fmt: skip
