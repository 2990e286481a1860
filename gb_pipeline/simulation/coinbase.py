"""Coinbase's REST dialect (Advanced Trade, `api.coinbase.com`): products, candles and trades without a key.

This module has paths, parameters, JSON layouts and error bodies. `server` has HTTP, `exchange` the market.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gb_pipeline.simulation.exchange import Bar, Exchange, format_units
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.response import Request, Response, apply_trouble, integer
from gb_pipeline.simulation.tickers import Ticker, get_ticker

HOSTS = ("api.coinbase.com",)
_PRODUCTS = "/api/v3/brokerage/market/products"
_GRANULARITIES = {
    "ONE_MINUTE": "1m", "FIVE_MINUTE": "5m", "FIFTEEN_MINUTE": "15m", "THIRTY_MINUTE": "30m", "ONE_HOUR": "1h",
    "TWO_HOUR": "2h", "FOUR_HOUR": "4h", "SIX_HOUR": "6h", "ONE_DAY": "1d",
}  # fmt: skip
# More buckets than this between start and end are refused, as by the real one.
_MOST_BUCKETS = 350
_MOST_TRADES = 1000


def answer(exchange: Exchange, request: Request) -> Response:  # noqa: PLR0911 - one return per endpoint
    """The answer to one GET request; error bodies are Coinbase's own."""
    path, query = request.path, request.query
    if path == "/api/v3/brokerage/time":
        moment = datetime.fromtimestamp(exchange.now / 1000, UTC)
        return Response.json(
            {
                "iso": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
                "epochSeconds": str(exchange.now // 1000),
                "epochMillis": str(exchange.now),
            }
        )
    if path == _PRODUCTS:
        futures = query.get("product_type") == "FUTURE"
        listed = [] if futures else [item for item in exchange.listed() if not item.perpetual]
        products = [_product(exchange, item, get_ticker(exchange, item)) for item in listed]
        return Response.json({"products": products, "num_products": len(products)})
    if not path.startswith(_PRODUCTS + "/"):
        return Response.json({"error": "NOT_FOUND", "error_details": "no such path", "message": "no such path"}, 404)
    code, _, endpoint = path.removeprefix(_PRODUCTS + "/").partition("/")
    item = exchange.instruments.get(code)
    if item is None or item.perpetual:
        return _invalid(f"ProductID {code} is invalid", 404)
    try:
        if endpoint == "candles":
            return _candles(exchange, item, request)
        if endpoint == "ticker":
            return _recent_trades(exchange, item, query)
    except ValueError:
        return _invalid("start and end must be UNIX seconds")
    return Response.json(_product(exchange, item, get_ticker(exchange, item)))


def _invalid(message: str, status: int = 400) -> Response:
    return Response.json({"error": "INVALID_ARGUMENT", "error_details": message, "message": message}, status)


def _product(exchange: Exchange, item: Instrument, day: Ticker | None) -> dict[str, object]:
    tick = format_units(1, item.price_digits)
    delisted = exchange.delisted(item.code)
    return {
        "product_id": item.code,
        "price": day.last if day else "",
        "volume_24h": day.volume if day else "",
        "approximate_quote_24h_volume": day.turnover if day else "",
        "base_increment": format_units(1, item.volume_digits),
        "quote_increment": tick,
        "price_increment": tick,
        "base_min_size": format_units(1, item.volume_digits),
        "base_max_size": "3400",
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_name": item.base,
        "quote_name": item.quote,
        "base_currency_id": item.base,
        "quote_currency_id": item.quote,
        "base_display_symbol": item.base,
        "quote_display_symbol": item.quote,
        "product_type": "SPOT",
        "status": "delisted" if delisted else "online",
        "is_disabled": False,
        "trading_disabled": delisted,
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
        "auction_mode": False,
        "view_only": False,
        "alias": "",
        "alias_to": [],
    }


def _candles(exchange: Exchange, item: Instrument, request: Request) -> Response:
    query = request.query
    interval = _GRANULARITIES.get(query.get("granularity", ""))
    if interval is None:
        return _invalid("granularity is invalid")
    start, end = integer(query, "start"), integer(query, "end")
    if start is None or end is None:
        return _invalid("start and end are required")
    seconds = {
        "1m": 60,
        "5m": 300,
        "15m": 900,
        "30m": 1800,
        "1h": 3600,
        "2h": 7200,
        "4h": 14400,
        "6h": 21600,
        "1d": 86400,
    }
    if (end - start) / seconds[interval] > _MOST_BUCKETS:
        return _invalid(f"number of candles requested should be less than {_MOST_BUCKETS}")
    first = start * 1000
    rows = exchange.bars(item.code, interval, first, end * 1000, _MOST_BUCKETS)

    def previous_page() -> list[Bar]:
        return exchange.bars(item.code, interval, None, first - 1, max(len(rows), 1), count_call=False)

    rows = apply_trouble(request.trouble, rows, previous_page)
    # Newest first, low before high, and all of it quoted.
    lines = [
        f'{{"start":"{_seconds(r.start)}","low":"{r.low}","high":"{r.high}","open":"{r.open}","close":"{r.close}",'
        f'"volume":"{r.volume}"}}'
        for r in reversed(rows)
    ]
    return Response(200, f'{{"candles":[{",".join(lines)}]}}')


def _seconds(milliseconds: int) -> str:
    return str(milliseconds // 1000)


def _recent_trades(exchange: Exchange, item: Instrument, query: Mapping[str, str]) -> Response:
    limit = min(integer(query, "limit") or 100, _MOST_TRADES)
    start, end = integer(query, "start"), integer(query, "end")
    until = exchange.now if end is None else end * 1000
    since = until - 3_600_000 if start is None else start * 1000
    trades = exchange.trades(item.code, since, until, limit, newest=True)
    rows = [
        {
            "trade_id": str(number),
            "product_id": item.code,
            "price": format_units(price, item.price_digits),
            "size": format_units(size, item.volume_digits),
            "time": f"{datetime.fromtimestamp(moment // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{moment % 1000:03}000Z",
            # Of the maker.
            "side": "BUY" if maker else "SELL",
            "bid": "",
            "ask": "",
        }
        for number, moment, price, size, maker in reversed(trades)
    ]
    return Response.json({"trades": rows, "best_bid": "", "best_ask": ""})
