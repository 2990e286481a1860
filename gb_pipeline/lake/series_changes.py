"""`SeriesChanges`, the methods of a lake's write side that remove or rename series of bars, and streams.

`series_removal` and `renaming` do it for bars, `stream_purging` and `stream_renaming` for trades, quotes and books.
"""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from gb_pipeline.lake.renaming import rename_series
from gb_pipeline.lake.series_removal import delete_series, restore_series
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol, source_name, symbol_code
from gb_pipeline.storage.commit import Clock
from gb_pipeline.storage.table import Tables


class SeriesChanges:
    """Removing and renaming series of a lake."""

    tables: Tables
    clock: Clock

    def delete(
        self,
        source: str,
        symbol: Symbol | str,
        resolution: Resolution | str | None = None,
        start: date | None = None,
        end: date | None = None,
        *,
        reason: str,
        purge: bool = False,
        dry_run: bool = False,
    ) -> pl.DataFrame:
        """Take bars of one series out of the present. One commit for each table of bars; `as_of` a moment before still reads them.

        Nobody asks the vendor for the removed sessions again, until `restore`, or a fetch that asks for stored sessions again.
        Corrections of these bars end with them.

        Args:
            resolution: all of the series by default.
            start, end: half-open range of sessions; all by default.
            reason: why; it is kept, see `Lake.removals`.
            purge: remove all versions, refused rows, and kept responses of nothing else, so that `as_of` shows nothing either.
            dry_run: only say what would be removed.

        Returns:
            What was stored: `source, symbol, resolution, precision, bars, sessions, bytes, first, last`.

        Raises:
            UnknownSeries: the lake has no such series.
            ConfigError: no bar of it is stored in the range, or there is no reason.
            LakeError: a pin holds what would be purged; the lake cannot be written.

        Example:
            >>> store.delete("coinbase", "ETH-USD", reason="not licensed any more")["bars"].sum()
            2880
        """
        source, code = source_name(source), symbol_code(symbol)
        kind = None if resolution is None else Resolution.parse(resolution)
        return delete_series(
            self.tables, source, code, kind, (start, end), reason, self.clock, purged=purge, dry_run=dry_run
        )

    def restore(
        self,
        source: str,
        symbol: Symbol | str,
        resolution: Resolution | str | None = None,
        start: date | None = None,
        end: date | None = None,
        *,
        reason: str = "",
    ) -> int:
        """Let removed sessions of one series be fetched again; no bar comes back by it.

        Returns:
            How many sessions there were.

        Raises:
            ConfigError: none of them is removed.
        """
        source, code = source_name(source), symbol_code(symbol)
        kind = None if resolution is None else Resolution.parse(resolution)
        return restore_series(self.tables, source, code, kind, (start, end), reason, self.clock)

    def rename(self, source: str, symbol: Symbol | str, new: Symbol | str, *, reason: str) -> pl.DataFrame:
        """Let a series stand under another symbol from now on. One commit for each table of bars.

        Bars, what the ledger says of their sessions, corrections in force and corporate actions become known under the new symbol
        at that moment; when they were fetched stays. `as_of` a moment before reads them under the old one.

        Returns:
            What was moved, as `delete` has it.

        Raises:
            UnknownSeries: the lake has no such series.
            InvalidSymbol: the new one is no canonical code.
            ConfigError: both are the same, there is no reason, or nothing is stored.
            LakeError: the new symbol has bars of the same sessions, or prices of another kind; nothing was changed.

        Example:
            >>> store.rename("yahoo", "FB", "META", reason="new ticker")["bars"].sum()
            2531
        """
        source, old, code = source_name(source), symbol_code(symbol), symbol_code(new)
        return rename_series(self.tables, source, old, code, reason, self.clock)

    def purge_streams(
        self,
        source: str,
        symbol: Symbol | str | None = None,
        dataset: str | None = None,
        start: datetime | date | None = None,
        end: datetime | date | None = None,
        *,
        reason: str,
        dry_run: bool = False,
    ) -> pl.DataFrame:
        """Remove trades, quotes and books for good. One commit for each table; streams have no versions that `as_of` could read.

        What is removed is covered no more: it becomes a hole with the reason `removed`, which is not healed. Refused rows, and a
        venue's own messages about corrections, go as well. A collector goes on hearing what gb.yaml names.

        Args:
            symbol: all of the source by default.
            dataset: trades, quotes, or book_updates, whose snapshots go with them; all by default.
            start, end: half-open range of `timestamp`, in UTC; all by default.
            reason: why; it is kept, see `Lake.removals`.
            dry_run: only say what would be removed.

        Returns:
            What was stored: `source, symbol, table, precision` (String), `rows, days, bytes` (Int64), `first, last` (Datetime us
            UTC); a row for each symbol and table.

        Raises:
            UnknownSeries: the lake has nothing of it.
            ConfigError: nothing of it is stored in the range, a name that cannot be, or no reason.
            LakeError: the lake cannot be written.

        Example:
            >>> store.purge_streams("kraken", "ETH-USD", "trades", reason="licence ended")["rows"].sum()
            48210
        """
        # Whoever has bars alone does not wait for this.
        from gb_pipeline.lake.stream_purging import purge_streams
        from gb_pipeline.lake.stream_targets import StreamTarget

        target = StreamTarget.of(source, symbol, dataset, start, end)
        return purge_streams(self.tables, target, reason, self.clock, dry_run=dry_run)

    def rename_streams(self, source: str, symbol: Symbol | str, new: Symbol | str, *, reason: str) -> pl.DataFrame:
        """Let trades, quotes and books of a symbol stand under another one, with what is known of how they were heard.

        Returns:
            What was moved, as `purge_streams` has it.

        Raises:
            UnknownSeries: the lake has nothing of it.
            InvalidSymbol: the new one is no canonical code.
            ConfigError: both are the same, or there is no reason.
            LakeError: the new symbol has rows of its own of the same time; nothing was changed.

        Example:
            >>> store.rename_streams("kraken", "XBT-USD", "BTC-USD", reason="one name for both")["rows"].sum()
            48210
        """
        from gb_pipeline.lake.stream_renaming import rename_streams

        source, old, code = source_name(source), symbol_code(symbol), symbol_code(new)
        return rename_streams(self.tables, source, old, code, reason, self.clock)
