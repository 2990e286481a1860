"""This module asks Binance for trades of the past by REST, page by page, to close holes.

Trades, and aggregates of them, are numbered without holes, so that what a window has is known to be whole.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import PermanentVendorError, RateLimited, TransientVendorError, UnknownSymbol
from gb_pipeline.market.tick_schema import Side
from gb_pipeline.providers.http.client import HttpClient

# A page of historical trades weighs 25 of 6,000 a minute.
PACE = RateLimit(calls=3, seconds=1)
_PAGE = 1000
_MILLISECOND = 1_000_000
# Aggregates are told for an hour at once.
_SPAN = 3_600_000
_UNKNOWN, _TOO_MANY = -1121, -1003
_SCHEMA = {
    "exchange_time": pl.Int64,
    "side": pl.String,
    "price": pl.String,
    "size": pl.String,
    "trade_id": pl.String,
}
# Of each kind: number, milliseconds, price, size, whether the buyer was there before.
_FIELDS = {"aggTrade": ("a", "T", "p", "q", "m"), "trade": ("id", "time", "price", "qty", "isBuyerMaker")}


async def fetch_trades(
    client: HttpClient, base: str, symbol: str, kind: str, start_time: int, end_time: int
) -> pl.DataFrame:
    """Trades of `[start_time, end_time)`, ns since 1970 UTC, in the order of their numbers.

    Args:
        client: to the venue.
        base: address of the interface up to its version, such as https://api.binance.com/api/v3.
        symbol: such as BTCUSDT.
        kind: `trade`, or `aggTrade` for what one order took at one price.
        start_time, end_time: the window.

    Raises:
        UnknownSymbol: it has no such symbol.
        VendorError: it refuses, cannot be reached, or leaves trades out.
    """
    start, end = -(-start_time // _MILLISECOND), -(-end_time // _MILLISECOND)
    at, first = start, None
    while at < end and first is None:
        until = min(at + _SPAN, end)
        window = {"startTime": str(at), "endTime": str(until - 1), "limit": "1"}
        rows = await _ask(client, f"{base}/aggTrades", symbol, window)
        if rows:
            first = rows[0]["a"] if kind == "aggTrade" else rows[0]["f"]
        at = until
    number, moment, price, size, buyer_is_maker = _FIELDS[kind]
    trades: list[tuple[int, Side, str, str, str]] = []
    path = f"{base}/{'aggTrades' if kind == 'aggTrade' else 'historicalTrades'}"
    while first is not None:
        rows = await _ask(client, path, symbol, {"fromId": str(first), "limit": str(_PAGE)})
        following = first
        for row in rows:
            if row[number] != following:
                raise TransientVendorError(
                    f"binance left out trades of {symbol} from {following} on", fix="the same call may succeed later"
                )
            following += 1
            if start <= row[moment] < end:
                side = Side.SELL if row[buyer_is_maker] else Side.BUY
                trades.append((row[moment] * _MILLISECOND, side, row[price], row[size], str(row[number])))
        # Times of numbers may go back by a few milliseconds, so that a whole page beyond the end is the last one.
        first = following if len(rows) == _PAGE and rows[0][moment] < end else None
    return pl.DataFrame(trades, schema=_SCHEMA, orient="row")


async def _ask(client: HttpClient, url: str, symbol: str, params: dict[str, str]) -> list[dict[str, Any]]:
    return await client.transport.call(partial(_page, client, url, symbol, params))


async def _page(client: HttpClient, url: str, symbol: str, params: dict[str, str]) -> list[dict[str, Any]]:
    body, reply = await client.get_json(url, {"symbol": symbol, **params}, accept={400})
    if reply.status == 400:
        code, text = (body.get("code"), str(body.get("msg"))[:100]) if isinstance(body, dict) else (None, "HTTP 400")
        if code == _UNKNOWN:
            raise UnknownSymbol(f"binance does not list {symbol}", fix="compare the symbol with its list of symbols")
        if code == _TOO_MANY:
            raise RateLimited(f"binance answered {text}", fix="it is asked again later")
        raise PermanentVendorError(f"binance answered {text}", fix="it refuses this request; do not retry")
    if not isinstance(body, list):
        raise TransientVendorError(
            f"binance answered with something else than trades of {symbol}", fix="the same call may succeed later"
        )
    return body
