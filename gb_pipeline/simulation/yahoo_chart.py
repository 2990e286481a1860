"""The result object of Yahoo's chart, as the real one lays it out.

This module makes meta, stamps, quotes and events of one chart, with Yahoo's habits: 32-bit floats, rows without prices, the last
quote as one more row. Paths, limits and errors are in `yahoo`.
"""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from gb_pipeline.simulation.response import Request
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
    stocks: Stocks, request: Request, listed: Listing, symbol: str, interval: str, start: int, end: int
) -> dict[str, Any] | None:
    """One result; None where the stock was not traded before the end of the period.

    Args:
        stocks: the market.
        request: for trouble, events and extended hours.
        listed: the stock.
        symbol: as Yahoo spells it.
        interval: one of `INTERVALS`.
        start, end: epoch seconds, half-open.
    """
    first = stocks.sessions(listed.list_date, listed.list_date + timedelta(days=10))[0]
    if end <= first.open // 1000:
        return None
    extended = request.query.get("includePrePost", "false").lower() == "true"
    if request.trouble == "duplicate_page":
        rows = _read_rows(stocks, listed, interval, 2 * start - end, start, extended=extended)
    else:
        begin = start - _OVERLAP * _STEPS.get(interval, _DAY) if request.trouble == "overlap_page" else start
        rows = _read_rows(stocks, listed, interval, begin, end, extended=extended)
    session = _current_session(stocks)
    last_trade = _last_trade(stocks)
    live_bar = _newest_minute(stocks, listed, session) if session.open <= stocks.now < session.close else None
    rows = _add_last_quote(rows, live_bar, interval, last_trade, session)
    if request.trouble == "drop_rows":
        rows = rows[: len(rows) // 3] + rows[2 * len(rows) // 3 :]
    if request.trouble == "shuffle_rows":
        random.Random(stocks.seed).shuffle(rows)
    document: dict[str, Any] = {"meta": _meta(listed, symbol, interval, first, session, last_trade, live_bar)}
    if interval in _STEPS:
        document["meta"]["tradingPeriods"] = _trading_periods(stocks, start, end, extended=extended)
    if rows:
        document["timestamp"] = [stamp for stamp, _ in rows]
    events = _events(stocks, listed, request.query.get("events", ""), start, end)
    if events:
        document["events"] = events
    # Volumes are whole shares, also after a split; only planted fractions are not.
    whole_shares = any(item.kind == "split" for item in _past_actions(stocks, listed))
    document["indicators"] = _indicators(rows, daily=interval not in _STEPS, whole_shares=whole_shares)
    return document


# --- rows -------------------------------------------------------------------------------------------------------------


def _read_rows(stocks: Stocks, listed: Listing, interval: str, start: int, end: int, *, extended: bool) -> list[Row]:
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
    return sorted(rows + _rows_without_trades(stocks, bars, interval, start, end), key=lambda row: row[0])


def _rows_without_trades(stocks: Stocks, bars: list[StockBar], interval: str, start: int, end: int) -> list[Row]:
    """Rows without prices, for times of the regular session in which nothing traded."""
    traded_stamps = {bar.start // 1000 for bar in bars}
    empty_rows: list[Row] = []
    for item in _sessions_around(stocks, start, end):
        until = min(item.close, stocks.now) // 1000
        stamps = range(item.open // 1000, until, _STEPS[interval])
        if any(stamp in traded_stamps for stamp in stamps):
            empty_rows += [(stamp, None) for stamp in stamps if stamp not in traded_stamps and start <= stamp < end]
    return empty_rows


def _newest_minute(stocks: Stocks, listed: Listing, session: Session) -> StockBar | None:
    bars = stocks.bars(listed.code, "1m", session.open, stocks.now + 1, adjusted=True, count_call=False)
    return bars[-1] if bars else None


def _add_last_quote(
    rows: list[Row], live_bar: StockBar | None, interval: str, last_trade: int, session: Session
) -> list[Row]:
    """While the market is open, the last quote stands at the end, wherever the period ends."""
    if live_bar is None:
        return rows
    if interval == "1d":
        # The day so far is stamped with its last trade.
        return [(last_trade if stamp == session.open // 1000 else stamp, bar) for stamp, bar in rows]
    quote = StockBar(
        last_trade * 1000, live_bar.close, live_bar.close, live_bar.close, live_bar.close, "0", live_bar.close, 0
    )
    return [*rows, (last_trade, quote)]


def _indicators(rows: list[Row], *, daily: bool, whole_shares: bool) -> dict[str, Any]:
    names = ("open", "high", "low", "close")
    quote: dict[str, Any] = {
        name: [None if bar is None else _to_float32(getattr(bar, name)) for _, bar in rows] for name in names
    }
    quote["volume"] = [
        None if bar is None else _format_volume(bar.volume, whole_shares=whole_shares) for _, bar in rows
    ]
    indicators: dict[str, Any] = {"quote": [quote if rows else {}]}
    if daily:
        indicators["adjclose"] = [{"adjclose": quote["close"]} if rows else {}]
    return indicators


def _format_volume(text: str, *, whole_shares: bool) -> int | float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return round(value) if whole_shares or value.is_integer() else value


def _to_float32(text: str) -> float | str:
    """A 32-bit float written as a 64-bit one; planted text that is not a number stays."""
    try:
        return float(np.float32(text))
    except ValueError:
        return text


# --- events -----------------------------------------------------------------------------------------------------------


def _events(stocks: Stocks, listed: Listing, requested: str, start: int, end: int) -> dict[str, Any]:
    kinds = set(requested.replace("|", ",").split(","))
    days = _date_of(start) - timedelta(days=1), _date_of(end) + timedelta(days=1)
    actions = _past_actions(stocks, listed)
    splits = [item for item in actions if item.kind == "split"]
    events: dict[str, Any] = {}
    for item in actions:
        if not days[0] <= item.ex_date < days[1]:
            continue
        stamp = _open_of(stocks, item.ex_date)
        if not start <= stamp < end:
            continue
        if item.kind == "dividend" and {"div", "dividends"} & kinds:
            amount = _adjust_dividend(item, splits)
            events.setdefault("dividends", {})[str(stamp)] = {"amount": amount, "date": stamp}
        if item.kind == "split" and {"split", "splits"} & kinds:
            events.setdefault("splits", {})[str(stamp)] = {
                "date": stamp,
                "numerator": float(item.to),
                "denominator": float(item.from_),
                "splitRatio": f"{item.to}:{item.from_}",
            }
    return events


def _past_actions(stocks: Stocks, listed: Listing) -> list[Action]:
    tomorrow = _date_of(stocks.now // 1000) + timedelta(days=1)
    return [item for item in stocks.actions(listed.code, date.min, tomorrow) if stocks.happened(item)]


def _adjust_dividend(dividend: Action, splits: list[Action]) -> float:
    amount = Fraction(dividend.amount)
    for split in splits:
        if split.ex_date > dividend.ex_date:
            amount /= split.ratio
    return round(float(amount), 6)


# --- meta -------------------------------------------------------------------------------------------------------------


def _meta(
    listed: Listing,
    symbol: str,
    interval: str,
    first: Session,
    session: Session,
    last_trade: int,
    live_bar: StockBar | None,
) -> dict[str, Any]:
    code, name = _VENUES[listed.mic]
    meta: dict[str, Any] = {
        "currency": listed.currency,
        "symbol": symbol,
        "exchangeName": code,
        "fullExchangeName": name,
        "instrumentType": "ETF" if listed.kind == "etf" else "EQUITY",
        "firstTradeDate": first.open // 1000,
        "regularMarketTime": last_trade,
        "hasPrePostMarketData": True,
        "gmtoffset": _utc_offset(last_trade),
        "timezone": datetime.fromtimestamp(last_trade, _ZONE).tzname(),
        "exchangeTimezoneName": _ZONE.key,
        "longName": listed.name,
        "shortName": listed.name,
        "priceHint": 2,
        "currentTradingPeriod": {
            "pre": _format_period(session.begin, session.open),
            "regular": _format_period(session.open, session.close),
            "post": _format_period(session.close, session.end),
        },
        "dataGranularity": interval,
        "range": "",
        "validRanges": _RANGES,
    }
    if live_bar is not None:
        meta["regularMarketPrice"] = float(live_bar.close)
    return meta


def _trading_periods(stocks: Stocks, start: int, end: int, *, extended: bool) -> Any:
    days = [
        item for item in _sessions_around(stocks, start, end) if item.open // 1000 < end and item.end // 1000 > start
    ]
    regular = [[_format_period(item.open, item.close)] for item in days]
    if not extended:
        return regular
    pre, post = (
        [[_format_period(item.begin, item.open)] for item in days],
        [[_format_period(item.close, item.end)] for item in days],
    )
    return {"pre": pre, "regular": regular, "post": post}


def _format_period(start: int, end: int) -> dict[str, Any]:
    seconds = start // 1000
    name = datetime.fromtimestamp(seconds, _ZONE).tzname()
    return {"timezone": name, "start": seconds, "end": end // 1000, "gmtoffset": _utc_offset(seconds)}


def _utc_offset(stamp: int) -> int:
    offset = datetime.fromtimestamp(stamp, _ZONE).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


def _current_session(stocks: Stocks) -> Session:
    """Today's session; before and after trading days the next one."""
    today = _date_of(stocks.now // 1000)
    return stocks.sessions(today, today + timedelta(days=10))[0]


def _last_trade(stocks: Stocks) -> int:
    today = _date_of(stocks.now // 1000)
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
    first = max(_date_of(start) - timedelta(days=1), date(1980, 1, 2))
    return stocks.sessions(first, max(first, min(_date_of(end), _date_of(stocks.now // 1000)) + timedelta(days=1)))


def _date_of(stamp: int) -> date:
    return datetime.fromtimestamp(max(stamp, 0), _ZONE).date()
