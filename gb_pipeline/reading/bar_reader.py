"""`BarReader`, the methods of a lake that return prices. `request` says how a question is answered.

What is made of bars beyond that, in other shapes, is computed in `resampled` and `shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.joins import align
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading import shapes
from gb_pipeline.reading.arguments import Moment, Symbols, between, moment, named_symbols
from gb_pipeline.reading.context import Context, collect_request, plan_request
from gb_pipeline.reading.execute import scan_plan, to_arrow
from gb_pipeline.reading.price_adjustment import PriceAdjustment
from gb_pipeline.reading.request import Request, make_request, refuse_options
from gb_pipeline.reading.resampled import resampled_bars

if TYPE_CHECKING:
    import pandas as pd

    from gb_pipeline.config.source_facts import SourceFacts


class BarReader:
    """Bars of a lake, as frames, lazily, as Arrow tables, and in the shapes that research uses."""

    _context: Context

    @property
    def source_facts(self) -> tuple[SourceFacts, ...]:
        """What is known of the sources, such as their calendars; the one that is asked first at the beginning."""
        return tuple(self._context.facts())

    def bars(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | PriceAdjustment | None = None,
        settled_only: bool = False,
        resample: Resolution | str | None = None,
        calendar: Calendar | str | None = None,
    ) -> pl.DataFrame:
        """Bars as a frame, sorted by symbol and timestamp, each bar once.

        Args:
            symbols: one or several; None for every symbol of the source. A symbol without a bar in the range is left out
                as long as another one has some.
            resolution: such as `1m`.
            start, end: half-open range of bar opens; see `arguments.moment` for what a moment can be (`"2024-01-02"`, `"-7d"`).
            source: where several have the symbol and none is named, each UTC day of a symbol comes whole from the first one, in
                the order of priority, that has a bar on it; the column `source` says which.
            columns: some of `source, symbol, timestamp, open, high, low, close, volume, trade_count, vwap, known_at`, in
                this order; these by default. Fewer are read faster. Further ones, about the version of a bar: `withdrawn` (true
                where the vendor no longer returns it), `fetched_at`, `superseded_at` (null: what is read holds, now or at `as_of`).
            as_of: read what was known at this moment: bars that came later are absent, bars that were restated later have
                their old content. An answer is final for every moment up to the newest commit.
            as_float: prices and volumes as Float64, each the float nearest to the stored decimal.
            adjustment: what is done to prices and volumes. None gives them as they are stored (`Lake.symbols` and the
                catalog's `adjustment` say how), and refuses an answer in which a split has reached only some of the bars.
                `none` gives prices as traded, `splits` prices that all splits known so far are in (known at `as_of`, where
                it is given), both by the vendor's own splits and exact where eight decimals hold the result, else rounded
                half to even. A bar of an ex date or later is never touched by that split. `splits+dividends` reinvests cash
                dividends as well, at the close of their ex dates (total return). `PriceAdjustment` has what else can be
                chosen: another price, prices adjusted forwards, splits and dividends as they were known at a moment.
            settled_only: leave out provisional bars: those that became known, or changed, less than the source's settle lag
                before now, or `as_of` (see `Lake.settled`). A longer bar with a provisional one in it is left out.
            resample: make longer bars of these, exactly, by the sessions of the source's calendar. `start` and `end` are a range
                of their opens, and each is made of all bars that are stored for it, also of those outside of the range. A bar
                that has not ended yet (at `as_of`, where it is given) is left out.
            calendar: for `resample`; by default the one of the source in gb.yaml, as the lake knows it, else 24/7.

        Returns:
            `timestamp` and `known_at` Datetime us UTC; numbers Decimal(18,8), or Decimal(38,18) where files of a source
            with wide precision take part; `trade_count` Int64; `trade_count` and `vwap` null where the vendor has none.

        Raises:
            UnknownSeries: nothing is stored under this name; `near` lists what resembles it.
            NoDataInRange: no bar in the range; `available` says what there is.
            ReadError: `adjustment` cannot be had, because the corporate actions were never fetched, for example; or sources with
                different adjustments would answer.
            WindowRefused: rows that cannot be resampled, for example outside of the calendar's trading hours.
            NaiveTimestamp: a time of day without a zone.

        Example:
            >>> lake.bars(["BTC-USD", "ETH-USD"], "1d", "2024-01-01", columns=["symbol", "timestamp", "close"])
        """
        request = self._request(symbols, resolution, start, end, source, columns, as_of, adjustment, settled_only)
        coarse = None if resample is None else Resolution.parse(resample)
        if coarse is not None and coarse is not request.question.resolution:
            return resampled_bars(self._context, request, coarse, calendar, as_float=as_float)
        return collect_request(self._context, request, as_float=as_float)[0]

    def scan_bars(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | PriceAdjustment | None = None,
        settled_only: bool = False,
    ) -> pl.LazyFrame:
        """The same lazily: filters, columns and aggregations that follow are pushed down into the files.

        The files are those of the commit at the time of the call; collect it before old files are vacuumed. A range
        without a bar gives an empty frame when it is collected; unknown names are refused at once, as in `bars`.

        Example:
            >>> lake.scan_bars("BTC-USD", "1m").group_by_dynamic("timestamp", every="1h").agg(pl.col("close").last()).collect()
        """
        request = self._request(symbols, resolution, start, end, source, columns, as_of, adjustment, settled_only)
        plan, names = plan_request(self._context, request)
        return scan_plan(plan, names, as_float=as_float)

    def arrow(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: Moment | None = None,
        as_float: bool = False,
        adjustment: str | PriceAdjustment | None = None,
        settled_only: bool = False,
    ) -> pa.Table:
        """The same as an Arrow table, with timestamps as `timestamp[ns, UTC]`.

        Raises:
            ReadError: a bar lies outside 1677 to 2262, where nanoseconds of 64 bits end; and what `bars` raises.
        """
        request = self._request(symbols, resolution, start, end, source, columns, as_of, adjustment, settled_only)
        frame, precision = collect_request(self._context, request, as_float=as_float)
        return to_arrow(frame, precision, as_float=as_float)

    def pandas(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Bars as a pandas frame of floats, with the bars' opens as a `DatetimeIndex` named `timestamp`, in UTC.

        Args:
            symbols, resolution, start, end: as in `bars`.
            options: keywords of `bars`; `as_float` is always true.

        Returns:
            The columns of `bars` but `timestamp`; prices and volumes float64, each the float nearest to the stored decimal.

        Raises:
            ConfigError: pandas is not installed; and what `bars` raises.

        Example:
            >>> lake.pandas("AAPL", "1d", "2024-01-01")["close"].rolling(20).mean()
        """
        refuse_options(options, "as_float")
        if options.get("columns") is not None:
            options["columns"] = shapes.with_index(options["columns"])
        return shapes.to_pandas(self.bars(symbols, resolution, start, end, as_float=True, **options))

    def wide(
        self,
        column: str,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_float: bool = True,
        **options: Any,
    ) -> pl.DataFrame:
        """One column of bars as a table: a row per timestamp, a column per symbol.

        Args:
            column: such as `close`.
            symbols, resolution, start, end: as in `bars`.
            as_float: Float64; False for exact decimals.
            options: further keywords of `bars`.

        Returns:
            `timestamp` (Datetime us UTC), sorted, and a column per symbol in the order in which they were named (by name where
            none was); null where a symbol has no bar.

        Raises:
            ConfigError: there is no such column of a bar; and what `bars` raises.

        Example:
            >>> lake.wide("close", ["BTC-USD", "ETH-USD"], "1d", "-30d").columns
            ['timestamp', 'BTC-USD', 'ETH-USD']
        """
        refuse_options(options, "columns")
        frame = self.bars(
            symbols,
            resolution,
            start,
            end,
            columns=shapes.wide_columns(column),
            as_float=as_float,
            **options,
        )
        return shapes.to_wide(frame, column, named_symbols(symbols))

    def returns(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        kind: str = "simple",
        column: str = "close",
        **options: Any,
    ) -> pl.DataFrame:
        """Returns from bar to bar of each symbol, as a table like that of `wide`.

        Args:
            symbols, resolution, start, end: as in `bars`.
            kind: `simple` (price / price before - 1) or `log` (natural logarithm of price / price before).
            column: the price.
            options: further keywords of `bars`, such as `adjustment="split"`, without which prices are as they are stored.

        Returns:
            `timestamp` and a Float64 column per symbol. A return is that from the symbol's bar before to this one, however
            much time lies between; null at its first bar in the range, where it has no bar, and where a price is not above 0.

        Raises:
            ConfigError: there is no such kind or price; and what `bars` raises.

        Example:
            >>> lake.returns(["AAPL", "MSFT"], "1d", "2024-01-01", kind="log", adjustment="split").drop("timestamp").corr()
        """
        shapes.check_returns(kind, column)
        refuse_options(options, "as_float")
        prices = self.wide(column, symbols, resolution, start, end, **options)
        return shapes.to_returns(prices, kind)

    def align(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        calendar: Calendar | str,
        fill: bool = False,
        **options: Any,
    ) -> pl.DataFrame:
        """Bars of every symbol on the same timestamps, those that one calendar expects.

        Args:
            symbols, resolution, start, end: as in `bars`.
            calendar: whose bars; those that it does not expect are left out.
            fill: where a symbol has no bar, prices are the close of its last bar before, and volumes 0. No later bar is used.
            options: further keywords of `bars`.

        Returns:
            A row per symbol and expected bar between the first and the last bar, sorted, with the columns of `bars`; null where
            there is no bar and nothing to fill with.

        Raises:
            ConfigError: bars to fill without the column `close`; and what `bars` raises.

        Example:
            >>> lake.align(["AAPL", "BTC-USD"], "1d", "2024-01-01", calendar="XNYS", fill=True)
        """
        bars = self.bars(symbols, resolution, start, end, **options)
        return align(bars, resolution, calendar, fill=fill)

    def _request(
        self,
        symbols: Symbols | None,
        resolution: Resolution | str,
        start: Moment | None,
        end: Moment | None,
        source: str | None,
        columns: Sequence[str] | None,
        as_of: Moment | None,
        adjustment: str | PriceAdjustment | None,
        settled_only: bool = False,
    ) -> Request:
        clock = self._context.clock
        return make_request(
            symbols,
            resolution,
            between(start, end, clock),
            source,
            columns,
            moment(as_of, clock),
            adjustment,
            settled_only,
        )
