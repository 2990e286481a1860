"""This module requests from Massive: pages, lists and records.

What an answer says is read by `responses`; which requests make up a window is decided by `provider`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gb_pipeline.errors import UnknownSymbol
from gb_pipeline.providers.base import Body
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.cursors import Cursors
from gb_pipeline.providers.http.transport import Tally
from gb_pipeline.providers.massive import responses
from gb_pipeline.providers.records import Row

BASE = "https://api.massive.com"
Rows = list[Row]
_LIST_LIMIT = 1000
# Some 35,000 tickers are active or were; a list of a million is none.
_LONGEST_LIST = 1_000_000


class MassiveClient:
    """The way to the vendor with one key.

    Args:
        http: sends requests with the key.
    """

    def __init__(self, http: HttpClient) -> None:
        """Nothing is sent yet."""
        self._http = http

    async def pages(
        self,
        path: str,
        query: Mapping[str, str],
        tally: Tally,
        *,
        prefix: str,
        most: int,
        read: Callable[[dict[str, Any]], Rows],
    ) -> Rows:
        """The rows of a list, page after page.

        Args:
            path: of the first page.
            query: its parameters.
            tally: accepts every body.
            prefix: how the path of every page begins.
            most: rows or base aggregates that the list can have.
            read: rows of one page; what it raises makes the page be asked for again, if that may help.

        Raises:
            VendorError: one of its kinds; TransientVendorError also where the pages do not end.
        """
        cursors = Cursors(responses.WHO, most)
        rows: Rows = []
        while True:
            page, next_page, body = await self._page(path, query, prefix, read)
            tally.accept(body)
            rows += page
            if next_page is None:
                return rows
            path, cursor = next_page
            cursors.follow(cursor)
            query = {"cursor": cursor}

    async def list(self, name: str, query: Mapping[str, str], tally: Tally) -> Rows:
        """All rows of a reference list: `tickers`, `splits`, `dividends`.

        Raises:
            VendorError: as `pages`.
        """
        path = f"/v3/reference/{name}"
        params = {**query, "order": "asc", "limit": str(_LIST_LIMIT)}
        return await self.pages(path, params, tally, prefix=path, most=_LONGEST_LIST, read=responses.objects)

    async def listing(self, ticker: str, tally: Tally) -> Row:
        """The record of a ticker in the vendor's list, the active one first.

        Raises:
            UnknownSymbol: it is not there, neither active nor delisted.
            VendorError: as `pages`.
        """
        for active in ("true", "false"):
            rows = await self.list("tickers", {"ticker": ticker, "active": active}, tally)
            if records := [row for row in rows if row.get("ticker") == ticker]:
                return records[-1]
        raise UnknownSymbol(
            f"{responses.WHO} lists no ticker {ticker}, neither active nor delisted",
            fix="check the spelling; tickers of preferred shares are written as BAC.PRK",
        )

    async def record(self, ticker: str, tally: Tally) -> Row:
        """Everything about a ticker; that of a delisted one is only told as of its last day.

        Raises:
            VendorError: as `listing`.
        """
        listed = await self.listing(ticker, tally)
        last = responses.RECORDS.day(listed, "delisted_utc")
        query = {"date": last.isoformat()} if last else {}
        path = f"/v3/reference/tickers/{ticker}"
        records, _, body = await self._page(path, query, path, responses.single)
        tally.accept(body)
        return listed | records[0]

    async def ticker_changes(self, ticker: str, tally: Tally) -> Rows:
        """Every ticker that an instrument has had, oldest first: `ticker` and `date`; none where the vendor tells of none.

        Raises:
            VendorError: one of its kinds.
        """

        async def once() -> tuple[Rows, Body]:
            path = f"{BASE}/vX/reference/tickers/{ticker}/events"
            payload, reply = await self._http.get_json(path, {"types": "ticker_change"}, accept={404})
            return (
                [] if reply.status == 404 else responses.ticker_changes(responses.check_status(payload))
            ), reply.body

        rows, body = await self._http.transport.call(once)
        tally.accept(body)
        return rows

    async def _page(
        self, path: str, query: Mapping[str, str], prefix: str, read: Callable[[dict[str, Any]], Rows]
    ) -> tuple[Rows, tuple[str, str] | None, Body]:
        async def once() -> tuple[Rows, tuple[str, str] | None, Body]:
            payload, reply = await self._http.get_json(BASE + path, query)
            # The doubts are part of what is repeated: a wrong answer may be right the next time.
            answer = responses.check_status(payload)
            next_page = responses.cursor(answer, prefix)
            # Last: what was read counts as having been there.
            return read(answer), next_page, reply.body

        return await self._http.transport.call(once)
