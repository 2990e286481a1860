"""Binance's REST dialect, spot (`api.binance.com`) and USD-margined perpetuals (`fapi.binance.com`).

This module has paths, parameters, JSON layouts and error codes. `server` has HTTP, `exchange` the market.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from gb_pipeline.simulation.books import book_at, step_of, update_number
from gb_pipeline.simulation.exchange import INTERVALS, MONTH, Bar, Exchange, format_units
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.response import Request, Response, apply_trouble, integer
from gb_pipeline.simulation.tickers import DAY_MS, Ticker, get_tickers

HOSTS = ("api.binance.com", "fapi.binance.com", "dapi.binance.com", "api.binance.us")
_MOST_BARS = 1000
_HOUR_MS = 3_600_000


def answer(exchange: Exchange, request: Request) -> Response:  # noqa: PLR0911 - one return per endpoint
    """The answer to one GET request; error bodies are Binance's own."""
    endpoint, query = request.path.rsplit("/", 1)[-1], request.query
    perpetual = request.host.startswith("fapi")
    listed = {} if request.host.startswith("dapi") else _listed(exchange, perpetual)
    if endpoint == "ping":
        return Response.json({})
    if endpoint == "time":
        return Response.json({"serverTime": exchange.now})
    if endpoint == "exchangeInfo":
        return Response.json(
            {
                "timezone": "UTC",
                "serverTime": exchange.now,
                "rateLimits": [],
                "symbols": [_symbol_info(exchange, name, instrument) for name, instrument in listed.items()],
            }
        )
    if request.path.endswith("/ticker/24hr") and "symbol" not in query:
        return Response.json(
            [
                _ticker_statistics(exchange, name, summary, perpetual)
                for name, summary in get_tickers(exchange, listed).items()
            ]
        )
    if endpoint not in {"klines", "aggTrades", "trades", "historicalTrades", "depth"}:
        return Response(404, "<html><title>404 Not Found</title></html>", "text/html")
    instrument = listed.get(query.get("symbol", ""))
    if instrument is None:
        return _error(-1121, "Invalid symbol.")
    try:
        if endpoint == "klines":
            return _klines(exchange, instrument, request, 1500 if perpetual else _MOST_BARS)
        if endpoint == "depth":
            return _depth(exchange, instrument, integer(query, "limit") or 100, perpetual=perpetual)
        return _trades(exchange, instrument, query, aggregated=endpoint == "aggTrades")
    except ValueError:
        return _error(-1100, "Illegal characters found in a parameter.")


def _listed(exchange: Exchange, perpetual: bool) -> dict[str, Instrument]:
    # Binance quotes in stable coins, not in dollars.
    return {
        item.base + item.quote: item
        for item in exchange.listed()
        if item.perpetual == perpetual and item.quote != "USD"
    }


def _error(code: int, message: str) -> Response:
    return Response.json({"code": code, "msg": message}, 400)


def _ticker_statistics(exchange: Exchange, name: str, summary: Ticker, perpetual: bool) -> dict[str, object]:
    # Only pairs come with their book: clients tell pairs and perpetuals of one name apart by that.
    book = {"bidPrice": summary.last, "bidQty": "1.00000000", "askPrice": summary.last, "askQty": "1.00000000"}
    return ({} if perpetual else book) | {
        "symbol": name,
        "lastPrice": summary.last,
        "openPrice": summary.open,
        "highPrice": summary.high,
        "lowPrice": summary.low,
        "volume": summary.volume,
        "quoteVolume": summary.turnover,
        "openTime": exchange.now - DAY_MS,
        "closeTime": exchange.now,
        "firstId": 1,
        "lastId": summary.trades,
        "count": summary.trades,
    }


def _symbol_info(exchange: Exchange, name: str, item: Instrument) -> dict[str, object]:
    tick, step = format_units(1, item.price_digits), format_units(1, item.volume_digits)
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


def _klines(exchange: Exchange, item: Instrument, request: Request, max_bars: int) -> Response:
    query = request.query
    interval = query.get("interval", "")
    if interval not in INTERVALS and interval != MONTH:
        return _error(-1120, "Invalid interval.")
    limit = integer(query, "limit") or 500
    start, end = integer(query, "startTime"), integer(query, "endTime")
    limit = min(limit, max_bars)
    rows = exchange.bars(item.code, interval, start, end, limit)
    length = INTERVALS.get(interval, 43_200) * 60_000

    def previous_page() -> list[Bar]:
        until = rows[0].start if rows else start or exchange.now
        return exchange.bars(item.code, interval, None, until - 1, max(len(rows), 1), count_call=False)

    rows = apply_trouble(request.trouble, rows, previous_page)
    # Written by hand: a thousand rows of eight decimals, as Binance prints them, in two milliseconds.
    price, size = _pad_to_eight(item.price_digits), _pad_to_eight(item.volume_digits)
    lines = [
        f'[{r.start},"{price(r.open)}","{price(r.high)}","{price(r.low)}","{price(r.close)}","{size(r.volume)}",'
        f'{r.start + length - 1},"{r.quote_volume}",{r.trades},"0.00000000","0.00000000","0"]'
        for r in rows
    ]
    return Response(200, f"[{','.join(lines)}]")


def _missing_zeros(digits: int) -> str:
    return "0" * (8 - digits) if digits else ".00000000"


def _pad_to_eight(digits: int) -> Callable[[str], str]:
    """Fills text on a grid of so many decimals up to eight; whatever else was planted stays as it is."""
    zeros = _missing_zeros(digits)

    def pad(text: str) -> str:
        on_grid = text[-digits - 1 : -digits] == "." if digits else text.isdigit()
        return text + zeros if on_grid else text

    return pad


def _depth(exchange: Exchange, item: Instrument, limit: int, *, perpetual: bool) -> Response:
    """A whole book with the number of its last change; the stream's changes go on from it."""
    moment = step_of(exchange.now)
    book = book_at(exchange, item, moment)
    bids, asks = ([], []) if book is None else book.cut(limit).texts(item)
    times = {"E": exchange.now, "T": moment} if perpetual else {}
    sides = {"bids": to_depth(bids, item, perpetual=perpetual), "asks": to_depth(asks, item, perpetual=perpetual)}
    return Response.json({"lastUpdateId": update_number(moment), **times, **sides})


def to_depth(levels: Sequence[tuple[str, str]], item: Instrument, *, perpetual: bool) -> list[list[str]]:
    """Levels as Binance writes them: with eight decimals on spot, with those of the grid for perpetuals."""
    if perpetual:
        return [list(level) for level in levels]
    price, size = _pad_to_eight(item.price_digits), _pad_to_eight(item.volume_digits)
    return [[price(text), size(amount)] for text, amount in levels]


def _trades(exchange: Exchange, item: Instrument, query: Mapping[str, str], *, aggregated: bool) -> Response:
    limit = min(integer(query, "limit") or 500, _MOST_BARS)
    start, end, first_id = (integer(query, name) for name in ("startTime", "endTime", "fromId"))
    if first_id is not None:
        trades = exchange.trades_from(item.code, first_id, limit)
    elif start is not None and aggregated:
        trades = exchange.trades(item.code, start, start + _HOUR_MS if end is None else end, limit)
    else:
        until = exchange.now if end is None else end
        trades = exchange.trades(item.code, until - _HOUR_MS, until, limit, newest=True)
    rows = []
    for number, moment, price, size, maker in trades:
        p = format_units(price, item.price_digits) + _missing_zeros(item.price_digits)
        q = format_units(size, item.volume_digits) + _missing_zeros(item.volume_digits)
        if aggregated:
            rows.append({"a": number, "p": p, "q": q, "f": number, "l": number, "T": moment, "m": maker, "M": True})
        else:
            rows.append(
                {"id": number, "price": p, "qty": q, "time": moment, "isBuyerMaker": maker, "isBestMatch": True}
            )
    return Response(200, json.dumps(rows, separators=(",", ":")))
