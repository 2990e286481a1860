"""`SeriesChanges`, the methods of a lake's write side that remove or rename a series. `series_removal` and `renaming` do it."""

from __future__ import annotations

from datetime import date

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
