"""`EvidenceReader`, the methods of a lake about how continuously streams were heard, and how much of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import Moment, Symbols, named_source, named_symbols

if TYPE_CHECKING:
    from gb_pipeline.reading.bar_comparison import BarComparison


class EvidenceReader:
    """Watermarks, covered stretches, holes, masks for features, and what is stored of streams."""

    _store: LakeStore

    def watermarks(self, source: str | None = None) -> pl.DataFrame:
        """Up to when everything that collectors heard is committed.

        Reads of trades, quotes and books end there unless `include_unsettled` is true. Only commits move it, never a clock.

        Returns:
            `source, dataset` (trades, book_updates or quotes), `collector, through` (Datetime ns UTC, exclusive), `segment`
            (Int64, which of the spool was committed last), `running` (Boolean: false where the collector stopped as asked, or is
            silent), `silent` (Boolean: it ended without a word, or cannot commit, and others of its feed are a day ahead, or three
            times as long as it said that it waits between commits; readers do not wait for it),
            `stored_through` (Datetime us UTC: the newest row of the feed, settled or not) and `unsettled` (Boolean: rows of the
            feed lie at or behind the watermark); sorted.

        Example:
            >>> lake.watermarks().select("source", "dataset", "through").row(0)
            ('kraken', 'trades', datetime.datetime(2024, 1, 2, 9, 30, tzinfo=zoneinfo.ZoneInfo(key='UTC')))
        """
        from gb_pipeline.reading import stream_evidence

        return stream_evidence.watermarks(self._store.tables, named_source(source))

    def stream_coverage(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        dataset: str | None = None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
    ) -> pl.DataFrame:
        """Stretches of streams that are covered: every message was heard, or fetched afterwards, by at least one collector.

        Args:
            source, symbols: all by default.
            dataset: trades, book_updates or quotes.
            start, end: half-open, as in `trades`; stretches are cut to it.

        Returns:
            `source, symbol, dataset` (String), `start, end` (Datetime ns UTC, half-open); sorted, no two of a stream meet.
        """
        from gb_pipeline.reading import stream_evidence

        return stream_evidence.coverage(self._store.tables, *self._stretch(source, symbols, dataset, start, end))

    def stream_gaps(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        dataset: str | None = None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
    ) -> pl.DataFrame:
        """Stretches of streams that nothing covers, each with why, where a collector said so.

        Args:
            source, symbols, dataset, start, end: as in `stream_coverage`. Where an end is left open, a stream counts from its first
                evidence on, and up to the newest watermark of its feed.

        Returns:
            `source, symbol, dataset` (String), `start, end` (Datetime ns UTC, half-open), `reason` (restart, disconnect, sequence,
            checksum, stalled, slow_consumer, venue_incident, unreadable, best_effort or removed; null where nobody said why),
            `missing` (Int64, messages or trades, where the venue's numbers tell); sorted.
        """
        from gb_pipeline.reading import stream_evidence

        return stream_evidence.gaps(self._store.tables, *self._stretch(source, symbols, dataset, start, end))

    def stream_statistics(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        dataset: str | None = None,
        start: Moment | int | None = None,
        end: Moment | int | None = None,
    ) -> pl.DataFrame:
        """How continuously each stream was heard: gaps per million messages.

        Args:
            source, symbols, dataset, start, end: as in `stream_gaps`.

        Returns:
            `source, symbol, dataset` (String), `messages, rows, gaps, holes, missing` (Int64: heard and stored, stretches that a
            collector called a gap, those of them that nothing covers by now, and what is known to be missing), `covered_seconds,
            hole_seconds` (Float64) and `gaps_per_million` (Float64; null without a message).
        """
        from gb_pipeline.reading import stream_evidence

        return stream_evidence.statistics(self._store.tables, *self._stretch(source, symbols, dataset, start, end))

    def valid_mask(
        self,
        symbol: str,
        timestamps: pl.Series | Sequence[Moment | int],
        window: timedelta | str | int,
        *,
        datasets: str | Sequence[str] = ("trades",),
        source: str | None = None,
    ) -> pl.Series:
        """Whether a feature may be computed at each moment: its whole window, up to the moment, was heard without a hole.

        Args:
            symbol: one.
            timestamps: moments at which windows end, exclusive: a Series of Datetime (without a zone it counts as UTC) or of
                Int64 (ns since 1970 UTC), or a list of moments.
            window: how far each reaches back: a timedelta, text such as `5m`, or ns.
            datasets: trades, book_updates, quotes; all that are named have to be covered.
            source: may be left out where only one has the symbol.

        Returns:
            Boolean, named `valid`, one for each moment in their order; null for a null.

        Raises:
            UnknownSeries: a dataset of the symbol was never heard.
            ConfigError: a window or moments that cannot be used.
            ReadError: several sources have the symbol.

        Example:
            >>> bars = lake.bars_from_trades("BTC-USD", "2024-01-02", "2024-01-03", "1m")
            >>> bars.filter(lake.valid_mask("BTC-USD", bars["timestamp"], "30m"))
        """
        from gb_pipeline.reading import stream_evidence

        return stream_evidence.valid_mask(
            self._store.tables, self._store.clock, symbol, timestamps, window, datasets, named_source(source)
        )

    def stream_files(
        self, source: str | None = None, symbols: Symbols | None = None, *, prefix: str | None = None,
        table: str | None = None, start: Moment | int | None = None, end: Moment | int | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """Data files of streams, found by name, prefix and time. All of it stands in the tables' logs: no file is opened or listed.

        Args:
            source, symbols: exactly these; all by default.
            prefix: symbols that begin so, such as `KXBTC`.
            table: trades, book_updates, book_snapshots or quotes.
            start, end: half-open; files whose rows may lie in it.

        Returns:
            `source, table, symbol, day, path` (relative to the lake's root), `rows, bytes` (Int64), `first_timestamp,
            last_timestamp` (Datetime us UTC); sorted. What was committed before the call is in it.

        Example:
            >>> lake.stream_files(prefix="KXBTC", table="trades", start="2024-01-02")["rows"].sum()
            0
        """
        from gb_pipeline.lake.stream_files import list_files
        from gb_pipeline.reading.stream_request import FIRST, LAST, nanoseconds

        ends = nanoseconds(start, self._store.clock), nanoseconds(end, self._store.clock)
        window = FIRST if ends[0] is None else ends[0], LAST if ends[1] is None else ends[1]
        return list_files(self._store.tables, named_source(source), named_symbols(symbols), prefix, table, *window)

    def stream_data(self, source: str | None = None) -> pl.DataFrame:
        """What is kept of each stream: rows, bytes, files, and the first and the last row. No file is opened.

        Returns:
            `source, table, symbol` (String), `rows, bytes, files, days` (Int64), `start, end` (Datetime us UTC); sorted.
        """
        from gb_pipeline.lake.stream_files import list_files, summarize_files

        return summarize_files(list_files(self._store.tables, named_source(source)))

    def stream_status(self, source: str | None = None) -> pl.DataFrame:
        """What is kept of each stream, as `stream_data` has it, up to when it is settled, and how many rows are not settled yet.

        Only files that reach over the moment are opened, and of those their timestamps.

        Returns:
            Columns of `stream_data`, `settled_until` (Datetime us UTC, exclusive; null where no collector ever committed to the
            source, and all is settled) and `unsettled` (Int64, rows at or behind it, as stored); sorted.

        Example:
            >>> lake.stream_status("kraken").select("symbol", "table", "rows", "unsettled").row(0)
            ('BTC-USD', 'trades', 48210, 0)
        """
        from gb_pipeline.reading.stream_status import read_stream_status

        return read_stream_status(self._store.tables, named_source(source))

    def compare_bars_with_trades(
        self,
        symbol: str,
        resolution: Resolution | str,
        start: Moment,
        end: Moment,
        *,
        source: str | None = None,
        bars_source: str | None = None,
    ) -> BarComparison:
        """Tie out a vendor's bars against the trades that were heard, where nothing is missing of those.

        Args:
            symbol: one.
            resolution: of the bars; up to a day.
            start, end: half-open.
            source: of the trades.
            bars_source: of the bars; by default that of the trades.

        Returns:
            `compared`, `equal` and `uncovered` bars, and `differences`: a frame `timestamp, column, bars, trades`. A bar in whose
            time trades are missing, or not settled yet, is counted as `uncovered` and not compared.

        Raises:
            UnknownSeries, NoDataInRange, ReadError, ConfigError: as `trades` and `bars`.

        Example:
            >>> lake.compare_bars_with_trades("BTC-USD", "1m", "2024-01-02", "2024-01-03").differences.height
            0
        """
        from gb_pipeline.reading.bar_comparison import compare_with_trades

        return compare_with_trades(self, symbol, resolution, start, end, source, bars_source)  # type: ignore[arg-type]

    def _stretch(
        self,
        source: str | None,
        symbols: Symbols | None,
        dataset: str | None,
        start: Moment | int | None,
        end: Moment | int | None,
    ) -> tuple[str | None, list[str] | None, str | None, int, int]:
        from gb_pipeline.reading.stream_evidence import named_dataset
        from gb_pipeline.reading.stream_request import FIRST, LAST, nanoseconds

        first, last = nanoseconds(start, self._store.clock), nanoseconds(end, self._store.clock)
        return (
            named_source(source),
            named_symbols(symbols),
            None if dataset is None else named_dataset(dataset),
            FIRST if first is None else first,
            LAST if last is None else last,
        )
