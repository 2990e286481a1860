"""Kalshi's REST dialect: series, open markets and trades, page by page."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gb_pipeline.simulation.prediction import Contract, ContractTrade, PredictionMarket
from gb_pipeline.simulation.response import Request, Response, apply_trouble, integer

HOSTS = ("api.elections.kalshi.com", "demo-api.kalshi.co")
_MOST_ROWS = 1000


def answer(market: PredictionMarket, request: Request) -> Response:
    """The answer to one request."""
    path, query = request.path.removeprefix("/trade-api/v2"), request.query
    if path == "/series":
        return _page(request, "series", [{"ticker": name, "title": name} for name in market.series()])
    if path == "/markets":
        series = [query["series_ticker"]] if "series_ticker" in query else market.series()
        found = [item for name in series for item in market.contracts(name, market.now)]
        return _page(request, "markets", [_market(item) for item in found])
    if path == "/markets/trades":
        return _trades(market, request)
    if matched := re.fullmatch(r"/markets/([^/]+)", path):
        contract = market.contract(matched[1], market.now)
        if contract is not None:
            return Response.json({"market": _market(contract)})
    return Response.json({"error": {"code": "not_found", "message": "not found"}}, 404)


def _trades(market: PredictionMarket, request: Request) -> Response:
    query = request.query
    ticker = query.get("ticker", "")
    start = 1000 * (integer(query, "min_ts") or 0)
    end = min(market.now, 1000 * (integer(query, "max_ts") or market.now) + 1)
    # Also one that ended: its hour is in its name, and the hours of a window are few.
    contract = market.contract(ticker, max(start, end - 1)) or market.contract(ticker, start)
    trades = [] if contract is None else market.trades(contract, start, end)
    return _page(request, "trades", [trade_row(ticker, trade) for trade in reversed(trades)])


def _page(request: Request, name: str, rows: Sequence[dict[str, Any]]) -> Response:
    limit = integer(request.query, "limit") or 100
    if not 0 < limit <= _MOST_ROWS:
        raise ValueError("limit must be between 1 and 1000")
    cursor = request.query.get("cursor")
    offset = int(base64.urlsafe_b64decode(cursor).decode()) if cursor else 0
    # Short pages, so that nobody takes the first for all.
    limit = min(limit, 40)
    page = apply_trouble(request.trouble, rows[offset : offset + limit], lambda: rows[max(0, offset - limit) : offset])
    more = offset + limit < len(rows)
    following = base64.urlsafe_b64encode(str(offset + limit).encode()).decode() if more else ""
    if request.trouble == "endless_next":
        following = cursor or base64.urlsafe_b64encode(b"0").decode()
    return Response.json({name: page, "cursor": following})


def _market(contract: Contract) -> dict[str, Any]:
    return {
        "ticker": contract.ticker, "event_ticker": contract.ticker.rpartition("-")[0], "market_type": "binary", "status": "active",
        "open_time": iso(contract.opens), "close_time": iso(contract.closes),
    }  # fmt: skip


def trade_row(ticker: str, trade: ContractTrade) -> dict[str, Any]:
    """A trade as REST writes it."""
    return {
        "trade_id": trade.identity, "ticker": ticker, "count_fp": f"{trade.size}.00",
        "yes_price_dollars": f"{trade.cents / 100:.4f}", "no_price_dollars": f"{1 - trade.cents / 100:.4f}",
        "taker_side": trade.side, "created_time": iso(trade.time),
    }  # fmt: skip


def iso(milliseconds: int) -> str:
    """ISO text in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
