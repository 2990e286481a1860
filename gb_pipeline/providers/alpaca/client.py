"""Asking Alpaca: pages of market data, and assets of the trading interface.

Belongs here: the way to the vendor, from one page to the next. Does not belong here: what an answer says
(`responses`), which questions there are (`provider`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import NotEntitled, PermanentVendorError, UnknownSymbol
from gb_pipeline.providers.alpaca import responses
from gb_pipeline.providers.alpaca.responses import Row
from gb_pipeline.providers.base import Body
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.cursors import Cursors
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Tally, Transport

DATA = "https://data.alpaca.markets"
# Keys of paper accounts are only known to the paper's side of the trading interface; the data's side knows both.
_PAPER_KEY = "PK"
_PAPER, _LIVE = "https://paper-api.alpaca.markets", "https://api.alpaca.markets"
# Of the free plan; paid plans have more, and say so with `rate_limit`.
RATE = RateLimit(calls=200, seconds=60)
# What the vendor says to a free plan that asks for the newest quarter of an hour of the consolidated tape.
_RECENT = "recent SIP data"
log = logging.getLogger(__name__)


class AlpacaClient:
    """The way to one vendor with one key.

    Args:
        key: the key's id.
        secret: its secret.
        policy: patience and pace.
        base_url: a simulated vendor on loopback; the real one by default.

    Attributes:
        transport: counts what is asked.

    Raises:
        ConfigError: base_url is not on loopback.
    """

    def __init__(self, key: str, secret: str, policy: Policy, base_url: str | None) -> None:
        """Nothing is sent yet."""
        policy = policy.with_defaults(rate=None if base_url else RATE)
        # All who use one key share its pace; the key itself is nobody's file name.
        self.transport = Transport(f"alpaca-{hashlib.sha256(key.encode()).hexdigest()[:12]}", policy)
        self._trading = _PAPER if key.startswith(_PAPER_KEY) else _LIVE
        self._http = HttpClient(
            responses.WHO,
            self.transport,
            base_url=base_url,
            headers={"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret},
            secrets=[key, secret],
        )

    async def aclose(self) -> None:
        """Close connections and the shared state."""
        await self._http.aclose()
        self.transport.close()

    async def pages(
        self, path: str, asked: Mapping[str, str], tally: Tally, *, most: int, read: Callable[[Any], list[Row]]
    ) -> list[Row]:
        """The rows of a list, page after page.

        Args:
            path: of the list.
            asked: its query.
            tally: accepts every body.
            most: rows that the list can have.
            read: rows of one page; what it raises makes the page be asked for again, if that may help.

        Raises:
            VendorError: one of its kinds; TransientVendorError also where the pages do not end.
        """
        cursors = Cursors(responses.WHO, most)
        rows: list[Row] = []
        following: str | None = None
        while True:
            params = dict(asked) if following is None else {**asked, "page_token": following}
            found, following, body = await self._page(path, params, read)
            tally.accept(body)
            rows += found
            if following is None:
                return rows
            cursors.follow(following)

    async def assets(self, asset_class: str, status: str) -> Any:
        """The list of assets, `active` or `inactive`, parsed.

        Raises:
            VendorError: one of its kinds.
        """

        async def once() -> Any:
            asked = {"status": status, "asset_class": asset_class}
            payload, _ = await self._http.get_json(f"{self._trading}/v2/assets", asked)
            return payload

        return await self.transport.call(once)

    async def listed(self, symbol: str) -> bool:
        """Whether the vendor lists an asset, active or not; true where the key may not ask.

        Raises:
            VendorError: any other than NotEntitled.
        """

        async def once() -> bool:
            url = f"{self._trading}/v2/assets/{quote(symbol, safe='')}"
            payload, reply = await self._http.get_json(url, accept={404})
            return reply.status != 404 and isinstance(payload, dict)

        try:
            return await self.transport.call(once)
        except NotEntitled as refusal:
            log.warning("whether %s lists %s is not known: %s", responses.WHO, symbol, refusal.what)
            return True

    async def _page(
        self, path: str, asked: Mapping[str, str], read: Callable[[Any], list[Row]]
    ) -> tuple[list[Row], str | None, Body]:
        async def once() -> tuple[list[Row], str | None, Body]:
            payload, reply = await self._http.get_json(DATA + path, asked)
            # The doubts are part of what is repeated: a wrong answer may be right the next time.
            following = responses.token(payload)
            # Last: what was read counts as having been there.
            return read(payload), following, reply.body

        try:
            return await self.transport.call(once)
        except NotEntitled as refusal:
            if _RECENT in refusal.what:
                refusal.fix = "ask 15 minutes later, set `feed: iex`, or subscribe to real-time data of all exchanges"
            raise
        except PermanentVendorError as error:
            if "invalid symbol" in error.what:
                raise UnknownSymbol(error.what, fix="check the spelling: BRK.B, BAC.PRK, BTC-USD") from None
            raise
