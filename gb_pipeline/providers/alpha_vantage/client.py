"""Asking Alpha Vantage: one question at a time, and no question twice.

Belongs here: the way to the vendor with one key, and remembering what it answered. Does not belong here: what an answer says
(`responses`), which questions there are (`provider`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import date
from functools import partial

from gb_pipeline.providers.alpha_vantage import responses
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Tally, Transport

_URL = "https://www.alphavantage.co/query"
# Twenty years of days are 2 MB, a month of minutes 3 MB: so many of them are kept.
_REMEMBERED_BYTES = 128 * 2**20
# Names and values of a query, in order, without the key.
Asked = tuple[tuple[str, str], ...]


class AlphaVantageClient:
    """The way to the vendor with one key.

    Args:
        key: API key.
        policy: patience, pace and quota.
        base_url: a simulated vendor on loopback; the real one by default.

    Attributes:
        key: as given; some answers repeat it.
        transport: counts what is asked.

    Raises:
        ConfigError: base_url is not on loopback.
    """

    def __init__(self, key: str, policy: Policy, base_url: str | None) -> None:
        """Nothing is sent yet."""
        self.key = key
        # Each key has its own day; its digest tells them apart without telling what it is.
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        place = "alpha_vantage" if base_url is None else "alpha_vantage-simulated"
        self.transport = Transport(f"{place}-{digest}", policy)
        self._http = HttpClient(responses.WHO, self.transport, base_url=base_url, secrets=[key])
        self._remembered: OrderedDict[Asked, bytes] = OrderedDict()
        self._asking: dict[Asked, asyncio.Lock] = {}

    async def answer(self, asked: Asked) -> bytes:
        """The body of a question, remembered; questions at the same time are one request.

        Raises:
            VendorError: one of its kinds; nothing is remembered then.
        """
        async with self._asking.setdefault(asked, asyncio.Lock()):
            if asked not in self._remembered:
                self._remembered[asked] = await self.transport.call(partial(self._request, asked))
                while sum(map(len, self._remembered.values())) > _REMEMBERED_BYTES and len(self._remembered) > 1:
                    self._remembered.popitem(last=False)
            self._remembered.move_to_end(asked)
            return self._remembered[asked]

    async def listings(self, tally: Tally) -> dict[str, Instrument]:
        """Everything that is or was listed, by canonical code; of a code that was given again the newest owner.

        Raises:
            VendorError: one of its kinds.
        """
        found: dict[str, Instrument] = {}
        # Active ones last, so that they count.
        for state in ("delisted", "active"):
            body = await self.answer((("function", "LISTING_STATUS"), ("state", state)))
            for item in sorted(responses.listings(body), key=lambda item: item.listed_until or date.min):
                found[item.symbol.code] = item
            tally.accept(body)
        return found

    async def search(self, text: str) -> list[Instrument]:
        """What the vendor finds in the United States, best first.

        Raises:
            VendorError: one of its kinds.
        """
        body = await self.answer((("function", "SYMBOL_SEARCH"), ("keywords", text)))
        return responses.matches(responses.payload(body, secrets=[self.key]))

    async def aclose(self) -> None:
        """Close connections and the shared state."""
        await self._http.aclose()
        self.transport.close()

    async def _request(self, asked: Asked) -> bytes:
        reply = await self._http.get(_URL, {**dict(asked), "apikey": self.key})
        self._check(reply.body, dict(asked))
        return reply.body

    def _check(self, body: bytes, asked: Mapping[str, str]) -> None:
        """Read an answer as far as it takes to know that it is one: what is not is asked for again, and not remembered.

        Raises:
            VendorError: it is none.
        """
        try:
            if asked["function"] == "LISTING_STATUS":
                responses.listings(body, secrets=[self.key])
            elif "TIME_SERIES" in asked["function"]:
                frame = responses.bars(body, asked["symbol"], interval=asked.get("interval"), secrets=[self.key])
                if "month" in asked:
                    responses.of_month(frame, asked["month"])
            else:
                responses.payload(body, secrets=[self.key])
        except responses.QuotaSaid as error:
            raise self.transport.exhausted(error.what) from None
