"""This module reads an exchange's answers, with or without the exchange: the body of one page becomes its rows.

Requests are sent by `client`, pages are cut by `pages`, and `candles` knows what a candle looks like.

Where an exchange's layout is known, its body alone says everything. All others are read by ccxt itself, and some of them
need to know the market: an inverse contract counts its volume in another field. So what ccxt knew of the market is handed
on as the first body of such a fetch, and a client that cannot send anything reads the others.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.providers.candles import Layout
from gb_pipeline.providers.ccxt import client as ccxt_client


class Reader:
    """Reads the pages of one market.

    Args:
        exchange: a name of ccxt's list.
        layout: where the exchange keeps rows and fields, if that is known.
        market: what `description` gave; unused where the layout is known.
        timeframe: ccxt's name of the resolution.

    Raises:
        PermanentVendorError: the description is none.
    """

    def __init__(self, exchange: str, layout: Layout | None, market: bytes, timeframe: str) -> None:
        """Nothing is read yet."""
        self._who, self.layout, self._timeframe = exchange, layout, timeframe
        self._client: Any = None
        if layout is None:
            self._symbol, self._client = _silent_client(exchange, market)

    def rows(self, body: str, answer: Any, start: int, limit: int, params: dict[str, Any]) -> list[Any]:
        """The candles of one body, as the layout has them or in ccxt's unified form; none where it holds no list.

        Args:
            body: of one page.
            answer: the same, parsed by `read_json`.
            start: milliseconds, of the page; like the rest it is what the exchange was asked.
            limit: most candles of the page.
            params: ccxt's extra parameters.

        Raises:
            VendorError: ccxt cannot read it.
        """
        if self.layout is not None:
            return _candle_rows(answer, self.layout)
        # From the text again: ccxt may have changed what it was given.
        self._client.answer = body
        with ccxt_client.typed_errors(self._who):
            rows: list[Any] = _at_once(self._client.fetch_ohlcv(self._symbol, self._timeframe, start, limit, params))
        return rows


def description(client: Any, symbol: str) -> bytes:
    """What a client knows of a market, for a `Reader` of another day: JSON without the vendor's own object.

    Args:
        client: with its markets loaded.
        symbol: ccxt's unified symbol.
    """
    market = {key: value for key, value in client.markets[symbol].items() if key != "info"}
    return json.dumps({"ccxt_market": market}, sort_keys=True, default=str).encode()


def _candle_rows(answer: Any, layout: Layout) -> list[Any]:
    for name in layout.rows:
        if not isinstance(answer, dict):
            return []
        # Kraken names the list after the pair, in a spelling of its own.
        lists = [value for value in answer.values() if isinstance(value, list)]
        answer = answer.get(name) if name != "*" else lists[0] if len(lists) == 1 else None
    return answer if isinstance(answer, list) else []


def _silent_client(exchange: str, market: bytes) -> tuple[str, Any]:
    try:
        known = json.loads(market)["ccxt_market"]
        symbol, identifier = str(known["symbol"]), str(known["id"])
    except (ValueError, LookupError, TypeError):
        raise PermanentVendorError(
            f"the first body kept of {exchange} does not describe a market", fix="fetch the window again"
        ) from None
    client = ccxt_client.silent_client(exchange)
    # As much as ccxt wants to know, and no more than was known then.
    client.markets, client.markets_by_id = {symbol: known | {"info": {}}}, {identifier: [known | {"info": {}}]}
    client.symbols, client.ids = [symbol], [identifier]
    return symbol, client


def _at_once(reading: Coroutine[Any, Any, Any]) -> Any:
    try:
        reading.send(None)
    except StopIteration as done:
        return done.value
    reading.close()
    raise PermanentVendorError("ccxt waits for more than the answer that is there", fix="use another version of ccxt")
