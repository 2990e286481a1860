"""Asking Massive: pages, lists and records.

Belongs here: the way to the vendor, from one page to the next. Does not belong here: what an answer says
(`responses`), which questions there are (`provider`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import UnknownSymbol
from gb_pipeline.providers.base import Body
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.cursors import Cursors
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Tally, Transport
from gb_pipeline.providers.massive import responses
from gb_pipeline.providers.massive.responses import Row

BASE = "https://api.massive.com"
# Of the free plan; paid plans have none, and say so with `rate_limit`.
RATE = RateLimit(calls=5, seconds=60)
Rows = list[Row]
_LIST_LIMIT = 1000
# Some 35,000 tickers are active or were; a list of a million is none.
_LONGEST_LIST = 1_000_000


class MassiveClient:
    """The way to one vendor with one key.

    Args:
        key: API key.
        policy: patience and pace.
        base_url: a simulated vendor on loopback; the real one by default.

    Attributes:
        transport: counts what is asked.

    Raises:
        ConfigError: base_url is not on loopback.
    """

    def __init__(self, key: str, policy: Policy, base_url: str | None) -> None:
        """Nothing is sent yet."""
        policy = policy.with_defaults(rate=None if base_url else RATE)
        # All who use one key share its pace; the key itself is nobody's file name.
        self.transport = Transport(f"massive-{hashlib.sha256(key.encode()).hexdigest()[:12]}", policy)
        self._http = HttpClient(
            responses.WHO,
            self.transport,
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            secrets=[key],
        )

    async def aclose(self) -> None:
        """Close connections and the shared state."""
        await self._http.aclose()
        self.transport.close()

    async def pages(
        self,
        path: str,
        asked: Mapping[str, str],
        tally: Tally,
        *,
        prefix: str,
        most: int,
        read: Callable[[dict[str, Any]], Rows],
    ) -> Rows:
        """The rows of a list, page after page.

        Args:
            path: of the first page.
            asked: its query.
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
            found, following, body = await self._page(path, asked, prefix, read)
            tally.accept(body)
            rows += found
            if following is None:
                return rows
            cursors.follow(following[1])
            path, asked = following[0], {"cursor": following[1]}

    async def list(self, name: str, asked: Mapping[str, str], tally: Tally) -> Rows:
        """All rows of a reference list: `tickers`, `splits`, `dividends`.

        Raises:
            VendorError: as `pages`.
        """
        path = f"/v3/reference/{name}"
        params = {**asked, "order": "asc", "limit": str(_LIST_LIMIT)}
        return await self.pages(path, params, tally, prefix=path, most=_LONGEST_LIST, read=responses.objects)

    async def listing(self, ticker: str, tally: Tally) -> Row:
        """The record of a ticker in the vendor's list, the active one first.

        Raises:
            UnknownSymbol: it is not there, neither active nor delisted.
            VendorError: as `pages`.
        """
        for active in ("true", "false"):
            rows = await self.list("tickers", {"ticker": ticker, "active": active}, tally)
            if found := [row for row in rows if row.get("ticker") == ticker]:
                return found[-1]
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
        last = responses.day(listed, "delisted_utc")
        asked = {"date": last.isoformat()} if last else {}
        path = f"/v3/reference/tickers/{ticker}"
        found, _, body = await self._page(path, asked, path, responses.single)
        tally.accept(body)
        return listed | found[0]

    async def _page(
        self, path: str, asked: Mapping[str, str], prefix: str, read: Callable[[dict[str, Any]], Rows]
    ) -> tuple[Rows, tuple[str, str] | None, Body]:
        async def once() -> tuple[Rows, tuple[str, str] | None, Body]:
            payload, reply = await self._http.get_json(BASE + path, asked)
            # The doubts are part of what is repeated: a wrong answer may be right the next time.
            checked = responses.checked(payload)
            following = responses.cursor(checked, prefix)
            # Last: what was read counts as having been there.
            return read(checked), following, reply.body

        return await self.transport.call(once)
