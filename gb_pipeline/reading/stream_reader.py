"""`StreamReader`, the methods of a lake about trades, quotes and order books that collectors heard or files brought.

`stream_rows` reads rows, `books` lays books from them, `trade_bars` makes bars of trades; `evidence_reader` has what is known of
their continuity.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import Moment, Symbols


class StreamReader:
    """Trades, quotes, and books, with the collectors that heard them side by side stitched into one stream."""

    _store: LakeStore

    def trades(
        self,
        symbol: Symbols | None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        include_unsettled: bool = False,
        collectors: str | Sequence[str] | None = None,
        as_float: bool = False,
        as_datetime: bool = False,
    ) -> pl.DataFrame:
        """Trades in a half-open window, each once, whoever heard it.

        Args:
            symbol: one or several; None for all of the source.
            start, end: as in `bars`, or whole numbers: ns since 1970 UTC. They are compared with the exchange's time where it says
                one that is within a day of ours, else with ours.
            source: whose; may be left out where only one has the symbol.
            columns: of the answer; all by default.
            include_unsettled: also what is stored beyond the committed watermark of the feed, where a later reading may find more.
            collectors: names of collectors that are read; by default all, stitched: a trade that two heard is told once,
                recognised by its id, or by all it says where it has none. `"all"` shows everything that each of them heard.
            as_float: prices and sizes as the floats that are nearest to them; exact decimals by default.
            as_datetime: `exchange_time` and `receive_time` as Datetime(ns, UTC) instead of Int64.

        Returns:
            `source, symbol, timestamp` (Datetime ns UTC, the moment that `start` and `end` mean), `exchange_time, receive_time`
            (Int64 ns since 1970 UTC, null where not known), `side` (buy or sell, what the taker did, or null), `price, size`
            (Decimal(18,8), or Decimal(38,18) where one needs it), `trade_id, sequence, ordinal, collector, origin` (stream, rest or
            file); series by series in the order of time. No row means that the window is covered, and nothing was traded.

        Raises:
            UnknownSeries: nothing of the symbol was ever heard.
            NoDataInRange: nothing is stored in the window, and no evidence covers it.
            ReadError: several sources have the symbol.
            ConfigError: a moment or a column that cannot be used.

        Example:
            >>> lake.trades("BTC-USD", "2024-01-02", "2024-01-03", as_float=True)["size"].sum()
            1204.5
        """
        return self._rows(
            "trades", symbol, start, end, source, columns, include_unsettled, collectors, as_float, as_datetime
        )

    def l2(
        self,
        symbol: Symbols | None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        include_unsettled: bool = False,
        collectors: str | Sequence[str] | None = None,
        as_float: bool = False,
        as_datetime: bool = False,
    ) -> pl.DataFrame:
        """Updates of order books: levels that changed, in the order in which they have to be applied.

        Args:
            symbol, start, end, source, columns, include_unsettled, as_float, as_datetime: as in `trades`.
            collectors: names of those that are read; by default one at a time, and the next one where its evidence ends.
                `"all"` shows everything that each of them heard.

        Returns:
            `source, symbol, timestamp` (Datetime ns UTC), `exchange_time, receive_time` (Int64 ns), `side` (bid or ask), `price`,
            `size` (what stands at the price from now on; 0 where nothing does), `first_sequence, sequence, ordinal, collector,
            checksum`; by series, receive time and ordinal.

        Raises:
            UnknownSeries, NoDataInRange, ReadError, ConfigError: as `trades`.

        Example:
            >>> lake.l2("BTC-USD", "2024-01-02T09:00Z", "2024-01-02T09:01Z", columns=["side", "price", "size"]).height
            4182
        """
        return self._rows(
            "book_updates", symbol, start, end, source, columns, include_unsettled, collectors, as_float, as_datetime
        )

    def book_snapshots(
        self,
        symbol: Symbols | None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        include_unsettled: bool = False,
        collectors: str | Sequence[str] | None = None,
        as_float: bool = False,
        as_datetime: bool = False,
    ) -> pl.DataFrame:
        """Whole books as they were kept: when one was laid, and now and then by the collector.

        Args:
            symbol, start, end, source, columns, include_unsettled, collectors, as_float, as_datetime: as in `l2`.

        Returns:
            `source, symbol, timestamp` (Datetime ns UTC), `exchange_time, receive_time` (Int64 ns), `side, price, size, sequence,
            ordinal, collector`, and `reason` (subscribed, resync or periodic); rows of one `receive_time` are one book.

        Raises:
            UnknownSeries, NoDataInRange, ReadError, ConfigError: as `trades`.
        """
        return self._rows(
            "book_snapshots", symbol, start, end, source, columns, include_unsettled, collectors, as_float, as_datetime
        )

    def quotes(
        self,
        symbol: Symbols | None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
        *,
        source: str | None = None,
        columns: Sequence[str] | None = None,
        include_unsettled: bool = False,
        collectors: str | Sequence[str] | None = None,
        as_float: bool = False,
        as_datetime: bool = False,
    ) -> pl.DataFrame:
        """The best bid and offer, one row for each change.

        Args:
            symbol, start, end, source, columns, include_unsettled, collectors, as_float, as_datetime: as in `l2`.

        Returns:
            `source, symbol, timestamp` (Datetime ns UTC), `exchange_time, receive_time` (Int64 ns), `bid_price, bid_size,
            ask_price, ask_size` (null where there is none), `sequence, ordinal, collector`; by series and time.

        Raises:
            UnknownSeries, NoDataInRange, ReadError, ConfigError: as `trades`.
        """
        return self._rows(
            "quotes", symbol, start, end, source, columns, include_unsettled, collectors, as_float, as_datetime
        )

    def book(
        self,
        symbol: Symbols,
        at: Moment | int,
        *,
        depth: int | None = None,
        source: str | None = None,
        collector: str | None = None,
        include_unsettled: bool = False,
        across_holes: bool = False,
        verify: bool = False,
        as_float: bool = False,
    ) -> pl.DataFrame:
        """The order book as it stood at a moment: the last whole book before it, and what changed since.

        Args:
            symbol: one.
            at: as `start` in `trades`; what happened at this very moment counts.
            depth: levels on each side; all by default.
            source: whose; may be left out where only one has the symbol.
            collector: who heard it; by default one that heard everything from a whole book on.
            include_unsettled: whether `at` may lie beyond the watermark.
            across_holes: lay a book even where a hole lies between the whole book and `at`, or where nothing tells whether one
                does, as of files without the venue's own numbers.
            verify: recompute the venue's checksum after every message that carries one (Kraken).
            as_float: prices and sizes as floats; exact decimals by default.

        Returns:
            `side` (bid, then ask), `level` (Int32, 1 is the best), `price, size`.

        Raises:
            GapInWindow: a hole lies between every whole book and `at`; the message says where and why.
            NoDataInRange: there is no whole book before `at`, or `at` is beyond the watermark.
            LakeError: a checksum is not the venue's.
            UnknownSeries, ReadError, ConfigError: as `trades`.

        Example:
            >>> lake.book("BTC-USD", "2024-01-02T09:30Z", depth=1)["price"].to_list()
            [Decimal('44150.10000000'), Decimal('44150.20000000')]
        """
        # Whoever reads bars alone does not wait for this.
        from gb_pipeline.reading import books
        from gb_pipeline.reading.stream_request import nanoseconds, request_stream

        request = request_stream(
            "book_updates", symbol, None, None, self._store.clock, source=source, include_unsettled=include_unsettled,
            collectors=collector,
        )  # fmt: skip
        moment = nanoseconds(at, self._store.clock)
        return books.lay_book(
            self._store.tables,
            request,
            moment,
            depth=depth,
            across_holes=across_holes,
            verify=verify,
            as_float=as_float,
        )

    def bars_from_trades(
        self,
        symbol: Symbols | None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
        resolution: Resolution | str | None = None,
        *,
        ticks: int | None = None,
        volume: Decimal | str | int | None = None,
        dollars: Decimal | str | int | None = None,
        source: str | None = None,
        include_unsettled: bool = False,
        collectors: str | Sequence[str] | None = None,
        as_float: bool = False,
    ) -> pl.DataFrame:
        """Bars made of trades: of a length of time, of so many trades, of so much volume or money.

        Args:
            symbol, start, end, source, include_unsettled, collectors, as_float: as in `trades`.
            resolution: of bars of time; days and weeks begin at midnight UTC. Time without a trade has no bar.
            ticks: trades in a bar.
            volume: a bar ends with the trade that brings the volume since `start` to the next multiple of this.
            dollars: the same of price times size, in the quote currency.

        Returns:
            `source, symbol, timestamp` (Datetime us UTC: of bars of time their open, else the first trade), `open, high, low,
            close, volume` (decimals as of the trades), `trade_count` (Int64), `dollars` (Float64: price times size, summed), and
            `last_timestamp` (Datetime ns UTC, of the last trade). All trades of the window are in them: the first and the last bar
            may not be whole.

        Raises:
            ConfigError: not exactly one kind of bar was named, or its size is not above zero.
            UnknownSeries, NoDataInRange, ReadError: as `trades`.

        Example:
            >>> lake.bars_from_trades("BTC-USD", "2024-01-02", "2024-01-03", "1m")["trade_count"].sum()
            48210
        """
        from gb_pipeline.market.trade_bars import make_bars, parse_rule

        rule = parse_rule(resolution, ticks, volume, dollars)
        names = ["source", "symbol", "timestamp", "price", "size"]
        trades = self._rows("trades", symbol, start, end, source, names, include_unsettled, collectors, False, False)
        bars = make_bars(trades, rule)
        decimals = [name for name, kind in bars.schema.items() if kind.is_decimal()]
        return bars.with_columns(pl.col(decimals).cast(pl.Float64)) if as_float else bars

    def _rows(
        self,
        table: str,
        symbol: Symbols | None,
        start: Moment | int | None,
        end: Moment | int | None,
        source: str | None,
        columns: Sequence[str] | None,
        include_unsettled: bool,
        collectors: str | Sequence[str] | None,
        as_float: bool,
        as_datetime: bool,
    ) -> pl.DataFrame:
        from gb_pipeline.reading.stream_request import request_stream
        from gb_pipeline.reading.stream_rows import read_stream

        request = request_stream(
            table, symbol, start, end, self._store.clock, source=source, include_unsettled=include_unsettled,
            collectors=collectors,
        )  # fmt: skip
        return read_stream(self._store.tables, request, columns, as_float=as_float, as_datetime=as_datetime)
