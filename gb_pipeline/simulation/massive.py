"""Massive's REST dialect (`api.massive.com`, formerly Polygon).

This module has keys, reference data and error bodies. Aggregates are in `massive_bars`.

Keys: one that begins with `unknown` is refused; one that begins with `basic` belongs to a plan with two years of history.
All others may ask everything.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gb_pipeline.simulation.json_numbers import Exact, dumps
from gb_pipeline.simulation.massive_bars import PATH, aggregates
from gb_pipeline.simulation.response import Request, Response, apply_trouble
from gb_pipeline.simulation.stock_actions import Action
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stock_sessions import local_ms
from gb_pipeline.simulation.stocks import Stocks

HOSTS = ("api.massive.com", "api.polygon.io")
_REFERENCE = "/v3/reference/"
_EXPERIMENTAL = "/vX/reference/"
_ID = "6a7e466379af0a71039d60cc78e72282"
_PLAN = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://massive.com/pricing"
_TWO_YEARS_MS = 730 * 86_400_000
_DAY = timedelta(days=1)
_FOREVER = (date(1980, 1, 1), date(2200, 1, 1))
_TYPES = {"stock": "CS", "etf": "ETF"}
# The vendor's own codes of a regular and a special cash dividend.
_DIVIDENDS = {"regular": "CD", "special": "SC"}


def answer(stocks: Stocks, request: Request) -> Response:
    """The answer to one request."""
    key = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("apiKey", "")
    if not key or key.startswith("unknown"):
        message = "Unknown API Key" if key else "API Key was not provided"
        return _error(401, message)
    try:
        if PATH.fullmatch(request.path):
            if key.startswith("basic") and _first_instant(request.path) < stocks.now - _TWO_YEARS_MS:
                return Response.json({"status": "NOT_AUTHORIZED", "request_id": _ID, "message": _PLAN}, 403)
            return aggregates(stocks, request)
        if request.path.startswith((_REFERENCE, _EXPERIMENTAL)):
            return _reference(stocks, request, request.path.removeprefix(_REFERENCE))
    except ValueError as error:
        return _error(400, str(error))
    return Response(404, "404 page not found", "text/plain")


def _reference(stocks: Stocks, request: Request, name: str) -> Response:
    if name == "tickers":
        return _list_page(request, lambda query: _tickers(stocks, query), "ticker")
    if name == "splits":
        return _list_page(request, lambda query: _actions(stocks, query, "split", "execution_date"), "execution_date")
    if name == "dividends":
        return _list_page(
            request, lambda query: _actions(stocks, query, "dividend", "ex_dividend_date"), "ex_dividend_date"
        )
    if matched := re.fullmatch(_EXPERIMENTAL + r"tickers/([^/]+)/events", name):
        return _events(stocks, matched[1])
    matched = re.fullmatch(r"tickers/([^/]+)", name)
    if matched:
        return _details(stocks, matched[1], request.query.get("date"))
    return Response(404, "404 page not found", "text/plain")


def _list_page(request: Request, rows_of: Callable[[dict[str, str]], list[dict[str, Any]]], order: str) -> Response:
    query = dict(request.query)
    offset = 0
    if "cursor" in query:
        text = base64.urlsafe_b64decode(query["cursor"] + "==").decode()
        first, _, rest = text.partition("|")
        query, offset = dict(parse_qsl(rest)), int(first)
    limit = int(query.get("limit", 100 if order == "ticker" else 10))
    if not 0 < limit <= 1000:
        raise ValueError("limit must be between 1 and 1000")
    rows = sorted(rows_of(query), key=lambda row: (row[order], row["ticker"]), reverse=query.get("order") == "desc")
    page = apply_trouble(
        request.trouble, rows[offset : offset + limit], lambda: rows[max(0, offset - limit) : offset] or rows[:limit]
    )
    body: dict[str, Any] = {"results": page, "status": "OK", "request_id": _ID, "count": len(page)}
    if offset + limit < len(rows) or request.trouble == "endless_next":
        text = f"{offset + limit}|{urlencode(query)}"
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        body["next_url"] = f"https://{request.host}{request.path}?cursor={cursor}"
    return Response(200, dumps(body))


def _tickers(stocks: Stocks, query: dict[str, str]) -> list[dict[str, Any]]:
    active = query.get("active", "true") == "true"
    if query.get("market", "stocks") != "stocks":
        return []
    requested_ticker = query.get("ticker")
    listings = [item for item in stocks.listings() if item.active is active and requested_ticker in {None, item.code}]
    return [_format_ticker(item) for item in listings]


def _format_ticker(item: Listing) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ticker": item.code,
        "name": item.name,
        "market": "stocks",
        "locale": "us",
        "primary_exchange": item.mic,
        "type": _TYPES[item.kind],
        "active": item.active,
        "currency_name": item.currency.lower(),
        "composite_figi": item.figi("composite"),
        "share_class_figi": item.figi("share class"),
        "last_updated_utc": "2024-06-01T00:00:00Z",
    }
    if not item.active and item.delisted is not None:
        # The last day with trades, as a midnight in New York.
        last = datetime.fromtimestamp(local_ms(item.delisted - _DAY, time()) / 1000, UTC)
        row["delisted_utc"] = last.strftime("%Y-%m-%dT%H:%M:%SZ")
    return row


def _details(stocks: Stocks, ticker: str, as_of: str | None) -> Response:
    item = stocks.listing(ticker)
    day = date.fromisoformat(as_of) if as_of else datetime.fromtimestamp(stocks.now / 1000, UTC).date()
    delisted = item is not None and item.delisted is not None and day >= item.delisted
    if item is None or delisted or day < item.list_date:
        return Response.json({"status": "NOT_FOUND", "request_id": _ID, "message": "Ticker not found."}, 404)
    known = {name: value for name, value in _format_ticker(item).items() if name != "delisted_utc"}
    record = {**known, "active": True, "list_date": item.list_date.isoformat()}
    return Response.json({"results": record, "status": "OK", "request_id": _ID})


def _events(stocks: Stocks, name: str) -> Response:
    """The tickers that a stock has had, newest first; asked for by ticker or composite FIGI."""
    found = [item for item in stocks.listings() if name in {item.code, item.figi("composite")}]
    if not found:
        return Response.json({"status": "NOT_FOUND", "request_id": _ID, "message": "Entity not found."}, 404)
    events = [
        {"ticker_change": {"ticker": ticker}, "type": "ticker_change", "date": day.isoformat()}
        for day, ticker in stocks.tickers(found[0])
    ]
    results = {"name": found[0].name, "composite_figi": found[0].figi("composite"), "events": events}
    return Response.json({"results": results, "status": "OK", "request_id": _ID})


def _actions(stocks: Stocks, query: dict[str, str], kind: str, name: str) -> list[dict[str, Any]]:
    tickers = [query["ticker"]] if "ticker" in query else [item.code for item in stocks.listings()]
    rows = []
    for ticker in tickers:
        if not stocks.has_bars(ticker):
            continue
        for item in stocks.actions(ticker, *_FOREVER):
            if item.kind == kind and _matches(item.ex_date.isoformat(), query, name):
                rows.append(_format_split(item) if kind == "split" else _format_dividend(item))
    return rows


def _matches(day: str, query: dict[str, str], name: str) -> bool:
    tests: Sequence[tuple[str, Callable[[str], bool]]] = (
        ("", lambda bound: day == bound),
        (".gte", lambda bound: day >= bound),
        (".gt", lambda bound: day > bound),
        (".lte", lambda bound: day <= bound),
        (".lt", lambda bound: day < bound),
    )
    return all(holds(query[name + suffix]) for suffix, holds in tests if name + suffix in query)


def _format_split(item: Action) -> dict[str, Any]:
    return {
        "id": f"E{item.ex_date:%Y%m%d}{item.code}",
        "execution_date": item.ex_date.isoformat(),
        "split_from": int(item.from_),
        "split_to": int(item.to),
        "ticker": item.code,
    }


def _format_dividend(item: Action) -> dict[str, Any]:
    dates = {"declaration_date": item.declared, "record_date": item.record, "pay_date": item.pay}
    return {
        "id": f"E{item.ex_date:%Y%m%d}{item.code}{item.label}",
        "cash_amount": Exact(item.amount),
        "currency": item.currency,
        "dividend_type": _DIVIDENDS.get(item.label, item.label),
        "ex_dividend_date": item.ex_date.isoformat(),
        "frequency": 4 if item.label == "regular" else 0,
        "ticker": item.code,
        **{name: value.isoformat() for name, value in dates.items() if value is not None},
    }


def _error(status: int, message: str) -> Response:
    return Response.json({"status": "ERROR", "request_id": _ID, "error": message}, status)


def _first_instant(path: str) -> int:
    matched = PATH.fullmatch(path)
    assert matched is not None
    first = matched[4]
    return local_ms(date.fromisoformat(first), time()) if "-" in first else int(first)
