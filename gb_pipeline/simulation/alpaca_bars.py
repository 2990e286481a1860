"""Alpaca's bars, `/v2/stocks/bars`: inclusive windows, pages over all symbols by name, plans and feeds."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from gb_pipeline.simulation.json_numbers import json_object, number
from gb_pipeline.simulation.response import Request, Response, apply_trouble
from gb_pipeline.simulation.stock_bars import StockBar
from gb_pipeline.simulation.stock_sessions import local_ms
from gb_pipeline.simulation.stocks import Stocks

# Bars of one page at most.
PAGE = 10_000
_DEFAULT_LIMIT = 1000
_QUARTER_MS = 15 * 60_000
# What one exchange sees of the tape.
_IEX_FRACTION = 40
_TIMEFRAMES = {
    "1Min": "1m", "1T": "1m", "5Min": "5m", "5T": "5m", "15Min": "15m", "15T": "15m", "30Min": "30m", "30T": "30m",
    "1Hour": "1h", "1H": "1h", "1Day": "1d", "1D": "1d", "1Week": "1w", "1W": "1w", "1Month": "1mo", "1M": "1mo",
}  # fmt: skip
_FEEDS = {"sip", "iex", "otc", "boats", "overnight", "delayed_sip"}
_SYMBOL = re.compile(r"[A-Za-z0-9.]{1,20}")
NamedBar = tuple[str, StockBar]


@dataclass(frozen=True, slots=True)
class _Query:
    symbols: tuple[str, ...]
    interval: str
    start: int
    end: int
    adjusted: bool
    ascending: bool
    limit: int
    iex: bool


def bars(stocks: Stocks, request: Request, *, free: bool) -> Response:
    """Bars of one or several symbols, by symbol and time; an unknown one has none, which looks like one without trades.

    Raises:
        ValueError: a parameter that the vendor refuses; the text says why.
        PermissionError: a free plan asks for the newest quarter of an hour of the tape.
    """
    query = _parse_query(stocks, request.query)
    feed = request.query.get("feed", "sip")
    if free and feed == "sip" and query.end > stocks.now - _QUARTER_MS:
        raise PermissionError("subscription does not permit querying recent SIP data")
    symbol, after, back = _parse_token(request.query.get("page_token"))
    following = _bars_after(stocks, query, symbol, after)
    page, more = following[: query.limit], len(following) > query.limit

    def previous_page() -> list[NamedBar]:
        if back is None:
            return page
        first = _bars_after(stocks, query, *back, count_call=False)
        return first[: query.limit]

    sent_bars = apply_trouble(request.trouble, page, previous_page)
    token = None
    if page and (more or request.trouble == "endless_next"):
        token = _make_token(page[-1], page[0])
    elif request.trouble == "endless_next":
        # There is nothing after the end, and something after that.
        token = base64.b64encode(json.dumps([symbol, after + 1, None]).encode()).decode()
    return _respond(sent_bars, None if request.trouble == "no_next" else token)


def _parse_query(stocks: Stocks, query: Mapping[str, str]) -> _Query:
    symbols = sorted(set(query.get("symbols", "").split(",")) - {""})
    if not symbols:
        raise ValueError("symbols is required")
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            raise ValueError(f"invalid symbol: {symbol}")
    interval = _TIMEFRAMES.get(query.get("timeframe", ""))
    if interval is None:
        raise ValueError(f"invalid timeframe: {query.get('timeframe', '')}")
    limit = int(query.get("limit") or _DEFAULT_LIMIT)
    if not 0 < limit <= 10_000:
        raise ValueError("invalid limit: must be between 1 and 10000")
    adjustment, feed = query.get("adjustment") or "raw", query.get("feed") or "sip"
    if adjustment not in {"raw", "split"}:
        raise ValueError(f"invalid adjustment: {adjustment}")
    if feed not in _FEEDS:
        raise ValueError(f"invalid feed: {feed}")
    today = datetime.fromtimestamp(stocks.now / 1000, UTC).date()
    start = _parse_instant(query["start"]) if query.get("start") else local_ms(today, time())
    end = _parse_instant(query["end"]) if query.get("end") else stocks.now - _QUARTER_MS
    if end < start:
        raise ValueError("end should not be before start")
    return _Query(
        symbols=tuple(symbols),
        interval=interval,
        start=start,
        end=end,
        adjusted=adjustment == "split",
        ascending=(query.get("sort") or "asc") == "asc",
        limit=min(limit, PAGE, stocks.page_limit or PAGE),
        iex=feed == "iex",
    )


def _bars_after(stocks: Stocks, query: _Query, symbol: str, after: int, *, count_call: bool = True) -> list[NamedBar]:
    """The bars after a position, one more than a page holds if there are so many."""
    following: list[NamedBar] = []
    for name in query.symbols:
        if name < symbol or stocks.listing(name) is None or len(following) > query.limit:
            continue
        start, end = query.start, query.end + 1
        if name == symbol:
            start, end = (max(start, after + 1), end) if query.ascending else (start, min(end, after))
        rows = stocks.bars(
            name,
            query.interval,
            start,
            max(start, end),
            extended=True,
            adjusted=query.adjusted,
            limit=query.limit + 1 - len(following) if query.ascending else None,
            count_call=count_call,
        )
        rows = rows if query.ascending else rows[::-1]
        following += [(name, _seen_by_iex(bar) if query.iex else bar) for bar in rows]
    return following[: query.limit + 1]


def _seen_by_iex(bar: StockBar) -> StockBar:
    whole = int(bar.volume.partition(".")[0])
    return bar._replace(volume=str(max(1, whole // _IEX_FRACTION)), trades=max(1, bar.trades // _IEX_FRACTION))


def _parse_token(token: str | None) -> tuple[str, int, tuple[str, int] | None]:
    """The last bar of the page before, and the position before that page's first one."""
    if not token:
        return "", -1, None
    try:
        symbol, after, back = json.loads(base64.b64decode(token, validate=True))
        return str(symbol), int(after), None if back is None else (str(back[0]), int(back[1]))
    except (ValueError, TypeError, LookupError):
        raise ValueError("invalid page_token") from None


def _make_token(last: NamedBar, first: NamedBar) -> str:
    text = json.dumps([last[0], last[1].start, [first[0], first[1].start - 1]])
    return base64.b64encode(text.encode()).decode()


def _respond(rows: list[NamedBar], token: str | None) -> Response:
    by_symbol: dict[str, list[str]] = {}
    for symbol, bar in rows:
        by_symbol.setdefault(symbol, []).append(_format_bar(bar))
    listed = json_object({symbol: f"[{','.join(items)}]" for symbol, items in by_symbol.items()})
    return Response(200, json_object({"bars": listed, "next_page_token": json.dumps(token)}))


def _format_bar(bar: StockBar) -> str:
    moment = datetime.fromtimestamp(bar.start / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    prices = {"c": bar.close, "h": bar.high, "l": bar.low, "o": bar.open}
    rest = {"n": str(bar.trades), "t": f'"{moment}"', "v": number(bar.volume), "vw": number(bar.vwap)}
    return json_object({name: number(text) for name, text in prices.items()} | rest)


def _parse_instant(text: str) -> int:
    """RFC 3339, or a day, which begins in New York."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return local_ms(date.fromisoformat(text), time())
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"invalid time: {text}")
    return round(moment.timestamp() * 1000)
