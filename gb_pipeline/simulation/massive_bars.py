"""Massive's aggregates, `/v2/aggs/ticker/...`: snapped windows, pages by base aggregates, one layout."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import parse_qs, urlencode
from zoneinfo import ZoneInfo

from gb_pipeline.simulation.json_numbers import json_object, number
from gb_pipeline.simulation.response import Request, Response, apply_trouble
from gb_pipeline.simulation.stock_bars import StockBar
from gb_pipeline.simulation.stock_sessions import local_ms
from gb_pipeline.simulation.stocks import Stocks

PATH = re.compile(r"/v2/aggs/ticker/([^/]+)/range/(\d+)/([a-z]+)/([^/]+)/([^/]+)")
# Base aggregates, minutes or days, that one page is made of at most.
PAGE = 50_000
_DEFAULT_LIMIT = 5000
_MINUTE_MS = 60_000
_DAY = timedelta(days=1)
_NEW_YORK = ZoneInfo("America/New_York")
_INTERVALS = {
    (1, "minute"): "1m",
    (5, "minute"): "5m",
    (15, "minute"): "15m",
    (30, "minute"): "30m",
    (1, "hour"): "1h",
    (1, "day"): "1d",
    (1, "week"): "1w",
    (1, "month"): "1mo",
}
_STEPS = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}


@dataclass(frozen=True, slots=True)
class _Query:
    ticker: str
    interval: str
    start: int
    end: int
    adjusted: bool
    ascending: bool
    limit: int
    # Where the page before began, and how many pages there were, as the cursor remembers them.
    back: int | None = None
    page: int = 0


def aggregates(stocks: Stocks, request: Request) -> Response:
    """Bars of one ticker; an unknown one has none, which looks like one without trades.

    Raises:
        ValueError: a parameter that the vendor refuses; the text says why.
    """
    query = _parse_query(stocks, request)
    if not stocks.has_bars(query.ticker):
        return _respond(query, [], 0, None)
    page, base, following = _split_page(stocks, query)
    rows = _read_bars(stocks, page)

    def previous_page() -> list[StockBar]:
        if query.back is None:
            return rows
        return _read_bars(stocks, replace(page, start=query.back, end=query.start), count_call=False)

    sent_bars = apply_trouble(request.trouble, rows, previous_page)
    if following is None and request.trouble == "endless_next":
        following = replace(query, start=query.end, end=query.end)
    if request.trouble == "no_next":
        following = None
    link = None if following is None else _next_url(request, replace(following, back=page.start, page=query.page + 1))
    # Rows that got lost on the way are still counted.
    count = len(rows) if request.trouble == "drop_rows" else len(sent_bars)
    return _respond(query, sent_bars, count, link, base)


def _parse_query(stocks: Stocks, request: Request) -> _Query:
    matched = PATH.fullmatch(request.path)
    assert matched is not None
    ticker, multiplier, span, first, last = matched.groups()
    interval = _INTERVALS.get((int(multiplier), span))
    if interval is None:
        raise ValueError(f"unsupported range: {multiplier} {span}")
    params = dict(request.query)
    if "cursor" in params:
        text = base64.urlsafe_b64decode(params["cursor"] + "==").decode()
        params = {name: values[0] for name, values in parse_qs(text).items()}
    limit = int(params.get("limit", _DEFAULT_LIMIT))
    if not 0 < limit <= 50_000:
        raise ValueError("limit must be between 1 and 50000")
    start, end = _snap(_parse_instant(first), interval), _snap(_parse_instant(last, end=True), interval, up=True)
    if end <= start and "back" not in params:
        raise ValueError("'to' cannot be before 'from'")
    return _Query(
        ticker,
        interval,
        start,
        end,
        adjusted=params.get("adjusted", "true") == "true",
        ascending=params.get("sort", "asc") != "desc",
        limit=min(limit, PAGE, stocks.page_limit or PAGE),
        back=int(params["back"]) if "back" in params else None,
        page=int(params.get("page", 0)),
    )


def _split_page(stocks: Stocks, query: _Query) -> tuple[_Query, int, _Query | None]:
    """The part of a query that its limit of base aggregates is enough for, how many those are, and the rest."""
    kind = "1m" if query.interval in _STEPS else "1d"
    limit = query.limit + 1 if query.ascending else None
    base_bars = stocks.bars(query.ticker, kind, query.start, query.end, extended=True, limit=limit, count_call=False)
    base = [bar.start for bar in base_bars]
    if len(base) <= query.limit:
        return query, len(base), None
    if query.ascending:
        # A bar whose base is cut through is left for the next page, unless it is the only one.
        cut = _snap(base[query.limit], query.interval)
        cut = cut if cut > query.start else _snap(query.start + 1, query.interval, up=True)
        rest = replace(query, start=cut) if cut < query.end else None
        return replace(query, end=cut), sum(start < cut for start in base), rest
    cut = _snap(base[-query.limit - 1] + 1, query.interval, up=True)
    cut = cut if cut < query.end else _snap(query.end - 1, query.interval)
    rest = replace(query, end=cut) if cut > query.start else None
    return replace(query, start=cut), sum(start >= cut for start in base), rest


def _read_bars(stocks: Stocks, query: _Query, *, count_call: bool = True) -> list[StockBar]:
    rows = stocks.bars(
        query.ticker,
        query.interval,
        query.start,
        query.end,
        extended=True,
        adjusted=query.adjusted,
        count_call=count_call,
    )
    if query.interval == "1w":
        # Weeks begin on Sunday here.
        rows = [row._replace(start=_midnight(_new_york(row.start).date() - _DAY)) for row in rows]
    return rows if query.ascending else rows[::-1]


def _respond(query: _Query, rows: list[StockBar], count: int, link: str | None, base: int = 0) -> Response:
    fields = {"ticker": json.dumps(query.ticker), "queryCount": str(base), "resultsCount": str(count)}
    fields["adjusted"] = json.dumps(query.adjusted)
    # There is no empty list: without rows the name is missing.
    if rows:
        fields["results"] = "[" + ",".join(_format_bar(bar) for bar in rows) + "]"
    fields |= {"status": '"OK"', "request_id": f'"{query.start:016x}{query.end:016x}"', "count": str(count)}
    if link is not None:
        fields["next_url"] = json.dumps(link)
    return Response(200, json_object(fields))


def _format_bar(bar: StockBar) -> str:
    numbers = {"v": bar.volume, "vw": bar.vwap, "o": bar.open, "c": bar.close, "h": bar.high, "l": bar.low}
    return json_object(
        {**{name: number(text) for name, text in numbers.items()}, "t": str(bar.start), "n": str(bar.trades)}
    )


def _next_url(request: Request, query: _Query) -> str:
    matched = PATH.fullmatch(request.path)
    assert matched is not None
    ticker, multiplier, span, _, _ = matched.groups()
    params: Mapping[str, object] = {
        "adjusted": str(query.adjusted).lower(),
        "limit": query.limit,
        "sort": "asc" if query.ascending else "desc",
        "back": query.back,
        "page": query.page,
    }
    cursor = base64.urlsafe_b64encode(urlencode(params).encode()).decode().rstrip("=")
    path = f"/v2/aggs/ticker/{ticker}/range/{multiplier}/{span}/{query.start}/{query.end - 1}"
    return f"https://{request.host}{path}?cursor={cursor}"


def _parse_instant(text: str, *, end: bool = False) -> int:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        day = date.fromisoformat(text)
        return _midnight(day + _DAY) - 1 if end else _midnight(day)
    return int(text)


def _snap(moment: int, interval: str, *, up: bool = False) -> int:
    """The start of the bar that holds a moment, or its end."""
    if interval in _STEPS:
        step = _STEPS[interval] * _MINUTE_MS
        start = moment // step * step
        return start + step if up else start
    day = _new_york(moment).date()
    if interval == "1w":
        first = day - (day.weekday() + 1) % 7 * _DAY
        following = first + 7 * _DAY
    elif interval == "1mo":
        first = day.replace(day=1)
        following = (first + 31 * _DAY).replace(day=1)
    else:
        first, following = day, day + _DAY
    return _midnight(following if up else first)


def _midnight(day: date) -> int:
    return local_ms(day, time())


def _new_york(moment: int) -> datetime:
    return datetime.fromtimestamp(moment / 1000, UTC).astimezone(_NEW_YORK)
