"""Yahoo's dialect: the chart, the search, and what it wants before it answers.

Belongs here: paths, parameters, JSON layouts, error bodies, as recorded from the real one. Does not belong here: HTTP, the market
itself, and how a chart is laid out (`yahoo_chart`).
"""

from __future__ import annotations

import hashlib
import re

from gb_pipeline.simulation.response import Answer, Asked, integer
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stocks import Stocks
from gb_pipeline.simulation.yahoo_chart import DEPTHS, INTERVALS, chart

HOSTS = (
    "query1.finance.yahoo.com",
    "query2.finance.yahoo.com",
    "fc.yahoo.com",
    "guce.yahoo.com",
    "consent.yahoo.com",
    "finance.yahoo.com",
)
_APIS = frozenset(HOSTS[:2])
_CHART = re.compile(r"/v8/finance/chart/(?P<symbol>[^/]+)")
_COOKIE = "A3=d=simulated&S=AQAAAsimulated"
_EXCHANGES = {"XNAS": ("NMS", "NASDAQ"), "XNYS": ("NYQ", "NYSE"), "ARCX": ("PCX", "NYSEArca")}
_RANGES = {
    "1d": 1,
    "5d": 7,
    "1mo": 31,
    "3mo": 92,
    "6mo": 183,
    "1y": 366,
    "2y": 731,
    "5y": 1827,
    "10y": 3653,
    "max": 36135,
}
_DAY = 86_400


class _Refused(Exception):
    """What is answered instead."""

    def __init__(self, status: int, code: str, description: str, *, root: str = "chart") -> None:
        super().__init__(description)
        self.answer = Answer.json({root: {"result": None, "error": {"code": code, "description": description}}}, status)


def answer(stocks: Stocks, asked: Asked) -> Answer:
    """The answer to one request."""
    try:
        return _api(stocks, asked) if asked.host in _APIS else _page(asked)
    except _Refused as refused:
        return refused.answer


def _page(asked: Asked) -> Answer:
    """Web pages that are only asked for because of cookies."""
    text = "<!DOCTYPE html><title>Yahoo</title>"
    if asked.host == "fc.yahoo.com":
        # The real one answers 404 as well.
        return Answer(404, text, "text/html", {"Set-Cookie": f"{_COOKIE}; Path=/; Max-Age=31536000"})
    return Answer(200 if asked.host == "guce.yahoo.com" else 404, text, "text/html")


def _api(stocks: Stocks, asked: Asked) -> Answer:
    if asked.path == "/v1/test/getcrumb":
        if not _has_cookie(asked):
            raise _Refused(401, "Unauthorized", "Invalid Cookie", root="finance")
        return Answer(200, _crumb(stocks), "text/plain")
    if asked.query.get("crumb", _crumb(stocks)) != _crumb(stocks):
        raise _Refused(401, "Unauthorized", "Invalid Crumb", root="finance")
    if asked.path == "/v1/finance/search":
        return _search(stocks, asked)
    found = _CHART.fullmatch(asked.path)
    if found is None:
        raise _Refused(404, "Not Found", "HTTP 404 Not Found", root="finance")
    return _chart(stocks, asked, found["symbol"].upper())


def _crumb(stocks: Stocks) -> str:
    return hashlib.sha256(f"crumb {stocks.seed}".encode()).hexdigest()[:11]


def _has_cookie(asked: Asked) -> bool:
    return any(name.lower() == "cookie" and "A3=" in value for name, value in asked.headers.items())


def _chart(stocks: Stocks, asked: Asked, symbol: str) -> Answer:
    listed, interval = stocks.listing(symbol.replace("-", ".")), asked.query.get("interval", "1d")
    # Yahoo forgets what is not traded any more.
    if listed is None or not listed.active:
        raise _Refused(404, "Not Found", "No data found, symbol may be delisted")
    if interval not in INTERVALS:
        what = f"Invalid input - interval={interval} is not supported. Valid intervals: [{', '.join(INTERVALS)}]"
        raise _Refused(422, "Unprocessable Entity", what)
    start, end = _period(asked, stocks.now // 1000)
    limit = _too_much(interval, start, end, stocks.now // 1000)
    if limit:
        what = f"{interval} data not available for startTime={start} and endTime={end}. {limit}"
        raise _Refused(422, "Unprocessable Entity", what)
    document = chart(stocks, asked, listed, symbol, interval, start, end)
    if document is None:
        raise _Refused(400, "Bad Request", f"Data doesn't exist for startDate = {start}, endDate = {end}")
    return Answer.json({"chart": {"result": [document], "error": None}})


def _period(asked: Asked, now: int) -> tuple[int, int]:
    try:
        start, end = integer(asked.query, "period1"), integer(asked.query, "period2")
    except ValueError as error:
        raise _Refused(400, "Bad Request", f"Invalid input - {error}") from None
    if start is None:
        name = asked.query.get("range", "1d")
        if name not in _RANGES:
            raise _Refused(422, "Unprocessable Entity", f"Invalid input - range={name} is not supported.")
        start = now - _DAY * _RANGES[name]
    end = now + 1 if end is None else end
    if start >= end:
        what = f"Invalid input - start date cannot be after end date. startDate = {start}, endDate = {end}"
        raise _Refused(400, "Bad Request", what)
    return start, end


def _too_much(interval: str, start: int, end: int, now: int) -> str:
    if interval not in DEPTHS:
        return ""
    days, at_once = DEPTHS[interval]
    if end - start > at_once * _DAY:
        return f"Only {at_once} days worth of {interval} granularity data are allowed to be fetched per request."
    if start < now - days * _DAY:
        return f"The requested range must be within the last {days} days."
    return ""


def _search(stocks: Stocks, asked: Asked) -> Answer:
    text = asked.query.get("q", "").strip().upper()
    most = integer(asked.query, "quotesCount") or 8
    found = [item for item in stocks.listings() if item.active and text and _matches(item, text)]
    found.sort(key=lambda item: (item.code != text, not item.code.startswith(text), item.code))
    quotes = [_quote(item, rank) for rank, item in enumerate(found[:most])]
    return Answer.json({"explains": [], "count": len(quotes), "quotes": quotes, "news": [], "nav": [], "lists": []})


def _matches(item: Listing, text: str) -> bool:
    return item.code.replace(".", "-").startswith(text.replace(".", "-")) or text in item.name.upper()


def _quote(item: Listing, rank: int) -> dict[str, object]:
    exchange, shown = _EXCHANGES[item.mic]
    return {
        "exchange": exchange,
        "shortname": item.name,
        "quoteType": "ETF" if item.kind == "etf" else "EQUITY",
        "symbol": item.code.replace(".", "-"),
        "index": "quotes",
        "score": 1_000_000 - rank,
        "typeDisp": "ETF" if item.kind == "etf" else "Equity",
        "longname": item.name,
        "exchDisp": shown,
        "isYahooFinance": True,
    }
