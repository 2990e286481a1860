"""Kraken's REST dialect (`api.kraken.com`): pairs, and only the newest 720 bars, whatever `since` says; trades of any time.

This module has paths, parameters, JSON layouts and error bodies. `server` has HTTP, `exchange` the market.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gb_pipeline.simulation.exchange import Bar, Exchange, format_units
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.json_numbers import Exact, dumps
from gb_pipeline.simulation.response import Request, Response, apply_trouble, integer
from gb_pipeline.simulation.tickers import Ticker, get_tickers

HOSTS = ("api.kraken.com",)
_INTERVALS = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d", 10080: "1w"}
_MOST_BARS = 720
_MOST_TRADES = 1000
_HOUR_MS = 3_600_000
_SHORT = {"BTC": "XBT", "DOGE": "XDG"}
# Kraken's names of the oldest assets; currencies carry a Z, these cryptocurrencies an X.
_ASSETS = {"BTC": "XXBT", "ETH": "XETH", "XRP": "XXRP", "LTC": "XLTC", "DOGE": "XXDG", "USD": "ZUSD", "EUR": "ZEUR"}


def answer(exchange: Exchange, request: Request) -> Response:  # noqa: PLR0911 - one return per endpoint
    """The answer to one GET request; errors come with status 200, as from the real one."""
    path, query = request.path, request.query
    # It does not know what it has delisted.
    listed = {
        _pair_id(item): item for item in exchange.listed() if not item.perpetual and not exchange.delisted(item.code)
    }
    if path == "/0/public/Time":
        return _result({"unixtime": exchange.now // 1000, "rfc1123": ""})
    if path == "/0/public/AssetPairs":
        asked = [name for name in query.get("pair", "").split(",") if name]
        if not asked:
            return _result({name: _pair(item) for name, item in listed.items()})
        # Whoever asks for pairs finds them under the names that he wrote.
        by_name = {_slashed(item): item for item in listed.values()} | _by_short_name(listed) | listed
        if any(name not in by_name for name in asked):
            return _error("EQuery:Unknown asset pair")
        return _result({name: _pair(by_name[name]) for name in asked})
    if path == "/0/public/Assets":
        return _result({})
    if path == "/0/public/Ticker":
        names = query["pair"].split(",") if "pair" in query else list(listed)
        if any(name not in listed for name in names):
            return _error("EQuery:Unknown asset pair")
        pairs = {name: listed[name] for name in names}
        return _result(
            {name: _format_ticker(summary, pairs[name]) for name, summary in get_tickers(exchange, pairs).items()}
        )
    if path not in {"/0/public/OHLC", "/0/public/Trades"}:
        return _error("EGeneral:Unknown method")
    item = listed.get(query.get("pair", "")) or _by_short_name(listed).get(query.get("pair", ""))
    if item is None:
        return _error("EQuery:Unknown asset pair")
    try:
        if path == "/0/public/Trades":
            return _trades(exchange, item, query)
        interval = _INTERVALS.get(integer(query, "interval") or 1)
        since = integer(query, "since")
    except ValueError:
        return _error("EGeneral:Invalid arguments")
    if interval is None:
        return _error("EGeneral:Invalid arguments")
    bars = exchange.bars(item.code, interval, None, None, _MOST_BARS)

    def previous_page() -> list[Bar]:
        until = bars[0].start if bars else exchange.now
        return exchange.bars(item.code, interval, None, until - 1, _MOST_BARS, count_call=False)

    newer = [bar for bar in bars if since is None or bar.start // 1000 > since]
    rows = [
        [r.start // 1000, r.open, r.high, r.low, r.close, _vwap(r.high, r.low, item), r.volume, r.trades]
        for r in apply_trouble(request.trouble, newer, previous_page)
    ]
    last = bars[-2].start // 1000 if len(bars) > 1 else 0
    return _result({_pair_id(item): rows, "last": last})


def _slashed(item: Instrument) -> str:
    return f"{item.base}/{item.quote}"


def _by_short_name(listed: Mapping[str, Instrument]) -> dict[str, Instrument]:
    """Pairs by the name without the letters of old, such as XBTUSD."""
    return {_SHORT.get(item.base, item.base) + _SHORT.get(item.quote, item.quote): item for item in listed.values()}


def _trades(exchange: Exchange, item: Instrument, query: Mapping[str, str]) -> Response:
    """Trades after a moment in nanoseconds, oldest first; the newest thousand without one."""
    since, limit = integer(query, "since"), min(integer(query, "count") or _MOST_TRADES, _MOST_TRADES)
    if since is None:
        trades = exchange.trades(item.code, exchange.now - _HOUR_MS, exchange.now, limit, newest=True)
    else:
        trades = exchange.trades(item.code, since // 1_000_000 + 1, exchange.now, limit)
    rows = [
        [
            format_units(price, item.price_digits),
            f"{Decimal(format_units(size, item.volume_digits)):.8f}",
            Exact(f"{moment // 1000}.{moment % 1000:03}"),
            "s" if buyer_is_maker else "b",
            "l",
            "",
            number,
        ]
        for number, moment, price, size, buyer_is_maker in trades
    ]
    last = trades[-1][1] * 1_000_000 if trades else since or 0
    return Response(200, dumps({"error": [], "result": {_pair_id(item): rows, "last": str(last)}}))


def _result(value: object) -> Response:
    return Response.json({"error": [], "result": value})


def _error(text: str) -> Response:
    return Response.json({"error": [text]})


def _pair_id(item: Instrument) -> str:
    return _ASSETS.get(item.base, item.base) + _ASSETS.get(item.quote, item.quote)


def _vwap(high: str, low: str, item: Instrument) -> str:
    return f"{(float(high) + float(low)) / 2:.{item.price_digits}f}"


def _format_ticker(summary: Ticker, item: Instrument) -> dict[str, object]:
    """Today's and the last 24 hours' values in pairs, of which clients read the second."""
    turnover, volume = Decimal(summary.turnover), Decimal(summary.volume)
    average = f"{turnover / volume:.{item.price_digits}f}" if volume else "0"
    return {
        "a": [summary.last, "1", "1.000"],
        "b": [summary.last, "1", "1.000"],
        "c": [summary.last, "0.1"],
        "v": [summary.volume, summary.volume],
        "p": [average, average],
        "t": [summary.trades, summary.trades],
        "l": [summary.low, summary.low],
        "h": [summary.high, summary.high],
        "o": summary.open,
    }


def _pair(item: Instrument) -> dict[str, object]:
    return {
        "altname": _ASSETS.get(item.base, item.base).lstrip("X") + item.quote,
        "wsname": _slashed(item),
        "aclass_base": "currency",
        "base": _ASSETS.get(item.base, item.base),
        "aclass_quote": "currency",
        "quote": _ASSETS.get(item.quote, item.quote),
        "pair_decimals": item.price_digits,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.26]],
        "fees_maker": [[0, 0.16]],
        "ordermin": "0.0001",
        "costmin": "0.5",
        "status": "online",
    }
