"""Alpaca: US shares and coins.

Belongs here: symbols and windows to requests, pages to one answer. Does not belong here: what an answer says
(`responses`), the way there (`client`).

Bars of two and four hours are not offered: they begin at even hours of a clock that is not documented for winter. Neither are
days of coins, which begin at midnight in Chicago. All of these can be made of shorter bars. Hours of shares begin on the
clock, so the one that holds the open also holds trades from before it.

Volumes depend on the feed: `sip` is the tape of all exchanges, `iex` one exchange's small part of it. They are never to be
mixed in one source.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, PermanentVendorError, UnknownSymbol
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers import us_market_time
from gb_pipeline.providers.alpaca import responses
from gb_pipeline.providers.alpaca.client import RATE, AlpacaClient
from gb_pipeline.providers.alpaca.responses import Row
from gb_pipeline.providers.base import Body, Fetched, Instrument
from gb_pipeline.providers.http.client import loopback
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.responses import read_json

FEEDS = ("sip", "iex", "otc", "boats", "overnight", "delayed_sip")
_OPTIONS = frozenset({"key", "secret", "feed", "base_url"})
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


class AlpacaProvider:
    """Alpaca's REST interface.

    An instance serves any number of symbols at once, within one event loop; close it with `aclose`.

    Args:
        key: the key's id, or what gives it: plans and kept answers are read without one, so it is only missed by a request.
        secret: the key's secret, likewise.
        feed: whose trades make the bars of shares, one of `FEEDS`; the tape of all exchanges by default, of which a free
            plan gets everything but the newest 15 minutes.
        base_url: `http://127.0.0.1:PORT` of a simulated vendor; the real one by default.
        policy: patience and pace; 200 requests a minute where the policy sets no pace, and no pace on loopback.
        hours: regular hours of the shares' market, to which intraday bars are cut; all bars by default, from 04:00 to
            20:00 in New York.
        asset_class: what `instruments` lists.
        vendor_symbols: canonical code to the vendor's spelling, where it cannot be derived.

    Raises:
        ConfigError: no such feed, or base_url is not on loopback.

    Example:
        >>> provider = AlpacaProvider("my key", "its secret")
        >>> provider.supports(Symbol.equity("AAPL"), Resolution.MINUTE)
        True
    """

    credentials = ("key", "secret")

    def __init__(
        self,
        key: str | Callable[[], str],
        secret: str | Callable[[], str],
        *,
        feed: str = "sip",
        base_url: str | None = None,
        policy: Policy | None = None,
        hours: Calendar | None = None,
        asset_class: AssetClass = AssetClass.EQUITY,
        vendor_symbols: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is sent before the first fetch."""
        if feed not in FEEDS:
            raise ConfigError(f"alpaca has no feed {feed!r}", fix=f"use one of {', '.join(FEEDS)}")
        self.name = "alpaca"
        self.adjustment = Adjustment.RAW
        self.normaliser = "alpaca/1"
        self._key, self._secret, self._policy = key, secret, policy or Policy()
        self._base_url = loopback(base_url) if base_url else None
        self._made: AlpacaClient | None = None
        self._feed = feed
        self._hours = hours
        self._asset_class = asset_class
        self._vendor_symbols = dict(vendor_symbols or {})
        self._listed: set[str] = set()
        self._asking = asyncio.Lock()

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> AlpacaProvider:
        """From gb.yaml: `options: {key: "${ALPACA_API_KEY}", secret: "${ALPACA_SECRET_KEY}", feed: iex, base_url: ...}`.

        `feed` and `base_url` are optional. Intraday bars of shares are cut to the calendar's regular hours, unless the source
        has `extended_hours`.

        Args:
            source: the source.
            state_dir: folder of the pace that all processes on this machine share.

        Raises:
            ConfigError: an unknown option or feed; a missing key is an error of the first request.
        """
        source.only_options(*_OPTIONS)
        return cls(
            partial(source.credential, "key"),
            partial(source.credential, "secret"),
            feed=source.option("feed") or "sip",
            base_url=source.option("base_url"),
            policy=Policy.of(source, rate=None, state_dir=state_dir),
            hours=us_market_time.regular_hours(source),
            asset_class=source.asset_class,
            vendor_symbols=source.vendor_symbols,
        )

    # --- bars ---------------------------------------------------------------------------------------------------------

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars, and they are what our resolution means; see the module's first lines."""
        if resolution not in _TIMEFRAMES or symbol.asset_class not in _CLASSES or symbol.code.endswith("-PERP"):
            return False
        return symbol.asset_class is AssetClass.EQUITY or resolution.intraday

    @property
    def policy(self) -> Policy:
        """Patience and pace that hold; for plans."""
        return self._policy.with_defaults(rate=None if self._base_url else RATE)

    def requests(self, window: Window, resolution: Resolution) -> int:
        """At most so many: one per 10,000 bars, if there is one in every minute from 04:00 to 20:00 of every weekday."""
        return max(1, -(-self._most(window, resolution) // _PAGE))

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        Duplicates, rows whose time cannot be read and the bar in progress are kept for the quality layer to judge. Minutes
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
        if not self.supports(symbol, resolution):
            raise PermanentVendorError(
                f"{responses.WHO} has no bars of {resolution} of {symbol}", fix="make them of shorter ones"
            )
        name, span = self._vendor(symbol), self._asked(window, resolution)
        asked = {
            "symbols": name,
            "timeframe": _TIMEFRAMES[resolution],
            "start": _stamp(span.start),
            "end": _stamp(max(span.start, span.end - _SECOND)),
            "limit": str(_PAGE),
            "sort": "asc",
        }
        path = "/v1beta3/crypto/us/bars"
        if symbol.asset_class is AssetClass.EQUITY:
            path, asked = "/v2/stocks/bars", {**asked, "adjustment": "raw", "feed": self._feed}
        with self._client.transport.measure() as tally:
            rows = await self._client.pages(
                path, asked, tally, most=self._most(window, resolution), read=responses.Bars(name, span).read
            )
            if not rows and not window.empty:
                await self._known(name)
        return tally.fetched(self._frame(rows, window, resolution))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_bars` does for such bodies.
        """
        read = responses.Bars(self._vendor(symbol), self._asked(window, resolution)).read
        rows: list[Row] = []
        for body in bodies:
            rows += read(read_json(responses.WHO, 200, "", body.decode("utf-8", errors="replace")))
        return self._frame(rows, window, resolution)

    # --- corporate actions and listings -------------------------------------------------------------------------------

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """Splits, stock dividends (as splits) and cash dividends of a share with an ex date in [start, end).

        The vendor has no dates of listing and delisting.

        Raises:
            UnknownSymbol: nothing came, and the vendor lists no such asset, active or not.
            VendorError: one of its kinds.
        """
        if symbol.asset_class is not AssetClass.EQUITY:
            raise PermanentVendorError(
                f"{responses.WHO} has no corporate actions of {symbol}", fix="only shares have them"
            )
        name = self._vendor(symbol)
        asked = {
            "symbols": name,
            "types": ",".join(responses.ACTION_TYPES),
            "start": (start - _PROCESSED_BEFORE).isoformat(),
            "end": (end + _PROCESSED_AFTER).isoformat(),
            "limit": str(_ACTIONS_PAGE),
            "sort": "asc",
        }
        read = partial(responses.actions, symbol=name)
        with self._client.transport.measure() as tally:
            rows = await self._client.pages("/v1/corporate-actions", asked, tally, most=_MOST_ACTIONS, read=read)
            if not rows:
                await self._known(name)
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
        kind = _CLASSES.get(self._asset_class, _CLASSES[AssetClass.EQUITY])
        found: dict[str, Instrument] = {}
        for status in ("inactive", "active"):
            listed = responses.instruments(await self._client.assets(kind, status), self._asset_class)
            found |= {item.symbol.code: item for item in listed}
        return [item for _, item in sorted(found.items())]

    def quota_left(self) -> int | None:
        """Calls that the vendor's day still has, for all processes; None where there is no quota."""
        return self._client.transport.quota_left()

    async def aclose(self) -> None:
        """Close connections. The provider can not be used afterwards."""
        if self._made is not None:
            await self._made.aclose()

    # --- how ----------------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> AlpacaClient:
        if self._made is None:
            key, secret = (item if isinstance(item, str) else item() for item in (self._key, self._secret))
            self._made = AlpacaClient(key, secret, self._policy, self._base_url)
        return self._made

    def _vendor(self, symbol: Symbol) -> str:
        spelled = symbol.code.replace("-", "/") if symbol.asset_class is AssetClass.CRYPTO else symbol.code
        return self._vendor_symbols.get(symbol.code, spelled)

    def _asked(self, window: Window, resolution: Resolution) -> Window:
        """Where every bar of an honest answer begins."""
        if resolution.intraday:
            # Whole bars: one that is asked for by half may be made of half its trades.
            return us_market_time.whole_hours(us_market_time.trading_hours(window, self._hours))
        first, last = us_market_time.days_of(window, resolution)
        return Window(us_market_time.midnight(first), us_market_time.midnight(last + _DAY))

    def _most(self, window: Window, resolution: Resolution) -> int:
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
        frame = responses.frame(rows)
        if resolution.intraday:
            frame = us_market_time.in_hours(frame, self._hours, resolution)
        else:
            frame = frame.with_columns(us_market_time.labels(frame["timestamp"], resolution))
        return us_market_time.in_window(frame, window).sort("timestamp", maintain_order=True)

    async def _known(self, name: str) -> None:
        """Tell an asset without trades from one that is none: both are the same empty answer."""
        async with self._asking:
            if name in self._listed:
                return
            if not await self._client.listed(name):
                raise UnknownSymbol(
                    f"{responses.WHO} lists no asset {name}, neither active nor inactive",
                    fix="check the spelling: BRK.B, BAC.PRK, BTC-USD",
                )
            self._listed.add(name)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
