"""This module fetches bars, splits and dividends from Yahoo Finance and searches there, without a key.

It decides which requests make up a window, and what is refused before anything is sent. Yahoo is reached through `client`; its
answers are read by `chart`, `bars` and `actions`, its spelling by `symbols`.

Prices and volumes are adjusted for splits; unadjusted ones do not exist at Yahoo, so a new split changes a share's whole
history. Volumes of crypto pairs are in the quote currency. Yahoo has no list of symbols. It is an unofficial source for
personal use: nothing of it is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Self, Unpack
from urllib.parse import quote

import polars as pl

from gb_pipeline.config.settings import RateLimit, SourceSettings
from gb_pipeline.errors import HistoryNotAvailable, PermanentVendorError
from gb_pipeline.market.moments import EPOCH
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED, Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import ActionsProvider, Body, Fetched, Instrument, SearchProvider
from gb_pipeline.providers.http.responses import broken_body, read_json
from gb_pipeline.providers.rest import RestArguments, RestProvider
from gb_pipeline.providers.yahoo.actions import actions
from gb_pipeline.providers.yahoo.bars import Page, bars
from gb_pipeline.providers.yahoo.chart import INTERVALS, Chart, read_chart
from gb_pipeline.providers.yahoo.client import YahooClient
from gb_pipeline.providers.yahoo.errors import WHO
from gb_pipeline.providers.yahoo.symbols import instrument, vendor_code

_API = "https://query2.finance.yahoo.com"
_DAY = timedelta(days=1)
# How far back bars go. Yahoo changes these without notice, and then says so in the answer.
_DEPTHS = {
    Resolution.MINUTE: timedelta(days=30),
    Resolution.MINUTE_5: timedelta(days=60),
    Resolution.MINUTE_15: timedelta(days=60),
    Resolution.MINUTE_30: timedelta(days=60),
    Resolution.HOUR: timedelta(days=730),
}
# Minutes: "only 8 days worth ... per request", which was 7 for years.
_PAGES = {**_DEPTHS, Resolution.MINUTE: timedelta(days=7)}
# Seconds: a 429 of Yahoo's says nothing about how long; it takes minutes.
_WAIT_AFTER_429 = 60.0
_EVENTS = "div,splits,capitalGains"
_MOST_FOUND = 50


class YahooProvider(RestProvider, ActionsProvider, SearchProvider):
    """Yahoo Finance.

    Weeks and months are not served: Yahoo counts weeks from the first day that is asked for, and adjusts them otherwise.

    Args:
        extended_hours: ask for pre-market and post-market bars as well.
        clock: the present, for what Yahoo has no longer; by default the wall clock, and on loopback only Yahoo's own word
            counts, as a simulation has its own time.
        rest: as of every `RestProvider`: `base_url`, `policy`, and `vendor_symbols`, such as `^GSPC` or `ES=F`.

    Raises:
        ConfigError: base_url is not on loopback.

    Example:
        >>> provider = YahooProvider()
        >>> provider.supports(Symbol.equity("BRK.B"), Resolution.DAY)
        True
    """

    name, who = "yahoo", WHO
    adjustment, normaliser = Adjustment.SPLIT, "yahoo/2"
    # Unpublished; more than this was seen to end in hours of 429.
    rate = RateLimit(calls=1, seconds=1.0)

    def __init__(
        self,
        *,
        extended_hours: bool = False,
        clock: Callable[[], datetime] | None = None,
        **rest: Unpack[RestArguments],
    ) -> None:
        """Nothing is sent, and yfinance is not imported, before the first fetch."""
        super().__init__(**rest)
        default_wait = None if self.base_url else _WAIT_AFTER_429
        self._client = YahooClient(self.transport, base_url=self.base_url, default_wait=default_wait)
        self._extended = extended_hours
        self._clock = clock or (None if self.base_url else _now)

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Self:
        """From gb.yaml: `options: {base_url: http://127.0.0.1:PORT}`, optional.

        Raises:
            ConfigError: an unknown option.
        """
        return cls(extended_hours=source.extended_hours, **cls.arguments_of(source, state_dir))

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether Yahoo has such bars; whether it knows the symbol shows at the first fetch."""
        if resolution not in INTERVALS:
            return False
        underived = symbol.asset_class in {AssetClass.FUTURE, AssetClass.PREDICTION} or symbol.code.endswith("-PERP")
        return symbol.code in self.vendor_symbols or not underived

    @property
    def setup_requests(self) -> int:
        """A cookie and what goes with it, before the first bars; for plans."""
        return 2

    def requests(self, window: Window, resolution: Resolution) -> int:
        """One per page: seven days of minutes, sixty of 5m to 30m, everything of a day; two more in a life, for cookies."""
        return len(_pages(window, resolution))

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted.

        Prices are the shortest decimals that name Yahoo's 32-bit floats; minutes in which nothing traded have no row. The
        bar in progress is there; a bar that a delayed feed has not finished is not.

        Args:
            symbol: a share, fund, index, pair, coin or option.
            window: any length within what Yahoo still has.
            resolution: 1m, 5m, 15m, 30m, 1h or 1d.

        Raises:
            HistoryNotAvailable: Yahoo has nothing that old; minutes last 30 days, up to 30m 60 days, hours 730 days.
            UnknownSymbol: Yahoo does not know it (any more).
            PermanentVendorError: it has no such resolution.
            TransientVendorError: it failed more often than the policy allows, or answered something else.
        """
        vendor = self.spelling(symbol)
        self._refuse(symbol, window, resolution)
        parts = [pl.DataFrame(schema=RECEIVED)]
        with self.transport.measure() as tally:
            for page in _pages(window, resolution):
                read = partial(bars, page=page, resolution=resolution, extended=self._extended)
                frame, body = await self._read(vendor, page.period, resolution, read)
                parts.append(frame)
                tally.accept(body)
        return tally.fetched(pl.concat(parts, how="diagonal"))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received.

        Raises:
            VendorError: as `fetch_bars` does for such bodies; PermanentVendorError where they are not of this window.
        """
        pages, vendor = _pages(window, resolution), self.spelling(symbol)
        if len(pages) != len(bodies):
            raise PermanentVendorError(
                f"{len(bodies)} answers for {len(pages)} pages of {window}",
                fix="give the bodies of one fetch, in their order, and its window",
            )
        parts = [
            bars(read_chart(body, vendor, resolution), page, resolution, extended=self._extended)
            for page, body in zip(pages, bodies, strict=True)
        ]
        return pl.concat([pl.DataFrame(schema=RECEIVED), *parts], how="diagonal")

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """Splits (spin-offs among them), dividends, capital gains and the first bar with an ex date in [start, end).

        Dividends are un-adjusted with the later splits; see `actions.as_paid` for what cannot be undone.

        Raises:
            VendorError: as `fetch_bars`.
        """
        vendor = self.spelling(symbol)
        # Later splits are needed to know what was paid.
        until = max(datetime.combine(end, time(), UTC), (self._clock or _now)()) + _DAY
        period = (_seconds(datetime.combine(start, time(), UTC) - _DAY), _seconds(until))
        with self.transport.measure() as tally:
            frame, body = await self._read(vendor, period, Resolution.DAY, partial(actions, start=start, end=end))
            tally.accept(body)
        return tally.fetched(frame)

    async def search(self, text: str) -> list[Instrument]:
        """What Yahoo finds under a name or the beginning of a code; kinds without a canonical code are left out.

        Raises:
            VendorError: one of its kinds.
        """
        params = {"q": text, "quotesCount": str(_MOST_FOUND), "newsCount": "0", "listsCount": "0"}

        async def ask() -> list[Instrument]:
            reply = await self._client.get(f"{_API}/v1/finance/search", params)
            document = read_json(WHO, reply.status, reply.content_type, reply.text)
            quotes = document.get("quotes") if isinstance(document, dict) else None
            if not isinstance(quotes, list) or not all(isinstance(item, dict) for item in quotes):
                raise broken_body(WHO, reply.status, reply.content_type, reply.text)
            return [listed for item in quotes if (listed := instrument(item)) is not None]

        return await self.transport.call(ask)

    async def aclose(self) -> None:
        """Close connections. The provider can not be used afterwards."""
        await self._client.aclose()
        await super().aclose()

    # --- how ----------------------------------------------------------------------------------------------------------

    async def _read(
        self, vendor: str, period: tuple[int, int], resolution: Resolution, read: Callable[[Chart], pl.DataFrame]
    ) -> tuple[pl.DataFrame, bytes]:
        """One page as `read` understands it, and its body; asked for again where it cannot be understood."""
        params = {
            "period1": str(period[0]),
            "period2": str(period[1]),
            "interval": INTERVALS[resolution],
            "includePrePost": "true" if self._extended else "false",
            "events": _EVENTS,
        }

        async def ask() -> tuple[pl.DataFrame, bytes]:
            reply = await self._client.get(f"{_API}/v8/finance/chart/{quote(vendor, safe='=-.')}", params)
            return read(read_chart(reply.body, vendor, resolution)), reply.body

        return await self.transport.call(ask)

    def derived_spelling(self, symbol: Symbol) -> str:
        """Yahoo's own; see `symbols.vendor_code`.

        Raises:
            UnknownSymbol: none can be derived.
        """
        return vendor_code(symbol)

    def _refuse(self, symbol: Symbol, window: Window, resolution: Resolution) -> None:
        if resolution not in INTERVALS:
            raise PermanentVendorError(
                f"{WHO} has no bars of {resolution} that start where ours do",
                fix=f"use one of {', '.join(INTERVALS)}; weeks and months are made of days when they are read",
            )
        depth = _DEPTHS.get(resolution)
        if depth is None or self._clock is None:
            return
        first = self._clock() - depth
        if window.start < first and not window.empty:
            raise HistoryNotAvailable(
                f"{WHO} has bars of {resolution} for the last {depth.days} days only, asked for {symbol} from "
                f"{window.start:%Y-%m-%d %H:%M} on",
                first=first,
                fix="fetch more often, a coarser resolution, or from another source",
            )


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(seconds=1)


def _pages(window: Window, resolution: Resolution) -> list[Page]:
    """What is asked for, cut from the window's start on: the same window always makes the same requests."""
    length = _PAGES.get(resolution)
    pages = []
    start = window.start
    while start < window.end:
        end = window.end if length is None else min(window.end, start + length)
        # A day's stamp is an instant of the exchange's day, which may begin a day before or after ours.
        margin = timedelta() if resolution.intraday else _DAY
        period = (_seconds(start - margin), _seconds(end + margin + timedelta(microseconds=999_999)))
        pages.append(Page(start, end, period))
        start = end
    return pages
