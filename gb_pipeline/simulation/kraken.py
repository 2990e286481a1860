"""Kraken's REST dialect (`api.kraken.com`): pairs, and only the newest 720 bars, whatever `since` says.

Belongs here: paths, parameters, JSON layouts, error bodies. Does not belong here: HTTP and the market itself.
"""

from __future__ import annotations

from decimal import Decimal

from gb_pipeline.simulation.exchange import Bar, Exchange
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.response import Answer, Asked, integer, troubled
from gb_pipeline.simulation.tickers import Ticker, tickers

HOSTS = ("api.kraken.com",)
_INTERVALS = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d", 10080: "1w"}
_MOST_BARS = 720
# Kraken's names of the oldest assets; currencies carry a Z, these coins an X.
_ASSETS = {"BTC": "XXBT", "ETH": "XETH", "XRP": "XXRP", "LTC": "XLTC", "DOGE": "XXDG", "USD": "ZUSD", "EUR": "ZEUR"}


def answer(exchange: Exchange, asked: Asked) -> Answer:  # noqa: PLR0911 - one return per endpoint
    """The answer to one GET request; errors come with status 200, as from the real one."""
    path, query = asked.path, asked.query
    # It does not know what it has delisted.
    listed = {_id(item): item for item in exchange.listed() if not item.perpetual and not exchange.delisted(item.code)}
    if path == "/0/public/Time":
        return _result({"unixtime": exchange.now // 1000, "rfc1123": ""})
    if path == "/0/public/AssetPairs":
        return _result({name: _pair(item) for name, item in listed.items()})
    if path == "/0/public/Assets":
        return _result({})
    if path == "/0/public/Ticker":
        names = query["pair"].split(",") if "pair" in query else list(listed)
        if any(name not in listed for name in names):
            return _error("EQuery:Unknown asset pair")
        chosen = {name: listed[name] for name in names}
        return _result({name: _day(made, chosen[name]) for name, made in tickers(exchange, chosen).items()})
    if path != "/0/public/OHLC":
        return _error("EGeneral:Unknown method")
    item = listed.get(query.get("pair", ""))
    if item is None:
        return _error("EQuery:Unknown asset pair")
    try:
        interval = _INTERVALS.get(integer(query, "interval") or 1)
        since = integer(query, "since")
    except ValueError:
        return _error("EGeneral:Invalid arguments")
    if interval is None:
        return _error("EGeneral:Invalid arguments")
    bars = exchange.bars(item.code, interval, None, None, _MOST_BARS)

    def before() -> list[Bar]:
        until = bars[0].start if bars else exchange.now
        return exchange.bars(item.code, interval, None, until - 1, _MOST_BARS, count_call=False)

    newer = [bar for bar in bars if since is None or bar.start // 1000 > since]
    rows = [
        [r.start // 1000, r.open, r.high, r.low, r.close, _vwap(r.high, r.low, item), r.volume, r.trades]
        for r in troubled(asked.trouble, newer, before)
    ]
    last = bars[-2].start // 1000 if len(bars) > 1 else 0
    return _result({_id(item): rows, "last": last})


def _result(value: object) -> Answer:
    return Answer.json({"error": [], "result": value})


def _error(text: str) -> Answer:
    return Answer.json({"error": [text]})


def _id(item: Instrument) -> str:
    return _ASSETS.get(item.base, item.base) + _ASSETS.get(item.quote, item.quote)


def _vwap(high: str, low: str, item: Instrument) -> str:
    return f"{(float(high) + float(low)) / 2:.{item.price_digits}f}"


def _day(made: Ticker, item: Instrument) -> dict[str, object]:
    """Today's and the last 24 hours' values in pairs, of which the second is what is asked."""
    average = f"{Decimal(made.turnover) / Decimal(made.volume):.{item.price_digits}f}" if Decimal(made.volume) else "0"
    return {
        "a": [made.last, "1", "1.000"],
        "b": [made.last, "1", "1.000"],
        "c": [made.last, "0.1"],
        "v": [made.volume, made.volume],
        "p": [average, average],
        "t": [made.trades, made.trades],
        "l": [made.low, made.low],
        "h": [made.high, made.high],
        "o": made.open,
    }


def _pair(item: Instrument) -> dict[str, object]:
    return {
        "altname": _ASSETS.get(item.base, item.base).lstrip("X") + item.quote,
        "wsname": f"{item.base}/{item.quote}",
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
