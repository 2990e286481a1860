"""This module asks Coinbase for its products and for trades of the past by REST, and holds what is common to its two feeds.

Trades of a product are numbered without holes, so that what a window has is known to be whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import polars as pl

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import TransientVendorError, UnknownSymbol
from gb_pipeline.market.tick_schema import Side
from gb_pipeline.providers.http.client import HttpClient

# Public requests: 10 a second for each address, https://docs.cdp.coinbase.com/advanced-trade/docs/rest-api-rate-limits
PACE = RateLimit(calls=9, seconds=1)
# Both feeds, and REST, tell the side of the maker, who was there before: if he sold, the taker bought.
# https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproducttrades
TAKER = {"BUY": Side.SELL, "SELL": Side.BUY, "buy": Side.SELL, "sell": Side.BUY}
_PRODUCTS = "https://api.coinbase.com/api/v3/brokerage/market/products"
_MOST = 1000
_SECOND = 1_000_000_000
_SCHEMA = {
    "exchange_time": pl.Int64,
    "side": pl.String,
    "price": pl.String,
    "size": pl.String,
    "trade_id": pl.String,
}


async def fetch_products(client: HttpClient) -> frozenset[str]:
    """Names of all products that Coinbase lists and has not delisted, such as BTC-USD.

    Raises:
        VendorError: it refuses, cannot be reached, or its list is not whole.
    """
    body, _ = await client.get_json(_PRODUCTS)
    rows = body.get("products") if isinstance(body, dict) else None
    if (
        not isinstance(rows, list)
        or not rows
        or any(not isinstance(row, dict) or "product_id" not in row for row in rows)
        or len(rows) < int(body.get("num_products") or 0)
    ):
        raise TransientVendorError(
            "coinbase answered with something else than its products", fix="the same call may succeed later"
        )
    return frozenset(str(row["product_id"]) for row in rows if row.get("status") != "delisted")


async def fetch_trades(client: HttpClient, product: str, start_time: int, end_time: int) -> pl.DataFrame:
    """Trades of `[start_time, end_time)`, ns since 1970 UTC, in the order of their numbers.

    Coinbase answers the newest thousand of whole seconds, so a window with more is asked for in halves.

    Raises:
        UnknownSymbol: it has no such product.
        VendorError: it refuses, cannot be reached, or leaves trades out.
    """
    trades: dict[int, tuple[int, Side | None, str, str, str]] = {}
    first, last = start_time // _SECOND, max(-(-end_time // _SECOND), start_time // _SECOND + 1)
    spans = [(first, last)]
    while spans:
        start, end = spans.pop()
        rows = await client.transport.call(partial(_page, client, product, start, end))
        if len(rows) >= _MOST:
            if end - start <= 1:
                raise TransientVendorError(
                    f"coinbase has more than {_MOST:,} trades of {product} in one second and shows no more of them",
                    fix="the hole stays; nothing can be done about it",
                )
            middle = (start + end) // 2
            spans += [(middle, end), (start, middle)]
            continue
        for row in rows:
            number = int(row["trade_id"])
            moment = to_nanoseconds_of_iso(str(row["time"]))
            trades[number] = (moment, TAKER.get(row["side"]), str(row["price"]), str(row["size"]), str(number))
    numbers = sorted(trades)
    if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        raise TransientVendorError(
            f"coinbase left out {missing:,} trades of {product} between {numbers[0]} and {numbers[-1]}",
            fix="the same call may succeed later",
        )
    wanted = [trades[number] for number in numbers if start_time <= trades[number][0] < end_time]
    return pl.DataFrame(wanted, schema=_SCHEMA, orient="row")


async def _page(client: HttpClient, product: str, start: int, end: int) -> list[dict[str, Any]]:
    params = {"limit": str(_MOST), "start": str(start), "end": str(end)}
    body, reply = await client.get_json(f"{_PRODUCTS}/{product}/ticker", params, accept={404})
    if reply.status == 404:
        raise UnknownSymbol(f"coinbase does not list {product}", fix="compare the symbol with its list of products")
    rows = body.get("trades") if isinstance(body, dict) else None
    if not isinstance(rows, list) or any(
        not {"trade_id", "time", "side", "price", "size"} <= row.keys() for row in rows
    ):
        raise TransientVendorError(
            f"coinbase answered with something else than trades of {product}", fix="the same call may succeed later"
        )
    return rows


def to_nanoseconds_of_iso(text: str) -> int:
    """ISO time in UTC with up to nine decimals as ns since 1970.

    Raises:
        ValueError: it is none.

    Example:
        >>> to_nanoseconds_of_iso("2023-02-09T20:32:50.714964855Z")
        1675974770714964855
    """
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    return int(whole.timestamp()) * _SECOND + int((fraction or "0").ljust(9, "0")[:9])
