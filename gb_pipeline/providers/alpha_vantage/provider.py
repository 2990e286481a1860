"""This module fetches US equities from Alpha Vantage, for those who have 25 calls a day.

Symbols and windows become queries here. What an answer says is read by `responses`, and `client` remembers it.

One call is a month of intraday bars, or the whole history of longer ones, or all listings. An instance remembers what it was
answered: many windows, and many symbols' listings, cost one call.

Answers are asked for as JSON: half a body is none there, while half a table of CSV is a table. Hours are not offered: whether
those of the regular session begin on the clock or at the open is not documented, and shorter bars make them. Daily bars are
as traded; intraday ones are asked for unadjusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self, Unpack

import polars as pl

from gb_pipeline.config.settings import DailyQuota, RateLimit, SourceSettings
from gb_pipeline.errors import HistoryNotAvailable, NotEntitled, PermanentVendorError, UnknownSymbol
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.fundamental_schema import Statement
from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import RECEIVED, Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers import us_market_time
from gb_pipeline.providers.alpha_vantage import fundamentals, responses
from gb_pipeline.providers.alpha_vantage.client import AlphaVantageClient, Query
from gb_pipeline.providers.alpha_vantage.symbols import spelling
from gb_pipeline.providers.base import (
    ActionsProvider,
    Body,
    Fetched,
    FundamentalsProvider,
    Instrument,
    InstrumentsProvider,
    ListingsProvider,
    SearchProvider,
)
from gb_pipeline.providers.rest import RestArguments, RestProvider, Secret

_INTERVALS = {
    Resolution.MINUTE: "1min",
    Resolution.MINUTE_5: "5min",
    Resolution.MINUTE_15: "15min",
    Resolution.MINUTE_30: "30min",
}
_FUNCTIONS = {
    Resolution.DAY: "TIME_SERIES_DAILY",
    Resolution.WEEK: "TIME_SERIES_WEEKLY",
    Resolution.MONTH: "TIME_SERIES_MONTHLY",
}
# Asked for by name where the whole history is for those who pay.
_COMPACT_ROWS = 100


class AlphaVantageProvider(
    RestProvider, ActionsProvider, FundamentalsProvider, ListingsProvider, InstrumentsProvider, SearchProvider
):
    """Alpha Vantage's query interface.

    Args:
        key: API key, or what gives it.
        extended: ask for intraday bars from 04:00 to 20:00 in New York instead of the regular session.
        hours: regular hours, to which intraday bars are cut; all that come by default.
        rest: as of every `RestProvider`: `base_url`, `policy`, `vendor_symbols`. The quota of a free key holds on loopback too.

    Raises:
        ConfigError: base_url is not on loopback.

    Example:
        >>> provider = AlphaVantageProvider("my key")
        >>> provider.supports(Symbol.equity("AAPL"), Resolution.DAY)
        True
    """

    name, who = "alpha_vantage", responses.WHO
    adjustment, normaliser = Adjustment.RAW, "alpha_vantage/1"
    credentials = ("key",)
    # What a free key may ask, by the vendor's own words.
    rate = RateLimit(calls=1, seconds=1)
    quota = DailyQuota(calls=25, zone="America/New_York")

    def __init__(
        self,
        key: Secret,
        *,
        extended: bool = False,
        hours: Calendar | None = None,
        **rest: Unpack[RestArguments],
    ) -> None:
        """Nothing is sent before the first fetch."""
        super().__init__(key, **rest)
        self._extended, self._hours = extended, hours
        self._compact = False

    @classmethod
    def from_settings(cls, source: SourceSettings, *, state_dir: Path | None = None) -> Self:
        """From gb.yaml: `options: {key: "${ALPHA_VANTAGE_API_KEY}", base_url: http://127.0.0.1:PORT}`; the latter is optional.

        Intraday bars are those of the calendar's regular hours, unless the source has `extended_hours`.

        Raises:
            ConfigError: an unknown option; a missing key is an error of the first request.
        """
        return cls(
            *cls.secrets_of(source),
            extended=source.extended_hours,
            hours=us_market_time.regular_hours(source),
            **cls.arguments_of(source, state_dir),
        )

    # --- bars ---------------------------------------------------------------------------------------------------------

    def supports(self, symbol: Symbol, resolution: Resolution) -> bool:
        """Whether the vendor has such bars, and they are what our resolution means; see the module's first lines."""
        return symbol.asset_class is AssetClass.EQUITY and (resolution in _INTERVALS or resolution in _FUNCTIONS)

    def requests(self, window: Window, resolution: Resolution) -> int:
        """One per month of intraday bars; one for anything longer."""
        return self.requests_together([window], resolution)

    def requests_together(self, windows: Sequence[Window], resolution: Resolution) -> int:
        """How many requests one instance makes for several windows of one symbol: what it was answered it remembers."""
        not_empty = [window for window in windows if not window.empty]
        if resolution not in _INTERVALS:
            return min(len(not_empty), 1)
        return len({month for window in not_empty for month in _months(window)})

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        """All bars whose open lies in the window, sorted, in the vendor's own digits.

        The bar in progress is kept for the quality layer to validate; minutes without trades have no bar.

        Args:
            symbol: `AAPL`, `BRK.B`, or a listing elsewhere in the vendor's spelling, `TSCO.LON`.
            window: any length; `requests` says what it costs.
            resolution: one that `supports` says yes to.

        Raises:
            QuotaExhausted: the calls of the vendor's day are used up.
            UnknownSymbol: the vendor refuses the call, and its search does not find the symbol.
            HistoryNotAvailable: the plan only has the last hundred days, or the vendor has nothing of such a month.
            NotEntitled: the key, or its plan.
            PermanentVendorError: no such bars.
            TransientVendorError: it failed more often than the policy allows, or answered something else.
        """
        self.require_supported(symbol, resolution)
        name, interval = self.spelling(symbol), _INTERVALS.get(resolution)
        frames = []
        with self.transport.measure() as tally:
            for query in self._queries(name, window, resolution):
                body = await self._bars(query, symbol, name)
                frame = responses.bars(body, name, interval=interval, secrets=[self._client.key])
                tally.accept(body)
                if resolution is Resolution.DAY and (self._compact or frame.height == _COMPACT_ROWS):
                    _refuse_truncated(frame, window, symbol)
                frames.append(frame)
        return tally.fetched(self._frame(frames, window, resolution))

    def normalise(self, symbol: Symbol, window: Window, resolution: Resolution, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_bars` out of the bodies that it received, JSON or CSV, without the vendor.

        Raises:
            VendorError: as `fetch_bars` does for such bodies.
        """
        name, interval = self.spelling(symbol), _INTERVALS.get(resolution)
        return self._frame([responses.bars(body, name, interval=interval) for body in bodies], window, resolution)

    # --- corporate actions and listings -------------------------------------------------------------------------------

    async def fetch_corporate_actions(self, symbol: Symbol, start: date, end: date) -> Fetched:
        """Splits, cash dividends, listing and delisting of a share with an ex date in [start, end).

        Four calls for the first symbol, two for every other one: the two lists of listings are remembered. The day of a
        delisting is the one that the vendor names; whether it is the last with trades it does not say.

        Raises:
            UnknownSymbol: the vendor lists no such symbol, active or not.
            VendorError: one of its kinds.
        """
        self.require_equity(symbol)
        name, client = self.spelling(symbol), self._client
        with self.transport.measure() as tally:
            # Of a symbol that it does not know it says that nothing ever happened.
            item = (await client.listings(tally)).get(symbol.code)
            if item is None:
                raise _unknown_symbol(symbol)
            frames = [responses.listing(item)]
            for function, read in (("SPLITS", responses.splits), ("DIVIDENDS", responses.dividends)):
                body = await client.answer((("function", function), ("symbol", name)))
                frames.append(read(responses.payload(body, secrets=[client.key]), name))
                tally.accept(body)
        inside = (pl.col("ex_date") >= start) & (pl.col("ex_date") < end)
        return tally.fetched(pl.concat(frames).filter(inside).sort("ex_date", "kind", maintain_order=True))

    async def instruments(self, *, turnover: bool = False) -> list[Instrument]:
        """Every share and fund of the US venues, active or delisted, by canonical code; of a reused code the newest owner.

        Args:
            turnover: has no effect: the vendor's list has none.

        Raises:
            VendorError: the list cannot be had.
        """
        del turnover
        with self.transport.measure() as tally:
            return [item for _, item in sorted((await self._client.listings(tally)).items())]

    async def search(self, text: str) -> list[Instrument]:
        """What the vendor finds in the United States, best first.

        Raises:
            VendorError: one of its kinds.
        """
        with self.transport.measure():
            return await self._client.search(text)

    # --- companies ----------------------------------------------------------------------------------------------------

    def fundamentals_requests(self, statements: Sequence[Statement]) -> int:
        """One per statement."""
        return len(statements)

    async def fetch_fundamentals(self, symbol: Symbol, statements: Sequence[Statement]) -> Fetched:
        """Everything that the vendor has of some statements of a company, in its own digits.

        Of a fund, and of a company that has not reported yet, the vendor has nothing, which is no error. Two more calls tell that
        from a symbol that it does not know.

        Args:
            symbol: of a share.
            statements: what is asked for, one call each.

        Raises:
            UnknownSymbol: the vendor has nothing of it and does not list it.
            VendorError: one of its kinds.
        """
        self.require_equity(symbol)
        name, client, answers = self.spelling(symbol), self._client, []
        with self.transport.measure() as tally:
            for statement in statements:
                body = await client.answer((("function", fundamentals.FUNCTIONS[statement]), ("symbol", name)))
                answers.append(responses.payload(body, secrets=[client.key]))
                tally.accept(body)
            frame = fundamentals.read_answers(answers, name)
            if frame.is_empty():
                listed = fundamentals.read_listings(await client.listing_bodies(), [client.key])
                if name.upper() not in listed["vendor_symbol"].str.to_uppercase().to_list():
                    raise _unknown_symbol(symbol)
        return tally.fetched(frame)

    def normalise_fundamentals(self, symbol: Symbol, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_fundamentals` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_fundamentals` does for such bodies.
        """
        return fundamentals.read_answers([responses.payload(body) for body in bodies], self.spelling(symbol))

    async def fetch_listings(self, on: date | None = None) -> Fetched:
        """Everything that the vendor lists and listed on the US venues: two calls.

        Args:
            on: as its list was on this day, from 2010 on; the newest by default.

        Raises:
            VendorError: the list cannot be had.
        """
        with self.transport.measure() as tally:
            bodies = await self._client.listing_bodies(on)
            for body in bodies:
                tally.accept(body)
        return tally.fetched(fundamentals.read_listings(bodies, [self._client.key]))

    def normalise_listings(self, bodies: Sequence[Body]) -> pl.DataFrame:
        """The frame of `fetch_listings` out of the bodies that it received, without the vendor.

        Raises:
            VendorError: as `fetch_listings` does for such bodies.
        """
        return fundamentals.read_listings(bodies)

    # --- how ----------------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> AlphaVantageClient:
        return AlphaVantageClient(self.http, self.secret("key"))

    def derived_spelling(self, symbol: Symbol) -> str:
        """With hyphens for classes and preferred shares; see `symbols.spelling`."""
        return spelling(symbol.code)

    def _queries(self, name: str, window: Window, resolution: Resolution) -> list[Query]:
        if window.empty:
            return []
        if resolution not in _INTERVALS:
            size = (("outputsize", "compact" if self._compact else "full"),) if resolution is Resolution.DAY else ()
            return [(("function", _FUNCTIONS[resolution]), ("symbol", name), *size)]
        query = (
            ("function", "TIME_SERIES_INTRADAY"),
            ("symbol", name),
            ("interval", _INTERVALS[resolution]),
            ("adjusted", "false"),
            ("extended_hours", str(self._extended).lower()),
            ("outputsize", "full"),
        )
        return [(*query, ("month", month)) for month in _months(window)]

    async def _bars(self, query: Query, symbol: Symbol, name: str) -> bytes:
        try:
            return await self._client.answer(query)
        except NotEntitled:
            # The whole history of days is for those who pay; the last hundred are for all.
            if ("outputsize", "full") not in query or ("function", "TIME_SERIES_DAILY") not in query:
                raise
            compact = tuple((key, "compact" if key == "outputsize" else value) for key, value in query)
            body = await self._client.answer(compact)
            self._compact = True
            return body
        except responses.NotServed as error:
            raise await self._explain(error, dict(query), symbol, name) from None

    async def _explain(
        self, error: PermanentVendorError, query: Mapping[str, str], symbol: Symbol, name: str
    ) -> PermanentVendorError:
        """The vendor does not say whether it knows the symbol; its search does."""
        matches = await self._client.search(name)
        if all(item.vendor.upper() != name.upper() and item.symbol.code != symbol.code for item in matches):
            return _unknown_symbol(symbol)
        if "month" in query:
            return HistoryNotAvailable(
                f"{responses.WHO} has no bars of {symbol} in {query['month']}",
                fix="begin later, or choose another source",
            )
        return error

    def _frame(self, frames: Sequence[pl.DataFrame], window: Window, resolution: Resolution) -> pl.DataFrame:
        frame = pl.concat([pl.DataFrame(schema=RECEIVED), *frames])
        stamp = pl.col("timestamp")
        if resolution is Resolution.WEEK:
            # Stamped with the last session of the week, and of the month.
            frame = frame.with_columns(stamp.dt.truncate("1w"))
        elif resolution is Resolution.MONTH:
            frame = frame.with_columns(stamp.dt.truncate("1mo"))
        elif resolution.intraday:
            frame = us_market_time.in_hours(frame, self._hours, resolution)
        return us_market_time.in_window(frame, window).sort("timestamp", maintain_order=True)


def _months(window: Window) -> list[str]:
    """Months of New York that the window touches, as `2024-01`, oldest first."""
    first, last = (
        moment.astimezone(us_market_time.NEW_YORK).date() for moment in (window.start, window.end - MICROSECOND)
    )
    count = (last.year - first.year) * 12 + last.month - first.month
    return [
        f"{first.year + (first.month - 1 + n) // 12}-{(first.month - 1 + n) % 12 + 1:02d}" for n in range(count + 1)
    ]


def _refuse_truncated(frame: pl.DataFrame, window: Window, symbol: Symbol) -> None:
    oldest: Any = frame["timestamp"].min()
    if frame.height >= _COMPACT_ROWS and isinstance(oldest, datetime) and oldest > window.start:
        raise HistoryNotAvailable(
            f"{responses.WHO} serves this key the last {_COMPACT_ROWS} days of {symbol} only, from {oldest.date()} on",
            first=oldest,
            fix="the whole history needs a paid plan; or choose another source for what is older",
        )
    # The whole history was asked for, and the number of rows is that of a part.
    newest: Any = frame["timestamp"].max()
    if frame.height == _COMPACT_ROWS and isinstance(newest, datetime) and newest < window.start:
        raise PermanentVendorError(
            f"{responses.WHO} answered {_COMPACT_ROWS} days of {symbol} that end on {newest.date()}: part of a history",
            fix="fetch again; if it was delisted then, set the symbol's `listed_until`",
        )


def _unknown_symbol(symbol: Symbol) -> UnknownSymbol:
    return UnknownSymbol(f"{responses.WHO} does not list {symbol}", fix="look for it: gb symbols search")
