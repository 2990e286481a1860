"""Massive's REST dialect (`api.massive.com`, formerly Polygon).

Belongs here: keys, reference data, error bodies. Does not belong here: aggregates (`massive_bars`), HTTP and the market.

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
from gb_pipeline.simulation.response import Answer, Asked, troubled
from gb_pipeline.simulation.stock_actions import Action
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stock_sessions import local
from gb_pipeline.simulation.stocks import Stocks

HOSTS = ("api.massive.com", "api.polygon.io")
_REFERENCE = "/v3/reference/"
_ID = "6a7e466379af0a71039d60cc78e72282"
_PLAN = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://massive.com/pricing"
_TWO_YEARS_MS = 730 * 86_400_000
_DAY = timedelta(days=1)
_FOREVER = (date(1980, 1, 1), date(2200, 1, 1))
_TYPES = {"stock": "CS", "etf": "ETF"}
# The vendor's own codes of a regular and a special cash dividend.
_DIVIDENDS = {"regular": "CD", "special": "SC"}


def answer(stocks: Stocks, asked: Asked) -> Answer:
    """The answer to one request."""
    key = asked.headers.get("Authorization", "").removeprefix("Bearer ") or asked.query.get("apiKey", "")
    if not key or key.startswith("unknown"):
        said = "Unknown API Key" if key else "API Key was not provided"
        return _error(401, said)
    try:
        if PATH.fullmatch(asked.path):
            if key.startswith("basic") and _begins(asked.path) < stocks.now - _TWO_YEARS_MS:
                return Answer.json({"status": "NOT_AUTHORIZED", "request_id": _ID, "message": _PLAN}, 403)
            return aggregates(stocks, asked)
        if asked.path.startswith(_REFERENCE):
            return _reference(stocks, asked, asked.path.removeprefix(_REFERENCE))
    except ValueError as error:
        return _error(400, str(error))
    return Answer(404, "404 page not found", "text/plain")


def _reference(stocks: Stocks, asked: Asked, name: str) -> Answer:
    if name == "tickers":
        return _list(asked, lambda query: _tickers(stocks, query), "ticker")
    if name == "splits":
        return _list(asked, lambda query: _actions(stocks, query, "split", "execution_date"), "execution_date")
    if name == "dividends":
        return _list(asked, lambda query: _actions(stocks, query, "dividend", "ex_dividend_date"), "ex_dividend_date")
    matched = re.fullmatch(r"tickers/([^/]+)", name)
    if matched:
        return _details(stocks, matched[1], asked.query.get("date"))
    return Answer(404, "404 page not found", "text/plain")


def _list(asked: Asked, rows_of: Callable[[dict[str, str]], list[dict[str, Any]]], order: str) -> Answer:
    query = dict(asked.query)
    at = 0
    if "cursor" in query:
        text = base64.urlsafe_b64decode(query["cursor"] + "==").decode()
        first, _, rest = text.partition("|")
        query, at = dict(parse_qsl(rest)), int(first)
    limit = int(query.get("limit", 100 if order == "ticker" else 10))
    if not 0 < limit <= 1000:
        raise ValueError("limit must be between 1 and 1000")
    rows = sorted(rows_of(query), key=lambda row: (row[order], row["ticker"]), reverse=query.get("order") == "desc")
    page = troubled(asked.trouble, rows[at : at + limit], lambda: rows[max(0, at - limit) : at] or rows[:limit])
    body: dict[str, Any] = {"results": page, "status": "OK", "request_id": _ID, "count": len(page)}
    if at + limit < len(rows) or asked.trouble == "endless_next":
        text = f"{at + limit}|{urlencode(query)}"
        cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        body["next_url"] = f"https://{asked.host}{asked.path}?cursor={cursor}"
    return Answer(200, dumps(body))


def _tickers(stocks: Stocks, query: dict[str, str]) -> list[dict[str, Any]]:
    active = query.get("active", "true") == "true"
    if query.get("market", "stocks") != "stocks":
        return []
    wanted = query.get("ticker")
    found = [item for item in stocks.listings() if item.active is active and wanted in {None, item.code}]
    return [_ticker(item) for item in found]


def _ticker(item: Listing) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ticker": item.code,
        "name": item.name,
        "market": "stocks",
        "locale": "us",
        "primary_exchange": item.mic,
        "type": _TYPES[item.kind],
        "active": item.active,
        "currency_name": item.currency.lower(),
        "last_updated_utc": "2024-06-01T00:00:00Z",
    }
    if not item.active and item.delisted is not None:
        # The last day with trades, as a midnight in New York.
        last = datetime.fromtimestamp(local(item.delisted - _DAY, time()) / 1000, UTC)
        row["delisted_utc"] = last.strftime("%Y-%m-%dT%H:%M:%SZ")
    return row


def _details(stocks: Stocks, ticker: str, as_of: str | None) -> Answer:
    item = stocks.listing(ticker)
    day = date.fromisoformat(as_of) if as_of else datetime.fromtimestamp(stocks.now / 1000, UTC).date()
    gone = item is not None and item.delisted is not None and day >= item.delisted
    if item is None or gone or day < item.list_date:
        return Answer.json({"status": "NOT_FOUND", "request_id": _ID, "message": "Ticker not found."}, 404)
    known = {name: value for name, value in _ticker(item).items() if name != "delisted_utc"}
    record = {**known, "active": True, "list_date": item.list_date.isoformat()}
    return Answer.json({"results": record, "status": "OK", "request_id": _ID})


def _actions(stocks: Stocks, query: dict[str, str], kind: str, name: str) -> list[dict[str, Any]]:
    tickers = [query["ticker"]] if "ticker" in query else [item.code for item in stocks.listings()]
    rows = []
    for ticker in tickers:
        if stocks.listing(ticker) is None:
            continue
        for item in stocks.actions(ticker, *_FOREVER):
            if item.kind == kind and _wanted(item.ex_date.isoformat(), query, name):
                rows.append(_split(item) if kind == "split" else _dividend(item))
    return rows


def _wanted(day: str, query: dict[str, str], name: str) -> bool:
    tests: Sequence[tuple[str, Callable[[str], bool]]] = (
        ("", lambda bound: day == bound),
        (".gte", lambda bound: day >= bound),
        (".gt", lambda bound: day > bound),
        (".lte", lambda bound: day <= bound),
        (".lt", lambda bound: day < bound),
    )
    return all(holds(query[name + suffix]) for suffix, holds in tests if name + suffix in query)


def _split(item: Action) -> dict[str, Any]:
    return {
        "id": f"E{item.ex_date:%Y%m%d}{item.code}",
        "execution_date": item.ex_date.isoformat(),
        "split_from": int(item.from_),
        "split_to": int(item.to),
        "ticker": item.code,
    }


def _dividend(item: Action) -> dict[str, Any]:
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


def _error(status: int, said: str) -> Answer:
    return Answer.json({"status": "ERROR", "request_id": _ID, "error": said}, status)


def _begins(path: str) -> int:
    matched = PATH.fullmatch(path)
    assert matched is not None
    first = matched[4]
    return local(date.fromisoformat(first), time()) if "-" in first else int(first)
