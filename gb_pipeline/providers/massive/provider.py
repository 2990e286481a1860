"""Massive, formerly Polygon.io: US shares, pairs of currencies and coins.

Belongs here: symbols and windows to requests, pages to one answer. Does not belong here: what an answer says
(`responses`), repeats (`http.transport`).

Intraday bars are asked for a month at a time: the vendor's `limit` counts the minutes that a bar is made of, and longer
requests have gaps. Bars of two and four hours are not offered: whether they begin on the clock's even hours or on the hour
that was asked for is not documented. Neither are weeks of coins, which begin on Sunday here, nor days of currencies, which
are no sessions from 17:00 to 17:00; all of these can be made of shorter bars.

Hours of shares begin on the clock, so the one that holds the open also holds trades from before it.

A plan with delayed data answers DELAYED and leaves the newest minutes out: its sources need `settle_minutes` above the delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers import us_market_time
from gb_pipeline.providers.base import Body, Fetched, Instrument
from gb_pipeline.providers.http.client import loopback
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.responses import read_json
from gb_pipeline.providers.http.transport import Tally
from gb_pipeline.providers.massive import responses
from gb_pipeline.providers.massive.client import RATE, MassiveClient
from gb_pipeline.providers.massive.responses import Row
from gb_pipeline.providers.massive.symbols import ticker

_OPTIONS = frozenset({"key", "base_url"})
_SPANS = {
    Resolution.MINUTE: (1, "minute"),
    Resolution.MINUTE_5: (5, "minute"),
    Resolution.MINUTE_15: (15, "minute"),
    Resolution.MINUTE_30: (30, "minute"),
    Resolution.HOUR: (1, "hour"),
    Resolution.DAY: (1, "day"),
    Resolution.WEEK: (1, "week"),
    Resolution.MONTH: (1, "month"),
}
_MARKETS = {AssetClass.EQUITY: "stocks", AssetClass.CRYPTO: "crypto", AssetClass.FOREX: "fx"}
# 31 days of minutes around the clock are 44,640 base aggregates, within the largest limit.
_LIMIT = 50_000
_CHUNK = timedelta(days=31)
_MINUTE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UTC_ZONE = ZoneInfo("UTC")


class MassiveProvider:
    """Massive's REST interface.

    An instance serves any number of symbols at once, within one event loop; close it with `aclose`.

    Args:
        key: API key, or what gives it: plans and kept answers are read without one, so it is only missed by a request.
        base_url: `http://127.0.0.1:PORT` of a simulated vendor; the real one by default.
        policy: patience and pace; five requests a minute where the policy sets no pace, and no pace on loopback.
        hours: regular hours of the shares' market, to which intraday bars are cut; all bars by default, from 04:00 to
            20:00 in New York.
        asset_class: what `instruments` lists.
        vendor_symbols: canonical code to ticker, where it cannot be derived.

    Raises:
        ConfigError: base_url is not on loopback.

    Example:
        >>> provider = MassiveProvider("my key")
        >>> provider.supports(Symbol.equity("AAPL"), Resolution.MINUTE)
        True
    """

    credentials = ("key",)

    def __init__(
        self,
        key: str | Callable[[], str],
        *,
        base_url: str | None = None,
        policy: Policy | None = None,
        hours: Calendar | None = None,
        asset_class: AssetClass = AssetClass.EQUITY,
        vendor_symbols: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is sent before the first fetch."""
        self.name = "massive"
        self.adjustment = Adjustment.RAW
        self.normaliser = "massive/1"
        self._key, self._policy = key, policy or Policy()
        self._base_url = loopback(base_url) if base_url else None
        self._made: MassiveClient | None = None
        self._hours = hours
        self._asset_class = asset_class
        self._vendor_symbols = dict(vendor_symbols or {})
        self._listed: set[str] = set()
        self._asking = asyncio.Lock()

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> MassiveProvider:
        """From gb.yaml: `options: {key: "${MASSIVE_API_KEY}", base_url: http://127.0.0.1:PORT}`; the latter is optional.

        Intraday bars of shares are cut to the calendar's regular hours, unless the source has `extended_hours`.

        Args:
            source: the source.
            state_dir: folder of the pace that all processes on this machine share.

        Raises:
            ConfigError: an unknown option; a missing key is an error of the first request.
        """
        source.only_options(*_OPTIONS)
        return cls(
            partial(source.credential, "key"),
            base_url=source.option("base_url"),
            policy=Policy.of(source, rate=None, state_dir=state_dir),
            hours=us_market_time.regular_hours(source),
            asset_class=source.asset_class,
            vendor_symbols=source.vendor_symbols,
        )

    # --- bars ---------------------------------------------------------------------------------------------------------

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars, and they are what our resolution means; see the module's first lines."""
        if resolution not in _SPANS or symbol.asset_class not in _MARKETS or symbol.code.endswith("-PERP"):
            return False
        if symbol.asset_class is AssetClass.CRYPTO:
            return resolution is not Resolution.WEEK
        return symbol.asset_class is AssetClass.EQUITY or resolution.intraday

    @property
    def policy(self) -> Policy:
        """Patience and pace that hold; for plans."""
        return self._policy.with_defaults(rate=None if self._base_url else RATE)

    def requests(self, window: Window, resolution: Resolution) -> int:
        """One per month of intraday bars; one for anything longer."""
        return len(list(self._chunks(window, resolution)))

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        Duplicates, rows whose time cannot be read and the bar in progress are kept for the quality layer to judge. Minutes
        without eligible trades have no bar.

        Args:
            symbol: `AAPL`, `BRK.B`, `BAC.PRK`, a pair `BTC-USD` or `EUR-USD`.
            window: any length; it is fetched month after month.
            resolution: one that `supports` says yes to.

        Raises:
            UnknownSymbol: nothing came, and the vendor lists no such ticker, active or not.
            NotEntitled: the plan does not cover this market or these years.
            PermanentVendorError: no such bars, or adjusted ones.
            TransientVendorError: it failed more often than the policy allows, or answered something else.
        """
        name = self._ticker(symbol)
        if not self.supports(symbol, resolution):
            raise PermanentVendorError(
                f"{responses.WHO} has no bars of {resolution} of {symbol}", fix="make them of shorter ones"
            )
        multiplier, span = _SPANS[resolution]
        path = f"/v2/aggs/ticker/{name}/range/{multiplier}/{span}/"
        asked = {"adjusted": "false", "sort": "asc", "limit": str(_LIMIT)}
        read = responses.Bars(name, self._asked(window, resolution)).read
        rows: list[Row] = []
        with self._client.transport.measure() as tally:
            for start, end, most in self._chunks(window, resolution):
                rows += await self._client.pages(
                    f"{path}{start}/{end}", asked, tally, prefix=path, most=most, read=read
                )
            if not rows and not window.empty:
                await self._known(name)
        return tally.fetched(self._frame(rows, symbol, window, resolution))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_bars` does for such bodies.
        """
        read = responses.Bars(self._ticker(symbol), self._asked(window, resolution)).read
        rows: list[Row] = []
        for body in bodies:
            payload = read_json(responses.WHO, 200, "", body.decode("utf-8", errors="replace"))
            rows += read(responses.checked(payload))
        return self._frame(rows, symbol, window, resolution)

    # --- corporate actions and listings -------------------------------------------------------------------------------

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """Splits, cash dividends, listing and delisting of a share with an ex date in [start, end).

        The day of a delisting is the first one without trading.

        Raises:
            UnknownSymbol: the vendor lists no such ticker, active or not.
            VendorError: one of its kinds.
        """
        if symbol.asset_class is not AssetClass.EQUITY:
            raise PermanentVendorError(
                f"{responses.WHO} has no corporate actions of {symbol}", fix="only shares have them"
            )
        name = self._ticker(symbol)
        with self._client.transport.measure() as tally:
            splits = await self._client.list(
                "splits", {"ticker": name, **_between("execution_date", start, end)}, tally
            )
            paid = await self._client.list(
                "dividends", {"ticker": name, **_between("ex_dividend_date", start, end)}, tally
            )
            record = await self._client.record(name, tally)
        frames = [responses.splits(splits, name), responses.dividends(paid, name), responses.listing(record)]
        inside = (pl.col("ex_date") >= start) & (pl.col("ex_date") < end)
        return tally.fetched(pl.concat(frames).filter(inside).sort("ex_date", "kind", "label", maintain_order=True))

    async def instruments(self, *, turnover: bool = False) -> list[Instrument]:
        """Every ticker of the source's market, active or delisted, by canonical code; of a reused code the newest owner.

        Args:
            turnover: has no effect: the vendor's list has none.

        Raises:
            VendorError: the list cannot be had.
        """
        del turnover
        found: dict[str, Instrument] = {}
        with self._client.transport.measure() as tally:
            for active in (False, True):
                asked = {"market": _MARKETS[self._asset_class], "active": str(active).lower(), "sort": "ticker"}
                for row in await self._client.list("tickers", asked, tally):
                    item = responses.instrument(row, self._asset_class)
                    if item is not None and (active or _newer(item, found.get(item.symbol.code))):
                        found[item.symbol.code] = item
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
    def _client(self) -> MassiveClient:
        if self._made is None:
            key = self._key if isinstance(self._key, str) else self._key()
            self._made = MassiveClient(key, self._policy, self._base_url)
        return self._made

    def _ticker(self, symbol: Symbol) -> str:
        return self._vendor_symbols.get(symbol.code) or ticker(symbol)

    def _chunks(self, window: Window, resolution: Resolution) -> Iterator[tuple[str, str, int]]:
        """First and last instant or day as the vendor wants them, both inclusive, and how many minutes or days that is."""
        if not resolution.intraday:
            if not window.empty:
                first, last = us_market_time.days_of(window, resolution)
                yield first.isoformat(), last.isoformat(), (last - first).days + 1
            return
        window = self._asked(window, resolution)
        start = window.start
        while start < window.end:
            stop = min(window.end, start + _CHUNK)
            yield _milliseconds(start), _milliseconds(stop - _MILLISECOND), (stop - start) // _MINUTE
            start = stop

    def _asked(self, window: Window, resolution: Resolution) -> Window:
        """Where every bar of an honest answer begins."""
        if resolution.intraday:
            return us_market_time.whole_hours(us_market_time.trading_hours(window, self._hours))
        first, last = us_market_time.days_of(window, resolution)
        return Window.of(first, last + timedelta(days=2))

    def _frame(self, rows: Sequence[Row], symbol: Symbol, window: Window, resolution: Resolution) -> pl.DataFrame:
        frame = responses.frame(rows)
        if resolution.intraday:
            frame = us_market_time.in_hours(frame, self._hours, resolution)
        else:
            zone = us_market_time.NEW_YORK if symbol.asset_class is AssetClass.EQUITY else _UTC_ZONE
            frame = frame.with_columns(us_market_time.labels(frame["timestamp"], resolution, zone))
        return us_market_time.in_window(frame, window).sort("timestamp", maintain_order=True)

    async def _known(self, name: str) -> None:
        """Tell a ticker without trades from one that is none: both are the same empty answer."""
        async with self._asking:
            if name not in self._listed:
                await self._client.listing(name, Tally())
                self._listed.add(name)


def _between(name: str, start: date, end: date) -> dict[str, str]:
    return {f"{name}.gte": start.isoformat(), f"{name}.lt": end.isoformat(), "sort": name}


def _milliseconds(moment: datetime) -> str:
    return str((moment - _EPOCH) // _MILLISECOND)


def _newer(item: Instrument, known: Instrument | None) -> bool:
    if known is None or known.listed_until is None:
        return True
    return item.listed_until is not None and item.listed_until > known.listed_until
