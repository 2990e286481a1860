"""This module fetches US equities and crypto from Alpaca: symbols and windows become requests, and pages one frame.

What an answer says is read by `responses`, and `client` goes from page to page.

Bars of two and four hours are not offered: they begin at even hours of a clock that is not documented for winter. Neither are
days of crypto, which begin at midnight in Chicago. All of these can be made of shorter bars. Hours of equities begin on the
clock, so the one that holds the open also holds trades from before it.

Volumes depend on the feed: `sip` is the tape of all exchanges, `iex` one exchange's small part of it. They are never to be
mixed in one source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Self, Unpack

import polars as pl

from gb_pipeline.config.settings import RateLimit, SourceSettings
from gb_pipeline.errors import ConfigError, UnknownSymbol
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.moments import EPOCH
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers import us_market_time
from gb_pipeline.providers.alpaca import responses
from gb_pipeline.providers.alpaca.client import AlpacaClient
from gb_pipeline.providers.base import ActionsProvider, Body, Fetched, Instrument, InstrumentsProvider
from gb_pipeline.providers.records import Row
from gb_pipeline.providers.rest import RestArguments, RestProvider, Secret

FEEDS = ("sip", "iex", "otc", "boats", "overnight", "delayed_sip")
_TIMEFRAMES = {
    Resolution.MINUTE: "1Min",
    Resolution.MINUTE_5: "5Min",
    Resolution.MINUTE_15: "15Min",
    Resolution.MINUTE_30: "30Min",
    Resolution.HOUR: "1Hour",
    Resolution.DAY: "1Day",
    Resolution.WEEK: "1Week",
    Resolution.MONTH: "1Month",
}
_CLASSES = {AssetClass.EQUITY: "us_equity", AssetClass.CRYPTO: "crypto"}
_PAGE = 10_000
# What a page holds where nothing else is asked for, or allowed.
_LEAST_PAGE = 1000
_ACTIONS_PAGE = 1000
# The vendor's end is inclusive, ours is not.
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
# From 04:00 to 20:00.
_TRADING_DAY = timedelta(hours=16)
_SATURDAY = 5
_MOST_ACTIONS = 100_000
# The interval of corporate actions is one of processing dates: those of dividends are when they are paid, mostly weeks and at
# times months after the ex date; with due bills some days before it.
_PROCESSED_BEFORE, _PROCESSED_AFTER = timedelta(days=31), timedelta(days=370)


class AlpacaProvider(RestProvider, ActionsProvider, InstrumentsProvider):
    """Alpaca's REST interface.

    Args:
        key: the key's id, or what gives it.
        secret: the key's secret, likewise.
        feed: whose trades make the bars of shares, one of `FEEDS`; the tape of all exchanges by default, of which a free
            plan gets everything but the newest 15 minutes.
        hours: regular hours of the shares' market, to which intraday bars are cut; all bars by default, from 04:00 to
            20:00 in New York.
        asset_class: what `instruments` lists.
        rest: as of every `RestProvider`: `base_url`, `policy`, `vendor_symbols`.

    Raises:
        ConfigError: no such feed, or base_url is not on loopback.

    Example:
        >>> provider = AlpacaProvider("my key", "its secret")
        >>> provider.supports(Symbol.equity("AAPL"), Resolution.MINUTE)
        True
    """

    name, who = "alpaca", responses.WHO
    adjustment, normaliser = Adjustment.RAW, "alpaca/1"
    credentials = ("key", "secret")
    options = ("feed",)
    # Of the free plan; paid plans have more, and say so with `rate_limit`.
    rate = RateLimit(calls=200, seconds=60)

    def __init__(
        self,
        key: Secret,
        secret: Secret,
        *,
        feed: str = "sip",
        hours: Calendar | None = None,
        asset_class: AssetClass = AssetClass.EQUITY,
        **rest: Unpack[RestArguments],
    ) -> None:
        """Nothing is sent before the first fetch."""
        if feed not in FEEDS:
            raise ConfigError(f"alpaca has no feed {feed!r}", fix=f"use one of {', '.join(FEEDS)}")
        super().__init__(key, secret, **rest)
        self._feed = feed
        self._hours = hours
        self._asset_class = asset_class

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Self:
        """From gb.yaml: `options: {key: "${ALPACA_API_KEY}", secret: "${ALPACA_SECRET_KEY}", feed: iex, base_url: ...}`.

        `feed` and `base_url` are optional. Intraday bars of shares are cut to the calendar's regular hours, unless the source
        has `extended_hours`.

        Raises:
            ConfigError: an unknown option or feed; a missing key is an error of the first request.
        """
        return cls(
            *cls.secrets_of(source),
            feed=source.option("feed") or "sip",
            hours=us_market_time.regular_hours(source),
            asset_class=source.asset_class,
            **cls.arguments_of(source, state_dir),
        )

    def headers(self) -> Mapping[str, str]:
        """The key and its secret."""
        return {"APCA-API-KEY-ID": self.secret("key"), "APCA-API-SECRET-KEY": self.secret("secret")}

    # --- bars ---------------------------------------------------------------------------------------------------------

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars, and they are what our resolution means; see the module's first lines."""
        if resolution not in _TIMEFRAMES or symbol.asset_class not in _CLASSES or symbol.code.endswith("-PERP"):
            return False
        return symbol.asset_class is AssetClass.EQUITY or resolution.intraday

    def requests(self, window: Window, resolution: Resolution) -> int:
        """At most so many: one per 10,000 bars, if there is one in every minute from 04:00 to 20:00 of every weekday."""
        return max(1, -(-self._most_bars(window, resolution) // _PAGE))

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        Duplicates, rows whose time cannot be read and the bar in progress are kept for the quality layer to validate. Minutes
        without trades have no bar.

        Args:
            symbol: `AAPL`, `BRK.B`, or a pair `BTC-USD`.
            window: any length; it is fetched page after page.
            resolution: one that `supports` says yes to.

        Raises:
            UnknownSymbol: nothing came, and the vendor lists no such asset, active or not.
            NotEntitled: the plan does not cover this feed, or not yet.
            PermanentVendorError: no such bars.
            TransientVendorError: it failed more often than the policy allows, or answered something else.
        """
        self.require_supported(symbol, resolution)
        name, span = self.spelling(symbol), self._request_window(window, resolution)
        query = {
            "symbols": name,
            "timeframe": _TIMEFRAMES[resolution],
            "start": _stamp(span.start),
            "end": _stamp(max(span.start, span.end - _SECOND)),
            "limit": str(_PAGE),
            "sort": "asc",
        }
        path = "/v1beta3/crypto/us/bars"
        if symbol.asset_class is AssetClass.EQUITY:
            path, query = "/v2/stocks/bars", {**query, "adjustment": "raw", "feed": self._feed}
        read = responses.Bars(name, span).read
        rows: list[Row] = []
        with self.transport.measure() as tally:
            while True:
                more = await self._client.pages(path, query, tally, most=self._most_bars(window, resolution), read=read)
                rows += more
                newest = max((row["t"] for row in more if row["t"] is not None), default=None)
                # As many as a page holds, and no next one: whether that was the end, only the next question tells.
                if newest is None or len(more) % _LEAST_PAGE or not (start := _moment(newest) + _SECOND) < span.end:
                    break
                query["start"] = _stamp(start)
            if not rows and not window.empty:
                await self.require_listed(name)
        return tally.fetched(self._frame(rows, window, resolution))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_bars` does for such bodies.
        """
        read = responses.Bars(self.spelling(symbol), self._request_window(window, resolution)).read
        rows = [row for body in bodies for row in read(self.read_body(body))]
        return self._frame(rows, window, resolution)

    # --- corporate actions and listings -------------------------------------------------------------------------------

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """Splits, stock dividends (as splits) and cash dividends of a share with an ex date in [start, end).

        The vendor has no dates of listing and delisting.

        Raises:
            UnknownSymbol: nothing came, and the vendor lists no such asset, active or not.
            VendorError: one of its kinds.
        """
        self.require_equity(symbol)
        name = self.spelling(symbol)
        query = {
            "symbols": name,
            "types": ",".join(responses.ACTION_TYPES),
            "start": (start - _PROCESSED_BEFORE).isoformat(),
            "end": (end + _PROCESSED_AFTER).isoformat(),
            "limit": str(_ACTIONS_PAGE),
            "sort": "asc",
        }
        read = partial(responses.actions, symbol=name)
        with self.transport.measure() as tally:
            rows = await self._client.pages("/v1/corporate-actions", query, tally, most=_MOST_ACTIONS, read=read)
            if not rows:
                await self.require_listed(name)
        frame = responses.actions_frame(row for row in rows if start <= row["ex_date"] < end)
        return tally.fetched(frame.sort("ex_date", "kind", "label", maintain_order=True))

    async def instruments(self, *, turnover: bool = False) -> list[Instrument]:
        """Every asset of the source's class, active or not, by canonical code; of a reused code the active one.

        Args:
            turnover: has no effect: the vendor's list has none.

        Raises:
            VendorError: the list cannot be had.
        """
        del turnover
        vendor_class = _CLASSES.get(self._asset_class, _CLASSES[AssetClass.EQUITY])
        by_code: dict[str, Instrument] = {}
        # Active ones last, so that they count.
        for status in ("inactive", "active"):
            listed = responses.instruments(await self._client.assets(vendor_class, status), self._asset_class)
            by_code |= {item.symbol.code: item for item in listed}
        return [item for _, item in sorted(by_code.items())]

    # --- how ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> AlpacaClient:
        return AlpacaClient(self.http, self.secret("key"))

    def derived_spelling(self, symbol: Symbol) -> str:
        """`BTC/USD` of the pair `BTC-USD`."""
        return symbol.code.replace("-", "/") if symbol.asset_class is AssetClass.CRYPTO else symbol.code

    async def look_up(self, name: str) -> None:
        """Ask whether an asset exists: one without trades has the same empty answer.

        Raises:
            UnknownSymbol: it does not.
        """
        if not await self._client.lists(name):
            raise UnknownSymbol(
                f"{self.who} lists no asset {name}, neither active nor inactive",
                fix="check the spelling: BRK.B, BAC.PRK, BTC-USD",
            )

    def _request_window(self, window: Window, resolution: Resolution) -> Window:
        """Where every bar of an honest answer begins."""
        if resolution.intraday:
            # Whole bars: one that is asked for by half may be made of half its trades.
            return us_market_time.whole_hours(us_market_time.trading_hours(window, self._hours))
        first, last = us_market_time.days_of(window, resolution)
        return Window(us_market_time.midnight(first), us_market_time.midnight(last + _DAY))

    def _most_bars(self, window: Window, resolution: Resolution) -> int:
        """Bars that a window can have."""
        first = window.start.date()
        days = [first + number * _DAY for number in range((window.end.date() - first).days + 1)]
        step = resolution.duration
        if step is None:
            return len(days)
        if self._asset_class is AssetClass.CRYPTO:
            return -(-(window.end - window.start) // step)
        open_days = sum(day.weekday() < _SATURDAY for day in days)
        return -(-min(window.end - window.start, open_days * _TRADING_DAY) // step)

    def _frame(self, rows: Sequence[Row], window: Window, resolution: Resolution) -> pl.DataFrame:
        return us_market_time.bars_in(responses.frame(rows), window, resolution, self._hours)


def _moment(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
