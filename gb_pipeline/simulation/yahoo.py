"""Yahoo's dialect, as recorded from the real one: the chart, the search, and the cookie and crumb that it wants first.

This module has paths, parameters and error bodies. `yahoo_chart` lays out a chart.
"""

from __future__ import annotations

import hashlib
import re

from gb_pipeline.simulation.response import Request, Response, integer
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
        self.answer = Response.json(
            {root: {"result": None, "error": {"code": code, "description": description}}}, status
        )


def answer(stocks: Stocks, request: Request) -> Response:
    """The answer to one request."""
    try:
        return _api(stocks, request) if request.host in _APIS else _cookie_page(request)
    except _Refused as refused:
        return refused.answer


def _cookie_page(request: Request) -> Response:
    """Web pages that are only asked for because of cookies."""
    text = "<!DOCTYPE html><title>Yahoo</title>"
    if request.host == "fc.yahoo.com":
        # The real one answers 404 as well.
        return Response(404, text, "text/html", {"Set-Cookie": f"{_COOKIE}; Path=/; Max-Age=31536000"})
    return Response(200 if request.host == "guce.yahoo.com" else 404, text, "text/html")


def _api(stocks: Stocks, request: Request) -> Response:
    if request.path == "/v1/test/getcrumb":
        if not _has_cookie(request):
            raise _Refused(401, "Unauthorized", "Invalid Cookie", root="finance")
        return Response(200, _crumb(stocks), "text/plain")
    if request.query.get("crumb", _crumb(stocks)) != _crumb(stocks):
        raise _Refused(401, "Unauthorized", "Invalid Crumb", root="finance")
    if request.path == "/v1/finance/search":
        return _search(stocks, request)
    match = _CHART.fullmatch(request.path)
    if match is None:
        raise _Refused(404, "Not Found", "HTTP 404 Not Found", root="finance")
    return _chart(stocks, request, match["symbol"].upper())


def _crumb(stocks: Stocks) -> str:
    return hashlib.sha256(f"crumb {stocks.seed}".encode()).hexdigest()[:11]


def _has_cookie(request: Request) -> bool:
    return any(name.lower() == "cookie" and "A3=" in value for name, value in request.headers.items())


def _chart(stocks: Stocks, request: Request, symbol: str) -> Response:
    listed, interval = stocks.listing(symbol.replace("-", ".")), request.query.get("interval", "1d")
    # Yahoo forgets what is not traded any more.
    if listed is None or not listed.active:
        raise _Refused(404, "Not Found", "No data found, symbol may be delisted")
    if interval not in INTERVALS:
        what = f"Invalid input - interval={interval} is not supported. Valid intervals: [{', '.join(INTERVALS)}]"
        raise _Refused(422, "Unprocessable Entity", what)
    start, end = _parse_period(request, stocks.now // 1000)
    problem = _depth_problem(interval, start, end, stocks.now // 1000)
    if problem:
        what = f"{interval} data not available for startTime={start} and endTime={end}. {problem}"
        raise _Refused(422, "Unprocessable Entity", what)
    document = chart(stocks, request, listed, symbol, interval, start, end)
    if document is None:
        raise _Refused(400, "Bad Request", f"Data doesn't exist for startDate = {start}, endDate = {end}")
    return Response.json({"chart": {"result": [document], "error": None}})


def _parse_period(request: Request, now: int) -> tuple[int, int]:
    try:
        start, end = integer(request.query, "period1"), integer(request.query, "period2")
    except ValueError as error:
        raise _Refused(400, "Bad Request", f"Invalid input - {error}") from None
    if start is None:
        name = request.query.get("range", "1d")
        if name not in _RANGES:
            raise _Refused(422, "Unprocessable Entity", f"Invalid input - range={name} is not supported.")
        start = now - _DAY * _RANGES[name]
    end = now + 1 if end is None else end
    if start >= end:
        what = f"Invalid input - start date cannot be after end date. startDate = {start}, endDate = {end}"
        raise _Refused(400, "Bad Request", what)
    return start, end


def _depth_problem(interval: str, start: int, end: int, now: int) -> str:
    if interval not in DEPTHS:
        return ""
    days, at_once = DEPTHS[interval]
    if end - start > at_once * _DAY:
        return f"Only {at_once} days worth of {interval} granularity data are allowed to be fetched per request."
    if start < now - days * _DAY:
        return f"The requested range must be within the last {days} days."
    return ""


def _search(stocks: Stocks, request: Request) -> Response:
    text = request.query.get("q", "").strip().upper()
    max_quotes = integer(request.query, "quotesCount") or 8
    listings = [item for item in stocks.listings() if item.active and text and _matches(item, text)]
    listings.sort(key=lambda item: (item.code != text, not item.code.startswith(text), item.code))
    quotes = [_format_quote(item, rank) for rank, item in enumerate(listings[:max_quotes])]
    return Response.json({"explains": [], "count": len(quotes), "quotes": quotes, "news": [], "nav": [], "lists": []})


def _matches(item: Listing, text: str) -> bool:
    return item.code.replace(".", "-").startswith(text.replace(".", "-")) or text in item.name.upper()


def _format_quote(item: Listing, rank: int) -> dict[str, object]:
    exchange, exchange_name = _EXCHANGES[item.mic]
    return {
        "exchange": exchange,
        "shortname": item.name,
        "quoteType": "ETF" if item.kind == "etf" else "EQUITY",
        "symbol": item.code.replace(".", "-"),
        "index": "quotes",
        "score": 1_000_000 - rank,
        "typeDisp": "ETF" if item.kind == "etf" else "Equity",
        "longname": item.name,
        "exchDisp": exchange_name,
        "isYahooFinance": True,
    }
