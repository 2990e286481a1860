"""Binance's REST dialect, spot (`api.binance.com`) and USD-margined perpetuals (`fapi.binance.com`).

Belongs here: paths, parameters, JSON layouts, error codes. Does not belong here: HTTP and the market itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from gb_pipeline.simulation.exchange import INTERVALS, MONTH, Bar, Exchange, decimal_text
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.response import Answer, Asked, integer, troubled
from gb_pipeline.simulation.tickers import DAY_MS, Ticker, tickers

HOSTS = ("api.binance.com", "fapi.binance.com", "dapi.binance.com", "api.binance.us")
_MOST_BARS = 1000
_HOUR_MS = 3_600_000


def answer(exchange: Exchange, asked: Asked) -> Answer:  # noqa: PLR0911 - one return per endpoint
    """The answer to one GET request; error bodies are Binance's own."""
    endpoint, query = asked.path.rsplit("/", 1)[-1], asked.query
    perpetual = asked.host.startswith("fapi")
    listed = {} if asked.host.startswith("dapi") else _listed(exchange, perpetual)
    if endpoint == "ping":
        return Answer.json({})
    if endpoint == "time":
        return Answer.json({"serverTime": exchange.now})
    if endpoint == "exchangeInfo":
        return Answer.json(
            {
                "timezone": "UTC",
                "serverTime": exchange.now,
                "rateLimits": [],
                "symbols": [_market(exchange, name, item) for name, item in listed.items()],
            }
        )
    if asked.path.endswith("/ticker/24hr") and "symbol" not in query:
        return Answer.json([_day(exchange, name, made, perpetual) for name, made in tickers(exchange, listed).items()])
    if endpoint not in {"klines", "aggTrades", "trades"}:
        return Answer(404, "<html><title>404 Not Found</title></html>", "text/html")
    item = listed.get(query.get("symbol", ""))
    if item is None:
        return _error(-1121, "Invalid symbol.")
    try:
        if endpoint == "klines":
            return _klines(exchange, item, asked, 1500 if perpetual else _MOST_BARS)
        return _trades(exchange, item, query, aggregated=endpoint == "aggTrades")
    except ValueError:
        return _error(-1100, "Illegal characters found in a parameter.")


def _listed(exchange: Exchange, perpetual: bool) -> dict[str, Instrument]:
    # Binance quotes in stable coins, not in dollars.
    return {
        item.base + item.quote: item
        for item in exchange.listed()
        if item.perpetual == perpetual and item.quote != "USD"
    }


def _error(code: int, message: str) -> Answer:
    return Answer.json({"code": code, "msg": message}, 400)


def _day(exchange: Exchange, name: str, made: Ticker, perpetual: bool) -> dict[str, object]:
    # Only pairs come with their book: clients tell pairs and perpetuals of one name apart by that.
    book = {"bidPrice": made.last, "bidQty": "1.00000000", "askPrice": made.last, "askQty": "1.00000000"}
    return ({} if perpetual else book) | {
        "symbol": name,
        "lastPrice": made.last,
        "openPrice": made.open,
        "highPrice": made.high,
        "lowPrice": made.low,
        "volume": made.volume,
        "quoteVolume": made.turnover,
        "openTime": exchange.now - DAY_MS,
        "closeTime": exchange.now,
        "firstId": 1,
        "lastId": made.trades,
        "count": made.trades,
    }


def _market(exchange: Exchange, name: str, item: Instrument) -> dict[str, object]:
    tick, step = decimal_text(1, item.price_digits), decimal_text(1, item.volume_digits)
    body: dict[str, object] = {
        "symbol": name,
        # It goes on listing what it has delisted, and serving its candles.
        "status": "BREAK" if exchange.delisted(item.code) else "TRADING",
        "baseAsset": item.base,
        "baseAssetPrecision": 8,
        "quoteAsset": item.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"},
        ],
    }
    if item.perpetual:
        body |= {
            "pair": name,
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "onboardDate": 1567965300000,
            "marginAsset": item.quote,
            "pricePrecision": item.price_digits,
            "quantityPrecision": item.volume_digits,
        }
    return body


def _klines(exchange: Exchange, item: Instrument, asked: Asked, most: int) -> Answer:
    query = asked.query
    interval = query.get("interval", "")
    if interval not in INTERVALS and interval != MONTH:
        return _error(-1120, "Invalid interval.")
    limit = integer(query, "limit") or 500
    start, end = integer(query, "startTime"), integer(query, "endTime")
    limit = min(limit, most)
    rows = exchange.bars(item.code, interval, start, end, limit)
    length = INTERVALS.get(interval, 43_200) * 60_000

    def before() -> list[Bar]:
        until = rows[0].start if rows else start or exchange.now
        return exchange.bars(item.code, interval, None, until - 1, max(len(rows), 1), count_call=False)

    rows = troubled(asked.trouble, rows, before)
    # Written by hand: a thousand rows of eight decimals, as Binance prints them, in two milliseconds.
    price, size = _eight(item.price_digits), _eight(item.volume_digits)
    lines = [
        f'[{r.start},"{price(r.open)}","{price(r.high)}","{price(r.low)}","{price(r.close)}","{size(r.volume)}",'
        f'{r.start + length - 1},"{r.quote_volume}",{r.trades},"0.00000000","0.00000000","0"]'
        for r in rows
    ]
    return Answer(200, f"[{','.join(lines)}]")


def _zeros(digits: int) -> str:
    return "0" * (8 - digits) if digits else ".00000000"


def _eight(digits: int) -> Callable[[str], str]:
    """Fills text on a grid of so many decimals up to eight; whatever else was planted stays as it is."""
    zeros = _zeros(digits)

    def filled(text: str) -> str:
        on_grid = text[-digits - 1 : -digits] == "." if digits else text.isdigit()
        return text + zeros if on_grid else text

    return filled


def _trades(exchange: Exchange, item: Instrument, query: Mapping[str, str], *, aggregated: bool) -> Answer:
    limit = min(integer(query, "limit") or 500, _MOST_BARS)
    start, end, first = (integer(query, name) for name in ("startTime", "endTime", "fromId"))
    if first is not None and aggregated:
        start = first // 10_000 * 60_000
        made = [
            trade for trade in exchange.trades(item.code, start, start + _HOUR_MS, limit + 10_000) if trade[0] >= first
        ]
        made = made[:limit]
    elif start is not None and aggregated:
        made = exchange.trades(item.code, start, start + _HOUR_MS if end is None else end, limit)
    else:
        until = exchange.now if end is None else end
        made = exchange.trades(item.code, until - _HOUR_MS, until, limit, newest=True)
    rows = []
    for number, moment, price, size, maker in made:
        p = decimal_text(price, item.price_digits) + _zeros(item.price_digits)
        q = decimal_text(size, item.volume_digits) + _zeros(item.volume_digits)
        if aggregated:
            rows.append({"a": number, "p": p, "q": q, "f": number, "l": number, "T": moment, "m": maker, "M": True})
        else:
            rows.append(
                {"id": number, "price": p, "qty": q, "time": moment, "isBuyerMaker": maker, "isBestMatch": True}
            )
    return Answer(200, json.dumps(rows, separators=(",", ":")))
