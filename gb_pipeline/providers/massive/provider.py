"""This module fetches US equities, forex and crypto from Massive, formerly Polygon.io.

Symbols and windows become requests here, and pages one frame. What an answer says is read by `responses`, and `client` goes from
page to page.

Intraday bars are asked for a month at a time: the vendor's `limit` counts the minutes that a bar is made of, and longer
requests have gaps. Bars of two and four hours are not offered: whether they begin on the clock's even hours or on the hour
that was asked for is not documented. Neither are weeks of crypto, which begin on Sunday here, nor days of forex, which
are no sessions from 17:00 to 17:00; all of these can be made of shorter bars.

Hours of equities begin on the clock, so the one that holds the open also holds trades from before it.

A plan with delayed data answers DELAYED and leaves the newest minutes out: its sources need `settle_minutes` above the delay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Self, Unpack
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.config.settings import RateLimit, SourceSettings
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.moments import EPOCH
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers import us_market_time
from gb_pipeline.providers.base import (
    ActionsProvider,
    Body,
    Fetched,
    Instrument,
    InstrumentsProvider,
    SymbolHistoryProvider,
)
from gb_pipeline.providers.http.transport import Tally
from gb_pipeline.providers.massive import responses
from gb_pipeline.providers.massive.client import MassiveClient
from gb_pipeline.providers.massive.symbols import ticker
from gb_pipeline.providers.records import Row
from gb_pipeline.providers.rest import RestArguments, RestProvider, Secret

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
# What a page holds where nothing else is asked for, or allowed.
_LEAST_PAGE = 5000
_CHUNK = timedelta(days=31)
_MINUTE = timedelta(minutes=1)
_MILLISECOND = timedelta(milliseconds=1)
_UTC_ZONE = ZoneInfo("UTC")


class MassiveProvider(RestProvider, ActionsProvider, InstrumentsProvider, SymbolHistoryProvider):
    """Massive's REST interface.

    Args:
        key: API key, or what gives it.
        hours: regular hours of the shares' market, to which intraday bars are cut; all bars by default, from 04:00 to
            20:00 in New York.
        asset_class: what `instruments` lists.
        rest: as of every `RestProvider`: `base_url`, `policy`, `vendor_symbols`.

    Raises:
        ConfigError: base_url is not on loopback.

    Example:
        >>> provider = MassiveProvider("my key")
        >>> provider.supports(Symbol.equity("AAPL"), Resolution.MINUTE)
        True
    """

    name, who = "massive", responses.WHO
    adjustment, normaliser = Adjustment.RAW, "massive/1"
    credentials = ("key",)
    # Of the free plan; paid plans have none, and say so with `rate_limit`.
    rate = RateLimit(calls=5, seconds=60)

    def __init__(
        self,
        key: Secret,
        *,
        hours: Calendar | None = None,
        asset_class: AssetClass = AssetClass.EQUITY,
        **rest: Unpack[RestArguments],
    ) -> None:
        """Nothing is sent before the first fetch."""
        super().__init__(key, **rest)
        self._hours = hours
        self._asset_class = asset_class

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Self:
        """From gb.yaml: `options: {key: "${MASSIVE_API_KEY}", base_url: http://127.0.0.1:PORT}`; the latter is optional.

        Intraday bars of shares are cut to the calendar's regular hours, unless the source has `extended_hours`.

        Raises:
            ConfigError: an unknown option; a missing key is an error of the first request.
        """
        return cls(
            *cls.secrets_of(source),
            hours=us_market_time.regular_hours(source),
            asset_class=source.asset_class,
            **cls.arguments_of(source, state_dir),
        )

    def headers(self) -> Mapping[str, str]:
        """The key."""
        return {"Authorization": f"Bearer {self.secret('key')}"}

    # --- bars ---------------------------------------------------------------------------------------------------------

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars, and they are what our resolution means; see the module's first lines."""
        if resolution not in _SPANS or symbol.asset_class not in _MARKETS or symbol.code.endswith("-PERP"):
            return False
        if symbol.asset_class is AssetClass.CRYPTO:
            return resolution is not Resolution.WEEK
        return symbol.asset_class is AssetClass.EQUITY or resolution.intraday

    def requests(self, window: Window, resolution: Resolution) -> int:
        """One per month of intraday bars; one for anything longer."""
        return len(list(self._chunks(window, resolution)))

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        Duplicates, rows whose time cannot be read and the bar in progress are kept for the quality layer to validate. Minutes
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
        self.require_supported(symbol, resolution)
        name = self.spelling(symbol)
        multiplier, span = _SPANS[resolution]
        path = f"/v2/aggs/ticker/{name}/range/{multiplier}/{span}/"
        query = {"adjusted": "false", "sort": "asc", "limit": str(_LIMIT)}
        read = responses.Bars(name, self._request_window(window, resolution)).read
        rows: list[Row] = []
        with self.transport.measure() as tally:
            for start, end, most in self._chunks(window, resolution):
                first = start
                while True:
                    more = await self._client.pages(
                        f"{path}{first}/{end}", query, tally, prefix=path, most=most, read=read
                    )
                    rows += more
                    newest = max((row["t"] for row in more if type(row.get("t")) is int), default=None)
                    # As many as a page holds, and no next one: whether that was the end, only the next question tells.
                    if newest is None or len(more) % _LEAST_PAGE:
                        break
                    following = self._following(newest, symbol, resolution)
                    if following is None or (len(following), following) > (len(end), end):
                        break
                    first = following
            if not rows and not window.empty:
                await self.require_listed(name)
        return tally.fetched(self._frame(rows, symbol, window, resolution))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_bars` does for such bodies.
        """
        read = responses.Bars(self.spelling(symbol), self._request_window(window, resolution)).read
        rows = [row for body in bodies for row in read(responses.check_status(self.read_body(body)))]
        return self._frame(rows, symbol, window, resolution)

    # --- corporate actions and listings -------------------------------------------------------------------------------

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """Splits, cash dividends, listing and delisting of a share with an ex date in [start, end).

        The day of a delisting is the first one without trading.

        Raises:
            UnknownSymbol: the vendor lists no such ticker, active or not.
            VendorError: one of its kinds.
        """
        self.require_equity(symbol)
        name = self.spelling(symbol)
        with self.transport.measure() as tally:
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
        by_code: dict[str, Instrument] = {}
        with self.transport.measure() as tally:
            for active in (False, True):
                query = {"market": _MARKETS[self._asset_class], "active": str(active).lower(), "sort": "ticker"}
                for row in await self._client.list("tickers", query, tally):
                    item = responses.instrument(row, self._asset_class)
                    if item is not None and (active or _newer(item, by_code.get(item.symbol.code))):
                        by_code[item.symbol.code] = item
        return [item for _, item in sorted(by_code.items())]

    async def symbol_history(self, symbol: Symbol) -> list[Instrument]:
        """Every ticker that an instrument has had, oldest first; of one whose changes the vendor does not tell, its present one.

        Raises:
            UnknownSymbol: the vendor lists no such ticker, active or not.
            VendorError: one of its kinds.
        """
        name = self.spelling(symbol)
        with self.transport.measure() as tally:
            record = await self._client.record(name, tally)
            changes = await self._client.ticker_changes(name, tally) if symbol.asset_class is AssetClass.EQUITY else []
        return responses.symbol_history(record, changes, symbol.asset_class)

    # --- how ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> MassiveClient:
        return MassiveClient(self.http)

    def derived_spelling(self, symbol: Symbol) -> str:
        """The ticker; see `symbols.ticker`."""
        return ticker(symbol)

    async def look_up(self, name: str) -> None:
        """Ask for a ticker's record: one without trades has the same empty answer as none.

        Raises:
            UnknownSymbol: there is none.
        """
        await self._client.listing(name, Tally())

    def _chunks(self, window: Window, resolution: Resolution) -> Iterator[tuple[str, str, int]]:
        """First and last instant or day as the vendor wants them, both inclusive, and how many minutes or days that is."""
        if not resolution.intraday:
            if not window.empty:
                first, last = us_market_time.days_of(window, resolution)
                yield first.isoformat(), last.isoformat(), (last - first).days + 1
            return
        window = self._request_window(window, resolution)
        start = window.start
        while start < window.end:
            stop = min(window.end, start + _CHUNK)
            yield _milliseconds(start), _milliseconds(stop - _MILLISECOND), (stop - start) // _MINUTE
            start = stop

    def _following(self, newest: int, symbol: Symbol, resolution: Resolution) -> str | None:
        """Where the bar after one begins, as the vendor wants it: texts of one length sort as what they mean.

        None for weeks and months, of which no page is ever full.
        """
        if resolution.intraday and resolution.duration is not None:
            # The vendor begins with the bar that an instant lies in.
            return str(newest + resolution.duration // _MILLISECOND)
        if resolution is not Resolution.DAY:
            return None
        zone = us_market_time.NEW_YORK if symbol.asset_class is AssetClass.EQUITY else _UTC_ZONE
        day = (EPOCH + newest * _MILLISECOND).astimezone(zone).date()
        return (day + timedelta(days=1)).isoformat()

    def _request_window(self, window: Window, resolution: Resolution) -> Window:
        """Where every bar of an honest answer begins."""
        if resolution.intraday:
            return us_market_time.whole_hours(us_market_time.trading_hours(window, self._hours))
        first, last = us_market_time.days_of(window, resolution)
        return Window.of(first, last + timedelta(days=2))

    def _frame(self, rows: Sequence[Row], symbol: Symbol, window: Window, resolution: Resolution) -> pl.DataFrame:
        zone = us_market_time.NEW_YORK if symbol.asset_class is AssetClass.EQUITY else _UTC_ZONE
        return us_market_time.bars_in(responses.frame(rows), window, resolution, self._hours, zone)


def _between(name: str, start: date, end: date) -> dict[str, str]:
    return {f"{name}.gte": start.isoformat(), f"{name}.lt": end.isoformat(), "sort": name}


def _milliseconds(moment: datetime) -> str:
    return str((moment - EPOCH) // _MILLISECOND)


def _newer(item: Instrument, other: Instrument | None) -> bool:
    if other is None or other.listed_until is None:
        return True
    return item.listed_until is not None and item.listed_until > other.listed_until
