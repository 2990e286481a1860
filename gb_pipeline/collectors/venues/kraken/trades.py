"""This module asks Kraken for trades of the past by REST, page by page, to close holes."""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import PermanentVendorError, RateLimited, TransientVendorError, UnknownSymbol, VendorError
from gb_pipeline.market.recorded_messages import to_nanoseconds
from gb_pipeline.market.tick_schema import Side
from gb_pipeline.providers.http.client import HttpClient

# Public requests: about one a second, https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits
PACE = RateLimit(calls=1, seconds=1)
_PAGE = 1000
_SIDES = {"b": Side.BUY, "s": Side.SELL}
SCHEMA = {
    "exchange_time": pl.Int64,
    "side": pl.String,
    "price": pl.String,
    "size": pl.String,
    "trade_id": pl.String,
}


async def fetch_trades(client: HttpClient, url: str, pair: str, start_time: int, end_time: int) -> pl.DataFrame:
    """Trades of `[start_time, end_time)`, ns since 1970 UTC, in Kraken's order; columns of `SCHEMA`.

    Raises:
        VendorError: Kraken refuses, or answers what is no page of trades.
    """
    trades: dict[int, tuple[int, str | None, str, str, str]] = {}
    since = start_time - 1
    while since < end_time:
        rows, last = await client.transport.call(partial(_page, client, url, pair, since))
        before = len(trades)
        for row in rows:
            moment = to_nanoseconds(str(row[2]))
            if start_time <= moment < end_time:
                trades[int(row[6])] = (moment, _SIDES.get(row[3]), str(row[0]), str(row[1]), str(row[6]))
        if not rows or last <= since:
            if len(rows) >= _PAGE and len(trades) > before:
                raise TransientVendorError(
                    f"kraken has more than {_PAGE} trades of {pair} at one moment and does not page on",
                    fix="the same call may succeed later",
                )
            break
        since = last
    return pl.DataFrame([trades[number] for number in sorted(trades)], schema=SCHEMA, orient="row")


async def _page(client: HttpClient, url: str, pair: str, since: int) -> tuple[list[Any], int]:
    body, _ = await client.get_json(url, {"pair": pair, "since": str(max(since, 0)), "count": str(_PAGE)})
    if errors := body.get("error"):
        raise _error(pair, str(errors[0]))
    try:
        result = dict(body["result"])
        last = int(result.pop("last"))
        ((_, rows),) = result.items()
        if any(len(row) < 7 for row in rows):
            raise ValueError
    except (KeyError, ValueError, TypeError):
        raise TransientVendorError(
            f"kraken answered with something else than trades of {pair}", fix="the same call may succeed later"
        ) from None
    return rows, last


def _error(pair: str, text: str) -> VendorError:
    if "Unknown asset pair" in text:
        return UnknownSymbol(f"kraken does not list {pair}", fix="compare the symbol with its list of pairs")
    if "Rate limit" in text or "Too many requests" in text:
        return RateLimited(f"kraken answered {text}", fix="it is asked again later")
    if text.startswith("EService"):
        return TransientVendorError(f"kraken answered {text}", fix="the same call may succeed later")
    return PermanentVendorError(f"kraken answered {text}", fix="it refuses this request; do not retry")
