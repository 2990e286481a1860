"""This module requests from Alpaca: pages of market data, and assets of the trading interface.

What an answer says is read by `responses`; which requests make up a window is decided by `provider`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from gb_pipeline.errors import NotEntitled, PermanentVendorError, UnknownSymbol
from gb_pipeline.providers.alpaca import responses
from gb_pipeline.providers.base import Body
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.cursors import Cursors
from gb_pipeline.providers.http.transport import Tally
from gb_pipeline.providers.records import Row

DATA = "https://data.alpaca.markets"
# Keys of paper accounts are only known to the paper's side of the trading interface; the data's side knows both.
_PAPER_KEY = "PK"
_PAPER, _LIVE = "https://paper-api.alpaca.markets", "https://api.alpaca.markets"
# What the vendor says to a free plan that asks for the newest quarter of an hour of the consolidated tape.
_RECENT = "recent SIP data"
log = logging.getLogger(__name__)


class AlpacaClient:
    """The way to the vendor with one key.

    Args:
        http: sends requests with the key and its secret.
        key: the key's id, which says whether it is a paper account's.
    """

    def __init__(self, http: HttpClient, key: str) -> None:
        """Nothing is sent yet."""
        self._http = http
        self._trading = _PAPER if key.startswith(_PAPER_KEY) else _LIVE

    async def pages(
        self, path: str, query: Mapping[str, str], tally: Tally, *, most: int, read: Callable[[Any], list[Row]]
    ) -> list[Row]:
        """The rows of a list, page after page.

        Args:
            path: of the list.
            query: its parameters.
            tally: accepts every body.
            most: rows that the list can have.
            read: rows of one page; what it raises makes the page be asked for again, if that may help.

        Raises:
            VendorError: one of its kinds; TransientVendorError also where the pages do not end.
        """
        cursors = Cursors(responses.WHO, most)
        rows: list[Row] = []
        next_token: str | None = None
        while True:
            params = dict(query) if next_token is None else {**query, "page_token": next_token}
            page, next_token, body = await self._page(path, params, read)
            tally.accept(body)
            rows += page
            if next_token is None:
                return rows
            cursors.follow(next_token)

    async def assets(self, asset_class: str, status: str) -> Any:
        """The list of assets, `active` or `inactive`, parsed.

        Raises:
            VendorError: one of its kinds.
        """

        async def once() -> Any:
            query = {"status": status, "asset_class": asset_class}
            payload, _ = await self._http.get_json(f"{self._trading}/v2/assets", query)
            return payload

        return await self._http.transport.call(once)

    async def lists(self, symbol: str) -> bool:
        """Whether the vendor lists an asset, active or not; true where the key may not ask.

        Raises:
            VendorError: any other than NotEntitled.
        """

        async def once() -> bool:
            url = f"{self._trading}/v2/assets/{quote(symbol, safe='')}"
            payload, reply = await self._http.get_json(url, accept={404})
            return reply.status != 404 and isinstance(payload, dict)

        try:
            return await self._http.transport.call(once)
        except NotEntitled as refusal:
            log.warning("whether %s lists %s is not known: %s", responses.WHO, symbol, refusal.what)
            return True

    async def _page(
        self, path: str, query: Mapping[str, str], read: Callable[[Any], list[Row]]
    ) -> tuple[list[Row], str | None, Body]:
        async def once() -> tuple[list[Row], str | None, Body]:
            payload, reply = await self._http.get_json(DATA + path, query)
            # The doubts are part of what is repeated: a wrong answer may be right the next time.
            next_token = responses.token(payload)
            # Last: what was read counts as having been there.
            return read(payload), next_token, reply.body

        try:
            return await self._http.transport.call(once)
        except NotEntitled as refusal:
            if _RECENT in refusal.what:
                refusal.fix = "ask 15 minutes later, set `feed: iex`, or subscribe to real-time data of all exchanges"
            raise
        except PermanentVendorError as error:
            if "invalid symbol" in error.what:
                raise UnknownSymbol(error.what, fix="check the spelling: BRK.B, BAC.PRK, BTC-USD") from None
            raise
