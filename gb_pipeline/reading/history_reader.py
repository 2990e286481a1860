"""`HistoryReader`, the methods of a lake about its content as a whole and over time: fingerprints, changes, finality and pins.

`fingerprints`, `settled`, `pins` and `gb_pipeline.lake.changes` answer them.
"""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import polars as pl

from gb_pipeline.errors import ConfigError, LakeError
from gb_pipeline.lake import overrides, pins, removals
from gb_pipeline.lake.changes import moment_of_version, read_changes
from gb_pipeline.lake.pins import Pin
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import EARLIEST, Moment, Selection, Symbols, moment
from gb_pipeline.reading.context import Context
from gb_pipeline.reading.fingerprints import Fingerprint, make_fingerprint
from gb_pipeline.reading.ledgers import require_known
from gb_pipeline.reading.pins import Replay, make_pin, open_pin, parse_series
from gb_pipeline.reading.settled import settled_series


class HistoryReader:
    """Fingerprints, changes, finality and pins of a lake."""

    _store: LakeStore
    _context: Context

    def fingerprint(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
        verify: bool = False,
    ) -> Fingerprint:
        """The content of series as one hash, and one per series and session. It depends on bars only: not on files, compaction, or
        the order in which they came.

        A session's fingerprint stands in the ledger since it was written. That of a series is the SHA-256 over those of its
        sessions, that of several series the SHA-256 over theirs. Two lakes that hold the same bars have the same ones.

        Args:
            start, end: half-open range of bar opens. Of a session that lies in it only in part, the bars in it are read.
            as_of: what was known at this moment.
            verify: read every bar and compare it with what was recorded; by default the ledger is believed, and no file of bars
                is opened for whole sessions.

        Returns:
            See `Fingerprint`; with `verify`, `is_proved` and `mismatches` say what was found.

        Raises:
            UnknownSeries: a name that the lake does not know.
            DamagedFile: a file of bars that has to be read is damaged.

        Example:
            >>> lake.fingerprint("coinbase", "BTC-USD", "1m", "2024-01-01", "2024-02-01").whole
            '9f2c...'
        """
        selection = Selection.of(source, symbols, resolution, start, end, as_of, clock=self._store.clock)
        window = None if selection.bounds is None else selection.window
        found = make_fingerprint(
            self._store.tables,
            [(selection.source, selection.symbols)],
            selection.resolution,
            window,
            selection.as_of,
            verify=verify,
        )
        require_known(self._store.tables, found.series, selection)
        return found

    def changes(
        self,
        since: Moment | int | None,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        until: Moment | int | None = None,
    ) -> pl.DataFrame:
        """What became known of bars after a moment: for jobs that compute only what moved.

        Applied in their order to `bars` as of `since`, the changes give `bars` as of `until`. To go on from here, pass the
        largest `known_at` of one resolution as `since` the next time. Only files that may hold
        versions of these moments are opened.

        Args:
            since: the moment up to which everything is known already, exclusive; or a version of the table of bars, such as
                `WriteReport.version`, with a `resolution`; or None for everything from the beginning.
            start, end: half-open range of bar opens.
            until: the last moment, inclusive, or a version; now by default.

        Returns:
            One row per change: `source, symbol, resolution, timestamp, kind, old_<column>` and `new_<column>` of all numbers
            (Decimal(38,18)), `known_at` (Datetime us UTC); in the order of `known_at`, then by series and timestamp. `kind` is
            `added` (the old numbers are null), `restated`, `withdrawn` (the vendor no longer returns the bar, whose numbers stay),
            `returned` (it does so again), `corrected` (by an override, or by taking one back), `released` (it was a refused row) or
            `removed` (deleted, renamed, or its release was taken back: there is no bar, and the new numbers are null).

        Raises:
            UnknownSeries: a name that the lake does not know.
            ConfigError: a version that means no moment.
            LakeError: versions of these moments are lost, or the entry of a version was vacuumed.

        Example:
            >>> lake.changes(report.version, "coinbase", resolution="1m").group_by("symbol", "kind").len()
        """
        selection = Selection.of(source, symbols, resolution, start, end, clock=self._store.clock)
        rows = read_changes(
            self._store.tables,
            self._moment(since, selection) or EARLIEST,
            self._moment(until, selection),
            selection.source,
            selection.resolution,
            selection.symbols,
            selection.bounds,
        )
        return require_known(self._store.tables, rows, selection)

    def overrides(self, source: str | None = None, symbols: Symbols | None = None) -> pl.DataFrame:
        """Every correction of a bar that holds or held, in the order in which they came into force.

        Returns:
            `source, symbol, resolution, timestamp` (Datetime us UTC, the bar's open), `corrected_<column>` and `vendor_<column>` of
            all numbers (Decimal(38,18); the vendor's as it said them last), `vendor_fetched_at`, `reason`, `withdrawn` (it takes
            back the one before it), `override_id`, `known_at` (since when it holds).

        Example:
            >>> lake.overrides("yahoo").select("symbol", "timestamp", "vendor_close", "corrected_close", "reason")
        """
        selection = Selection.of(source, symbols, None, None, None, clock=self._store.clock)
        return overrides.read(self._store.tables, selection.source, selection.symbols)

    def removals(self, source: str | None = None, symbols: Symbols | None = None) -> pl.DataFrame:
        """What was taken out of the bars on purpose, in the order in which it happened; a row for each table of bars.

        Returns:
            `source, symbol, resolution, precision` (`standard` or `wide`), `action` (`deleted`, `renamed`, `purged`, or `restored`:
            its sessions may be fetched again), `renamed_to`, `first_session`, `last_session` (Date), `sessions`, `bars` (of a
            purge, versions of bars), `reason`, `removal_id`, `known_at` (Datetime us UTC, since when).

        Example:
            >>> lake.removals("coinbase").select("symbol", "action", "bars", "reason")
        """
        selection = Selection.of(source, symbols, None, None, None, clock=self._store.clock)
        return removals.read(self._store.tables, selection.source, selection.symbols)

    def _moment(self, value: Moment | int | None, selection: Selection) -> datetime | None:
        if isinstance(value, int):
            return moment_of_version(self._store.tables, selection.resolution, value)
        return moment(value, self._store.clock)

    def settled(
        self,
        source: str | None = None,
        symbols: Symbols | None = None,
        resolution: Resolution | str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        as_of: Moment | None = None,
    ) -> pl.DataFrame:
        """Until when the bars of each series are settled.

        A bar is provisional until its source's settle lag has passed since it became known, or last changed. The lag is the longest
        time after which the source restated a bar, in the last year, and at least its `settle_days`.

        Args:
            start, end: half-open range of bar opens.
            as_of: what was known at this moment, and had settled by then.

        Returns:
            `source, symbol, resolution, settled_until` (Datetime us UTC: every bar that opens before it is settled; the first
            provisional bar, or the end of the last bar), `provisional` (Int64, bars that are), `lag` (Duration us).

        Raises:
            UnknownSeries: a name that the lake does not know.

        Example:
            >>> lake.settled("coinbase", "BTC-USD", "1m")["settled_until"].item()
            datetime.datetime(2024, 1, 28, 0, 0, tzinfo=zoneinfo.ZoneInfo(key='UTC'))
        """
        selection = Selection.of(source, symbols, resolution, start, end, as_of, clock=self._store.clock)
        return settled_series(self._store.tables, selection, self._context.facts(), self._context.clock())

    def pin(
        self,
        name: str,
        symbols: Symbols,
        resolution: Resolution | str,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        source: str | None = None,
        as_of: Moment | None = None,
    ) -> Pin:
        """Give what is known of some series a name, so that it can be read again, exactly so.

        The pin is stored as `pins/<name>.json` of the lake; `Pin.to_json` is the same for a repository of your own. Up to a million
        bars are copied beside it, so that `replay` can tell differences bar by bar; of more it tells the sessions.

        Args:
            name: up to 80 letters, digits and `. - _`.
            symbols: codes, or `SOURCE:SYMBOL`; one or several.
            resolution: such as `1m`.
            start, end: half-open range of bar opens; everything by default.
            source: of codes without one; all sources that have them by default.
            as_of: what was known at this moment; by default, and at the latest, at the newest one of the lake.

        Returns:
            The pin, with the exact moment and the fingerprint of each series; the stored one if it says the same already.

        Raises:
            ConfigError: no name of a pin, or one that is taken by something else.
            NoDataInRange: one of the series has no bar in the range.

        Example:
            >>> lake.pin("momentum-2024", ["coinbase:BTC-USD", "coinbase:ETH-USD"], "1d", "2020-01-01", "2024-01-01").fingerprint
            '51b0...'
        """
        selection = Selection.of(source, None, resolution, start, end, as_of, clock=self._store.clock)
        window = None if selection.bounds is None else selection.window
        chosen, kind = parse_series(symbols, source), Resolution.parse(resolution)
        return make_pin(self._context, name, chosen, kind, window, selection.as_of, version("gb_pipeline"))

    def pins(self, damaged: list[LakeError] | None = None) -> list[Pin]:
        """All pins of the lake, by name.

        Args:
            damaged: takes the errors of pins that cannot be read, which are left out; without it they raise.

        Raises:
            LakeError: one of them is damaged.
        """
        found = []
        for name in pins.pin_names(self._store.storage):
            try:
                found.append(pins.read_pin(self._store.storage, name))
            except LakeError as error:
                if damaged is None:
                    raise
                damaged.append(error)
        return found

    def unpin(self, name: str) -> None:
        """Forget a pin, and the copy of its bars. No bar of the lake is touched.

        Raises:
            ConfigError: there is none of that name.
        """
        pins.remove_pin(self._store.storage, name)

    def replay(self, pin: Pin | Path | str, *, verify: bool = True) -> Replay:
        """What a pin names, read like a lake, once every bar of it was compared with its fingerprint.

        Args:
            pin: its name, itself, or a file that holds its `to_json`.
            verify: compare; without it, what the reader reads is guarded by the checksums of files alone.

        Returns:
            A reader with `bars`, `wide`, `returns` and all other methods that return prices. Ends of a range that are left open are
            those of the pin; the moment is the pin's, or an earlier one that is named.

        Raises:
            PinRefused: bars are not as they were; its `differences` is a frame with one row per bar: `source, symbol, resolution,
                session, timestamp, kind` (`missing`, `added`, `changed`; `session` where no copy of the bars is kept),
                `then_<column>` and `now_<column>`.
            ConfigError: there is no such pin.

        Example:
            >>> lake.replay("momentum-2024").wide("close", None, "1d")
        """
        if isinstance(pin, Path):
            try:
                pin = Pin.from_json(pin.read_bytes(), str(pin))
            except FileNotFoundError:
                raise ConfigError(f"there is no file {pin}", fix="name a pin, or the file of one") from None
        elif isinstance(pin, str):
            pin = pins.read_pin(self._store.storage, pin)
        return open_pin(self._context, pin) if verify else Replay(self._context, pin)
