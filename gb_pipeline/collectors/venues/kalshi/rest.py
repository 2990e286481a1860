"""This module asks Kalshi by REST: which contracts of a series are open, and which trades there were; page by page, unsigned.

https://docs.kalshi.com/api-reference/market/get-markets. Nothing is kept; `venue` decides when to ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import polars as pl

from gb_pipeline.collectors.venue_options import rest_url
from gb_pipeline.collectors.venues.kalshi.numbers import contracts, dollars, iso_nanoseconds
from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import TransientVendorError
from gb_pipeline.market.tick_schema import Side
from gb_pipeline.providers.http.client import HttpClient

# The slowest of Kalshi's tiers reads twenty times a second.
PACE = RateLimit(calls=10, seconds=1)
_PAGE = 1000
_MOST_PAGES = 1000
_SECOND = 1_000_000_000
_SIDES = {"yes": Side.BUY, "no": Side.SELL}
SCHEMA = {
    "exchange_time": pl.Int64, "side": pl.String, "price": pl.String, "size": pl.String, "trade_id": pl.String,
}  # fmt: skip


async def open_contracts(client: HttpClient, address: str, prefixes: Sequence[str]) -> list[str]:
    """Tickers of the open contracts of all series whose names begin with one of the prefixes, sorted.

    Raises:
        VendorError: Kalshi refuses, cannot be reached, or answers something else.
    """
    names: set[str] = set()
    async for row in _rows(client, address, "series", "series", {}):
        name = str(row.get("ticker", ""))
        if name.startswith(tuple(prefixes)):
            names.add(name)
    tickers: set[str] = set()
    for name in sorted(names):
        async for row in _rows(client, address, "markets", "markets", {"series_ticker": name, "status": "open"}):
            tickers.add(str(row["ticker"]))
    return sorted(tickers)


async def fetch_trades(client: HttpClient, address: str, ticker: str, start_time: int, end_time: int) -> pl.DataFrame:
    """Trades of `[start_time, end_time)`, ns since 1970 UTC, oldest first; columns of `SCHEMA`.

    Raises:
        VendorError: Kalshi refuses, cannot be reached, or answers something else.
    """
    window = {"ticker": ticker, "min_ts": str(start_time // _SECOND), "max_ts": str(-(-end_time // _SECOND))}
    trades: dict[str, tuple[int, str | None, str, str, str]] = {}
    async for row in _rows(client, address, "markets/trades", "trades", window):
        moment = iso_nanoseconds(row["created_time"])
        if start_time <= moment < end_time and row["ticker"] == ticker:
            identity = str(row["trade_id"])
            side = _SIDES.get(row.get("taker_side", ""))
            trades[identity] = (moment, side, dollars(row, "yes_price", "price"), contracts(row, "count"), identity)
    # They come newest first, also those of one moment.
    found = [*reversed(trades.values())]
    found.sort(key=lambda trade: trade[0])
    return pl.DataFrame(found, schema=SCHEMA, orient="row")


async def _rows(
    client: HttpClient, address: str, path: str, name: str, params: dict[str, str]
) -> AsyncIterator[dict[str, Any]]:
    cursor = ""
    for _ in range(_MOST_PAGES):
        query = {**params, "limit": str(_PAGE)} | ({"cursor": cursor} if cursor else {})
        try:
            ask = partial(client.get_json, rest_url(f"{address}/{path}", None), query)
            body, _reply = await client.transport.call(ask)
            for row in body[name] or ():
                yield row
            following = str(body.get("cursor") or "")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise TransientVendorError(
                f"kalshi answered with something else than {name}: {type(error).__name__} {error}",
                fix="the same call may succeed later",
            ) from None
        if not following:
            return
        if following == cursor:
            break
        cursor = following
    raise TransientVendorError(f"kalshi's pages of {name} do not end", fix="the same call may succeed later")
