"""Alpha Vantage's dialect (`www.alphavantage.co`): functions, parameters, JSON and CSV layouts, and its notes in place of data.

Everything is `GET /query?function=...&apikey=...`, and everything is answered with status 200. Keys: none, or one that begins
with `unknown`, is refused; one that begins with `free` belongs to a plan without the whole history of days and without
intraday bars; one that begins with `limited` has had its 25 requests. All others may ask everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gb_pipeline.simulation.alpha_vantage_companies import COMPANY_FUNCTIONS, answer_about, listing_status, vendor_code
from gb_pipeline.simulation.response import Request, Response, apply_trouble
from gb_pipeline.simulation.stock_sessions import local_ms
from gb_pipeline.simulation.stocks import Stocks

HOSTS = ("www.alphavantage.co",)
_NEW_YORK = ZoneInfo("America/New_York")
_PREMIUM = "https://www.alphavantage.co/premium/"
_COMPACT = 100
_INTERVALS = {"1min": "1m", "5min": "5m", "15min": "15m", "30min": "30m", "60min": "1h"}
_LONG = {
    "TIME_SERIES_DAILY": ("1d", "Daily", "Time Series (Daily)"),
    "TIME_SERIES_WEEKLY": ("1w", "Weekly", "Weekly Time Series"),
    "TIME_SERIES_MONTHLY": ("1mo", "Monthly", "Monthly Time Series"),
}
_FIELDS = ("open", "high", "low", "close", "volume")
_FOREVER = (date(1980, 1, 1), date(2200, 1, 1))
_DAY = timedelta(days=1)
# Stamp and values.
Bar = tuple[str, ...]


def answer(stocks: Stocks, request: Request) -> Response:
    """The answer to one request."""
    if request.path != "/query":
        return Response(404, "<html><h1>Not Found</h1></html>", "text/html")
    key = request.query.get("apikey", "")
    refusal = _refuse_key(key)
    return _route(stocks, request, free=key.startswith("free")) if refusal is None else refusal


def _refuse_key(key: str) -> Response | None:
    if not key or key.startswith("unknown"):
        return _note(
            "Error Message",
            "the parameter apikey is invalid or missing. Please claim your free API key on"
            " (https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds.",
        )
    if key.startswith("limited"):
        # The vendor repeats the key.
        return _note(
            "Information",
            f"We have detected your API key as {key} and our standard API rate limit is 25 requests per day. Please subscribe"
            f" to any of the premium plans at {_PREMIUM} to instantly remove all daily rate limits.",
        )
    return None


def _route(stocks: Stocks, request: Request, *, free: bool) -> Response:
    function = request.query.get("function", "")
    try:
        if function == "TIME_SERIES_INTRADAY":
            return _intraday(stocks, request, free=free)
        if function in _LONG:
            return _daily_or_longer(stocks, request, free=free)
        if function in COMPANY_FUNCTIONS:
            symbol = request.query["symbol"]
            return answer_about(stocks, function, stocks.listing(canonical(symbol)), symbol)
        if function in _OTHERS:
            return _OTHERS[function](stocks, request.query)
    except (KeyError, ValueError):
        return _refuse_call(function)
    return _note("Error Message", "This API function () does not exist.")


def canonical(name: str) -> str:
    """The canonical code of the vendor's spelling: to it, `BRK-B` and `BRK.B` are the same."""
    return re.sub(r"[-.]([A-Z])$", r".\1", name.upper())


def _intraday(stocks: Stocks, request: Request, *, free: bool) -> Response:
    query = request.query
    if free:
        return _note(
            "Information",
            "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at"
            f" {_PREMIUM} to instantly unlock all premium endpoints",
        )
    interval, code = query["interval"], canonical(query["symbol"])
    extended, adjusted = (query.get(name, "true") != "false" for name in ("extended_hours", "adjusted"))
    begin, end = _month_bounds(query["month"]) if "month" in query else _last_thirty_days(stocks)
    listed = stocks.listing(code)
    if listed is None or local_ms(listed.list_date, time()) >= end:
        return _refuse_call("TIME_SERIES_INTRADAY")

    def between(first: int, last: int) -> list[Bar]:
        bars = stocks.bars(code, _INTERVALS[interval], first, last, extended=extended, adjusted=adjusted)
        return [(_format_stamp(bar.start), *bar[1:6]) for bar in bars]

    rows = apply_trouble(request.trouble, between(begin, end), lambda: between(begin - 31 * 86_400_000, begin))
    metadata = {
        "Information": f"Intraday ({interval}) open, high, low, close prices and volume",
        "Symbol": query["symbol"].upper(),
        "Last Refreshed": rows[-1][0] if rows else "",
        "Interval": interval,
        "Output Size": _output_size(query),
        "Time Zone": "US/Eastern",
    }
    return _series(query, metadata, f"Time Series ({interval})", rows)


def _daily_or_longer(stocks: Stocks, request: Request, *, free: bool) -> Response:
    query = request.query
    function, code = query["function"], canonical(query["symbol"])
    interval, word, name = _LONG[function]
    if stocks.listing(code) is None:
        return _refuse_call(function)
    daily = interval == "1d"
    if free and daily and query.get("outputsize") == "full":
        return _note(
            "Information",
            "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the"
            f" TIME_SERIES_DAILY endpoint. You may subscribe to any of the premium plans at {_PREMIUM} to instantly unlock"
            " all premium features",
        )
    rows: list[Bar] = [
        (_last_session(stocks, bar.start, interval), *bar[1:6])
        for bar in stocks.bars(code, interval, 0, stocks.now + 1)
    ]
    rows = apply_trouble(request.trouble, rows, lambda: rows[: len(rows) // 2])
    metadata = {
        "Information": f"{word} Prices (open, high, low, close) and Volumes",
        "Symbol": query["symbol"].upper(),
        "Last Refreshed": rows[-1][0] if rows else "",
        **({"Output Size": _output_size(query)} if daily else {}),
        "Time Zone": "US/Eastern",
    }
    return _series(query, metadata, name, rows, compact=daily)


def _series(
    query: Mapping[str, str], metadata: Mapping[str, str], name: str, rows: Sequence[Bar], *, compact: bool = True
) -> Response:
    if compact and query.get("outputsize", "compact") == "compact":
        rows = rows[-_COMPACT:]
    newest_first = list(reversed(rows))
    if query.get("datatype") == "csv":
        lines = [",".join(("timestamp", *_FIELDS)), *(",".join(row) for row in newest_first)]
        return Response(200, "\r\n".join(lines) + "\r\n", "application/x-download")
    numbered_metadata = {f"{number}. {label}": value for number, (label, value) in enumerate(metadata.items(), 1)}
    fields = [f"{number}. {field}" for number, field in enumerate(_FIELDS, 1)]
    return Response.json(
        {
            "Meta Data": numbered_metadata,
            name: {row[0]: dict(zip(fields, row[1:], strict=True)) for row in newest_first},
        }
    )


def _splits(stocks: Stocks, query: Mapping[str, str]) -> Response:
    splits = [
        {
            "effective_date": item.ex_date.isoformat(),
            "split_factor": f"{Decimal(item.ratio.numerator) / Decimal(item.ratio.denominator):.4f}",
        }
        for item in stocks.actions(canonical(query["symbol"]), *_FOREVER)
        if item.kind == "split" and stocks.happened(item)
    ]
    return Response.json({"symbol": query["symbol"].upper(), "data": splits[::-1]})


def _dividends(stocks: Stocks, query: Mapping[str, str]) -> Response:
    dividends = [
        {
            "ex_dividend_date": item.ex_date.isoformat(),
            "declaration_date": item.declared.isoformat() if item.declared else "None",
            "record_date": item.record.isoformat() if item.record else "None",
            "payment_date": item.pay.isoformat() if item.pay else "None",
            "amount": item.amount,
        }
        for item in stocks.actions(canonical(query["symbol"]), *_FOREVER)
        if item.kind == "dividend"
    ]
    return Response.json({"symbol": query["symbol"].upper(), "data": dividends[::-1]})


def _search(stocks: Stocks, query: Mapping[str, str]) -> Response:
    keywords = query["keywords"].upper()
    listings = [
        item
        for item in stocks.listings()
        if keywords in {vendor_code(item), item.code} or keywords in item.name.upper()
    ]
    keys = ("symbol", "name", "type", "region", "marketOpen", "marketClose", "timezone", "currency", "matchScore")
    rows = [
        (vendor_code(item), item.name, "ETF" if item.kind == "etf" else "Equity", "United States", "09:30", "16:00", "UTC-04",
         item.currency, "1.0000" if keywords in {vendor_code(item), item.code} else "0.5000")
        for item in listings
    ]  # fmt: skip
    rows.sort(key=lambda row: row[-1], reverse=True)
    matches = [
        {f"{number}. {key}": value for number, (key, value) in enumerate(zip(keys, row, strict=True), 1)}
        for row in rows
    ]
    return Response.json({"bestMatches": matches})


_OTHERS: dict[str, Callable[[Stocks, Mapping[str, str]], Response]] = {
    "SPLITS": _splits,
    "DIVIDENDS": _dividends,
    "LISTING_STATUS": listing_status,
    "SYMBOL_SEARCH": _search,
}


def _output_size(query: Mapping[str, str]) -> str:
    return "Full size" if query.get("outputsize") == "full" else "Compact"


def _format_stamp(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, _NEW_YORK).strftime("%Y-%m-%d %H:%M:%S")


def _last_session(stocks: Stocks, start: int, interval: str) -> str:
    """Weeks and months are stamped with their last session so far."""
    first = datetime.fromtimestamp(start / 1000, _NEW_YORK).date()
    if interval == "1d":
        return first.isoformat()
    end = first + 7 * _DAY if interval == "1w" else (first + 32 * _DAY).replace(day=1)
    begun = [item.day for item in stocks.sessions(first, end) if item.open <= stocks.now]
    return max(begun, default=first).isoformat()


def _month_bounds(text: str) -> tuple[int, int]:
    first = date.fromisoformat(f"{text}-01")
    return local_ms(first, time()), local_ms((first + 32 * _DAY).replace(day=1), time())


def _last_thirty_days(stocks: Stocks) -> tuple[int, int]:
    today = datetime.fromtimestamp(stocks.now / 1000, UTC).astimezone(_NEW_YORK).date()
    return local_ms(today - 30 * _DAY, time()), local_ms(today + _DAY, time())


def _note(name: str, message: str) -> Response:
    return Response.json({name: message})


def _refuse_call(function: str) -> Response:
    return _note(
        "Error Message",
        f"Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) for {function}.",
    )
