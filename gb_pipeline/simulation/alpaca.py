"""Alpaca's REST dialect: market data (`data.alpaca.markets`), and assets of the trading interface.

This module has keys, assets, corporate actions and error bodies. Bars are in `alpaca_bars`.

Keys: an id that begins with `unknown` is refused, one that begins with `PK` belongs to a paper account, which the trading
interface only knows on its paper host. Keys are on the free plan, unless the id ends with `PLUS`.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from gb_pipeline.simulation.alpaca_bars import bars
from gb_pipeline.simulation.json_numbers import Exact, dumps
from gb_pipeline.simulation.response import Request, Response, apply_trouble
from gb_pipeline.simulation.stock_actions import Action
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stocks import Stocks

HOSTS = ("data.alpaca.markets", "paper-api.alpaca.markets", "api.alpaca.markets")
_DATA = HOSTS[0]
_UNAUTHORIZED = "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n</html>\r\n"
_VENUES = {"XNAS": "NASDAQ", "XNYS": "NYSE", "ARCX": "ARCA", "XASE": "AMEX"}
_ALWAYS = (date(1980, 1, 1), date(2200, 1, 1))
# The order in which types are answered, and what they are asked for by.
_TYPES = {
    "reverse_splits": "reverse_split",
    "forward_splits": "forward_split",
    "cash_dividends": "cash_dividend",
    "stock_dividends": "stock_dividend",
}


def answer(stocks: Stocks, request: Request) -> Response:
    """The answer to one request."""
    key, secret = (request.headers.get(name, "") for name in ("APCA-API-KEY-ID", "APCA-API-SECRET-KEY"))
    if request.host == _DATA:
        if not key or not secret or key.startswith("unknown"):
            # Refused before the application sees it.
            return Response(401, _UNAUTHORIZED, "text/html")
        return _route_data(stocks, request, free=not key.endswith("PLUS"))
    paper = request.host.startswith("paper")
    if not key or not secret or key.startswith("unknown") or key.startswith("PK") is not paper:
        return _error(403, "forbidden.")
    if request.path == "/v2/assets":
        return _assets(stocks, request.query)
    matched = re.fullmatch(r"/v2/assets/([^/]+)", request.path)
    listing = stocks.listing(matched[1]) if matched else None
    if listing is None:
        return _error(404, f"asset not found for {matched[1]}" if matched else "Not Found", code=40410000)
    return Response.json(_asset(listing))


def _route_data(stocks: Stocks, request: Request, *, free: bool) -> Response:
    try:
        if request.path == "/v2/stocks/bars":
            return bars(stocks, request, free=free)
        if request.path in {"/v1/corporate-actions", "/v1beta1/corporate-actions"}:
            return _corporate_actions(stocks, request)
    except PermissionError as refusal:
        return _error(403, str(refusal))
    except ValueError as error:
        return _error(400, str(error))
    return _error(404, "endpoint not found.")


def _assets(stocks: Stocks, query: Mapping[str, str]) -> Response:
    if query.get("asset_class", "us_equity") != "us_equity":
        return Response.json([])
    status = query.get("status")
    listed = [item for item in stocks.listings() if status in {None, "all", _status(item)}]
    return Response.json([_asset(item) for item in listed])


def _status(item: Listing) -> str:
    return "active" if item.active else "inactive"


def _asset(item: Listing) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, item.identity)),
        "class": "us_equity",
        "exchange": _VENUES.get(item.mic, item.mic),
        "symbol": item.code,
        "name": item.name,
        "status": _status(item),
        "tradable": item.active,
        "marginable": item.active,
        "shortable": item.active,
        "easy_to_borrow": item.active,
        "fractionable": item.active,
        "attributes": [],
    }


def _corporate_actions(stocks: Stocks, request: Request) -> Response:
    query = request.query
    today = datetime.fromtimestamp(stocks.now / 1000, UTC).date()
    # The interval is one of processing dates, not of ex dates.
    start, end = (date.fromisoformat(query[name]) if name in query else today for name in ("start", "end"))
    types = set(query["types"].split(",")) if "types" in query else set(_TYPES.values())
    if unknown := types - set(_TYPES.values()):
        raise ValueError(f"invalid type: {min(unknown)}")
    limit = int(query.get("limit", 100))
    if not 0 < limit <= 1000:
        raise ValueError("invalid limit: must be between 1 and 1000")
    symbols = query["symbols"].split(",") if "symbols" in query else [item.code for item in stocks.listings()]
    actions = [
        (name, item)
        for symbol in symbols
        if stocks.listing(symbol) is not None
        for item in stocks.actions(symbol, *_ALWAYS)
        if (name := _action_type(item)) is not None and _TYPES[name] in types and start <= _process_date(item) <= end
    ]
    order = list(_TYPES)
    actions.sort(key=lambda pair: (order.index(pair[0]), _process_date(pair[1]), pair[1].code, pair[1].label))
    offset = int(base64.b64decode(query["page_token"]).decode()) if query.get("page_token") else 0
    page = apply_trouble(
        request.trouble,
        actions[offset : offset + limit],
        lambda: actions[max(0, offset - limit) : offset] or actions[:limit],
    )
    body: dict[str, list[dict[str, Any]]] = {}
    for name, item in page:
        body.setdefault(name, []).append(_format_action(name, item))
    more = offset + limit < len(actions) or request.trouble == "endless_next"
    following = base64.b64encode(str(offset + limit).encode()).decode() if more else None
    return Response(200, dumps({"corporate_actions": body, "next_page_token": following}))


def _action_type(item: Action) -> str | None:
    if item.kind == "split":
        return "forward_splits" if item.ratio > 1 else "reverse_splits"
    return "cash_dividends" if item.kind == "dividend" else None


def _process_date(item: Action) -> date:
    """Splits are processed on their ex date, dividends when they are paid."""
    return item.pay or item.ex_date


def _format_action(name: str, item: Action) -> dict[str, Any]:
    identity = str(uuid.uuid5(uuid.NAMESPACE_DNS, "|".join(map(str, item.key))))
    row: dict[str, Any] = {"id": identity, "symbol": item.code}
    if name == "cash_dividends":
        row |= {"cusip": "037833100", "rate": Exact(item.amount), "special": item.label == "special", "foreign": False}
    else:
        ids = (
            {"cusip": "037833100"} if name == "forward_splits" else {"old_cusip": "037833100", "new_cusip": "037833209"}
        )
        row |= {**ids, "new_rate": Exact(item.to), "old_rate": Exact(item.from_)}
    row |= {"process_date": _process_date(item).isoformat(), "ex_date": item.ex_date.isoformat()}
    dates = {"record_date": item.record, "payable_date": item.pay}
    return row | {field: day.isoformat() for field, day in dates.items() if day is not None}


def _error(status: int, message: str, *, code: int | None = None) -> Response:
    return Response.json(({} if code is None else {"code": code}) | {"message": message}, status)
