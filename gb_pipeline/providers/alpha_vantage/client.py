"""This module requests from Alpha Vantage and remembers what it answered: no query is sent twice.

What an answer says is read by `responses`; which queries make up a window is decided by `provider`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import date
from functools import partial

from gb_pipeline.providers.alpha_vantage import fundamentals, responses
from gb_pipeline.providers.base import Instrument
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.transport import Tally

_URL = "https://www.alphavantage.co/query"
# Twenty years of days are 2 MB, a month of minutes 3 MB: so many of them are kept.
_REMEMBERED_BYTES = 128 * 2**20
# Names and values, in order, without the key.
Query = tuple[tuple[str, str], ...]


class AlphaVantageClient:
    """The way to the vendor with one key.

    Args:
        http: sends requests, without the key.
        key: API key, which is a parameter here.

    Attributes:
        key: as given; some answers repeat it.
    """

    def __init__(self, http: HttpClient, key: str) -> None:
        """Nothing is sent yet."""
        self.key = key
        self._http = http
        self._remembered: OrderedDict[Query, bytes] = OrderedDict()
        self._locks: dict[Query, asyncio.Lock] = {}

    async def answer(self, query: Query) -> bytes:
        """The body that answers a query, remembered; the same query at the same time is one request.

        Raises:
            VendorError: one of its kinds; nothing is remembered then.
        """
        async with self._locks.setdefault(query, asyncio.Lock()):
            if query not in self._remembered:
                self._remembered[query] = await self._http.transport.call(partial(self._request, query))
                while sum(map(len, self._remembered.values())) > _REMEMBERED_BYTES and len(self._remembered) > 1:
                    self._remembered.popitem(last=False)
            self._remembered.move_to_end(query)
            return self._remembered[query]

    async def listings(self, tally: Tally) -> dict[str, Instrument]:
        """Everything that is or was listed, by canonical code; of a code that was given again the newest owner.

        Raises:
            VendorError: one of its kinds.
        """
        by_code: dict[str, Instrument] = {}
        # Active ones last, so that they count.
        for body in await self.listing_bodies():
            for item in sorted(responses.listings(body), key=lambda item: item.listed_until or date.min):
                by_code[item.symbol.code] = item
            tally.accept(body)
        return by_code

    async def listing_bodies(self, on: date | None = None) -> list[bytes]:
        """The two answers of LISTING_STATUS: delisted ones, then active ones.

        Args:
            on: as the vendor's list was on this day; the newest by default.

        Raises:
            VendorError: one of its kinds.
        """
        day = () if on is None else (("date", on.isoformat()),)
        queries: list[Query] = [
            (("function", "LISTING_STATUS"), *day, ("state", state)) for state in ("delisted", "active")
        ]
        return [await self.answer(query) for query in queries]

    async def search(self, text: str) -> list[Instrument]:
        """What the vendor finds in the United States, best first.

        Raises:
            VendorError: one of its kinds.
        """
        body = await self.answer((("function", "SYMBOL_SEARCH"), ("keywords", text)))
        return responses.matches(responses.payload(body, secrets=[self.key]))

    async def _request(self, query: Query) -> bytes:
        reply = await self._http.get(_URL, {**dict(query), "apikey": self.key})
        self._check(reply.body, dict(query))
        return reply.body

    def _check(self, body: bytes, query: Mapping[str, str]) -> None:
        """Read an answer as far as it takes to know that it is one: what is not is asked for again, and not remembered.

        Raises:
            VendorError: it is none.
        """
        try:
            if query["function"] == "LISTING_STATUS":
                responses.listings(body, secrets=[self.key])
            elif "TIME_SERIES" in query["function"]:
                frame = responses.bars(body, query["symbol"], interval=query.get("interval"), secrets=[self.key])
                if "month" in query:
                    responses.require_month(frame, query["month"])
            else:
                answer = responses.payload(body, secrets=[self.key])
                if fundamentals.is_about_companies(query["function"]):
                    fundamentals.check(answer, query["function"], query["symbol"])
        except responses.QuotaReported as error:
            raise self._http.transport.exhausted(error.what) from None
