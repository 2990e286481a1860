"""The result object of Yahoo's chart, as the real one lays it out.

Belongs here: meta, stamps, quotes and events of one chart, with Yahoo's habits: 32-bit floats, rows without prices, the last
quote as one more row. Does not belong here: paths, limits and errors (`yahoo`).
"""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gb_pipeline.simulation.response import Asked
from gb_pipeline.simulation.stock_actions import Action
from gb_pipeline.simulation.stock_bars import StockBar
from gb_pipeline.simulation.stock_listings import Listing
from gb_pipeline.simulation.stock_sessions import Session
from gb_pipeline.simulation.stocks import Stocks

# Yahoo's intervals by the market's, and how many days back and at once each may be asked for.
INTERVALS = {
    "1m": "1m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "60m": "1h",
    "1h": "1h",
    "1d": "1d",
    "1wk": "1w",
    "1mo": "1mo",
}
DEPTHS = {"1m": (30, 8), "5m": (60, 60), "15m": (60, 60), "30m": (60, 60), "60m": (730, 730), "1h": (730, 730)}
_STEPS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "1h": 3600}
_ZONE = ZoneInfo("America/New_York")
_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]
_VENUES = {"XNAS": ("NMS", "NasdaqGS"), "XNYS": ("NYQ", "NYSE"), "ARCX": ("PCX", "NYSEArca")}
_DAY = 86_400
_OVERLAP = 3

Row = tuple[int, StockBar | None]


def chart(
    stocks: Stocks, asked: Asked, listed: Listing, symbol: str, interval: str, start: int, end: int
) -> dict[str, Any] | None:
    """One result; None where the share was not traded before the end of the period.

    Args:
        stocks: the market.
        asked: for trouble, events and extended hours.
        listed: the share.
        symbol: as Yahoo spells it.
        interval: one of `INTERVALS`.
        start, end: epoch seconds, half-open.
    """
    first = stocks.sessions(listed.list_date, listed.list_date + timedelta(days=10))[0]
    if end <= first.open // 1000:
        return None
    extended = asked.query.get("includePrePost", "false").lower() == "true"
    if asked.trouble == "duplicate_page":
        rows = _rows(stocks, listed, interval, 2 * start - end, start, extended=extended)
    else:
        begin = start - _OVERLAP * _STEPS.get(interval, _DAY) if asked.trouble == "overlap_page" else start
        rows = _rows(stocks, listed, interval, begin, end, extended=extended)
    current = _current(stocks)
    traded = _last_trade(stocks)
    live = _live(stocks, listed, current) if current.open <= stocks.now < current.close else None
    rows = _with_quote(rows, live, interval, traded, current)
    if asked.trouble == "drop_rows":
        rows = rows[: len(rows) // 3] + rows[2 * len(rows) // 3 :]
    if asked.trouble == "shuffle_rows":
        random.Random(stocks.seed).shuffle(rows)
    found: dict[str, Any] = {"meta": _meta(listed, symbol, interval, first, current, traded, live)}
    if interval in _STEPS:
        found["meta"]["tradingPeriods"] = _trading_periods(stocks, start, end, extended=extended)
    if rows:
        found["timestamp"] = [stamp for stamp, _ in rows]
    events = _events(stocks, listed, asked.query.get("events", ""), start, end)
    if events:
        found["events"] = events
    # Shares are whole, also after a split; only planted fractions show.
    whole = any(item.kind == "split" for item in _happened(stocks, listed))
    found["indicators"] = _indicators(rows, daily=interval not in _STEPS, whole=whole)
    return found


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(stocks: Stocks, listed: Listing, interval: str, start: int, end: int, *, extended: bool) -> list[Row]:
    if interval not in _STEPS:
        # Days are stamped with the open, weeks and months with midnight.
        bars = stocks.bars(listed.code, INTERVALS[interval], (start - _DAY) * 1000, (end + _DAY) * 1000, adjusted=True)
        opens = {item.midnight: item.open // 1000 for item in _sessions_around(stocks, start, end)}
        stamped = [
            (opens.get(bar.start, bar.start // 1000) if interval == "1d" else bar.start // 1000, bar) for bar in bars
        ]
        return [(stamp, bar) for stamp, bar in stamped if start <= stamp < end]
    bars = stocks.bars(
        listed.code, INTERVALS[interval], start * 1000, end * 1000, extended=extended, adjusted=True, aligned="session"
    )
    rows: list[Row] = [(bar.start // 1000, bar) for bar in bars]
    return sorted(rows + _silent(stocks, bars, interval, start, end), key=lambda row: row[0])


def _silent(stocks: Stocks, bars: list[StockBar], interval: str, start: int, end: int) -> list[Row]:
    """Rows without prices, for times of the regular session in which nothing traded."""
    there = {bar.start // 1000 for bar in bars}
    silent: list[Row] = []
    for item in _sessions_around(stocks, start, end):
        until = min(item.close, stocks.now) // 1000
        stamps = range(item.open // 1000, until, _STEPS[interval])
        if any(stamp in there for stamp in stamps):
            silent += [(stamp, None) for stamp in stamps if stamp not in there and start <= stamp < end]
    return silent


def _live(stocks: Stocks, listed: Listing, current: Session) -> StockBar | None:
    bars = stocks.bars(listed.code, "1m", current.open, stocks.now + 1, adjusted=True, count_call=False)
    return bars[-1] if bars else None


def _with_quote(rows: list[Row], live: StockBar | None, interval: str, traded: int, current: Session) -> list[Row]:
    """While the market is open, the last quote stands at the end, wherever the period ends."""
    if live is None:
        return rows
    if interval == "1d":
        # The day so far is stamped with its last trade.
        return [(traded if stamp == current.open // 1000 else stamp, bar) for stamp, bar in rows]
    quote = StockBar(traded * 1000, live.close, live.close, live.close, live.close, "0", live.close, 0)
    return [*rows, (traded, quote)]


def _indicators(rows: list[Row], *, daily: bool, whole: bool) -> dict[str, Any]:
    names = ("open", "high", "low", "close")
    quote: dict[str, Any] = {
        name: [None if bar is None else _single(getattr(bar, name)) for _, bar in rows] for name in names
    }
    quote["volume"] = [None if bar is None else _volume(bar.volume, whole=whole) for _, bar in rows]
    found: dict[str, Any] = {"quote": [quote if rows else {}]}
    if daily:
        found["adjclose"] = [{"adjclose": quote["close"]} if rows else {}]
    return found


def _volume(text: str, *, whole: bool) -> int | float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return round(value) if whole or value.is_integer() else value


def _single(text: str) -> float | str:
    """A 32-bit float written as a 64-bit one; what was planted and is no number stays."""
    try:
        return float(np.float32(text))
    except ValueError:
        return text


# --- events -----------------------------------------------------------------------------------------------------------


def _events(stocks: Stocks, listed: Listing, wanted: str, start: int, end: int) -> dict[str, Any]:
    kinds = set(wanted.replace("|", ",").split(","))
    days = _day(start) - timedelta(days=1), _day(end) + timedelta(days=1)
    happened = _happened(stocks, listed)
    splits = [item for item in happened if item.kind == "split"]
    events: dict[str, Any] = {}
    for item in happened:
        if not days[0] <= item.ex_date < days[1]:
            continue
        stamp = _open_of(stocks, item.ex_date)
        if not start <= stamp < end:
            continue
        if item.kind == "dividend" and {"div", "dividends"} & kinds:
            amount = _adjusted(item, splits)
            events.setdefault("dividends", {})[str(stamp)] = {"amount": amount, "date": stamp}
        if item.kind == "split" and {"split", "splits"} & kinds:
            events.setdefault("splits", {})[str(stamp)] = {
                "date": stamp,
                "numerator": float(item.to),
                "denominator": float(item.from_),
                "splitRatio": f"{item.to}:{item.from_}",
            }
    return events


def _happened(stocks: Stocks, listed: Listing) -> list[Action]:
    tomorrow = _day(stocks.now // 1000) + timedelta(days=1)
    return [item for item in stocks.actions(listed.code, date.min, tomorrow) if stocks.happened(item)]


def _adjusted(dividend: Action, splits: list[Action]) -> float:
    amount = Fraction(dividend.amount)
    for split in splits:
        if split.ex_date > dividend.ex_date:
            amount /= split.ratio
    return round(float(amount), 6)


# --- meta -------------------------------------------------------------------------------------------------------------


def _meta(
    listed: Listing, symbol: str, interval: str, first: Session, current: Session, traded: int, live: StockBar | None
) -> dict[str, Any]:
    code, name = _VENUES[listed.mic]
    meta: dict[str, Any] = {
        "currency": listed.currency,
        "symbol": symbol,
        "exchangeName": code,
        "fullExchangeName": name,
        "instrumentType": "ETF" if listed.kind == "etf" else "EQUITY",
        "firstTradeDate": first.open // 1000,
        "regularMarketTime": traded,
        "hasPrePostMarketData": True,
        "gmtoffset": _offset(traded),
        "timezone": datetime.fromtimestamp(traded, _ZONE).tzname(),
        "exchangeTimezoneName": _ZONE.key,
        "longName": listed.name,
        "shortName": listed.name,
        "priceHint": 2,
        "currentTradingPeriod": {
            "pre": _span(current.begin, current.open),
            "regular": _span(current.open, current.close),
            "post": _span(current.close, current.end),
        },
        "dataGranularity": interval,
        "range": "",
        "validRanges": _RANGES,
    }
    if live is not None:
        meta["regularMarketPrice"] = float(live.close)
    return meta


def _trading_periods(stocks: Stocks, start: int, end: int, *, extended: bool) -> Any:
    days = [
        item for item in _sessions_around(stocks, start, end) if item.open // 1000 < end and item.end // 1000 > start
    ]
    regular = [[_span(item.open, item.close)] for item in days]
    if not extended:
        return regular
    pre, post = ([[_span(item.begin, item.open)] for item in days], [[_span(item.close, item.end)] for item in days])
    return {"pre": pre, "regular": regular, "post": post}


def _span(start: int, end: int) -> dict[str, Any]:
    seconds = start // 1000
    name = datetime.fromtimestamp(seconds, _ZONE).tzname()
    return {"timezone": name, "start": seconds, "end": end // 1000, "gmtoffset": _offset(seconds)}


def _offset(stamp: int) -> int:
    offset = datetime.fromtimestamp(stamp, _ZONE).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def _current(stocks: Stocks) -> Session:
    """Today's session; before and after trading days the next one."""
    today = _day(stocks.now // 1000)
    return stocks.sessions(today, today + timedelta(days=10))[0]


def _last_trade(stocks: Stocks) -> int:
    today = _day(stocks.now // 1000)
    past = [
        item
        for item in stocks.sessions(today - timedelta(days=10), today + timedelta(days=1))
        if item.open <= stocks.now
    ]
    return min(stocks.now, past[-1].close) // 1000


def _open_of(stocks: Stocks, day: date) -> int:
    return stocks.sessions(day, day + timedelta(days=10))[0].open // 1000


def _sessions_around(stocks: Stocks, start: int, end: int) -> list[Session]:
    """Sessions of a period, as far as they have come."""
    first = max(_day(start) - timedelta(days=1), date(1980, 1, 2))
    return stocks.sessions(first, max(first, min(_day(end), _day(stocks.now // 1000)) + timedelta(days=1)))


def _day(stamp: int) -> date:
    return datetime.fromtimestamp(max(stamp, 0), _ZONE).date()
