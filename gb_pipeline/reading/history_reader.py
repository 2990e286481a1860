"""`HistoryReader`, the methods of a lake about its content as a whole and over time: fingerprints and changes.

`fingerprints` and `gb_pipeline.lake.changes` answer them.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from gb_pipeline.lake.changes import moment_of_version, read_changes
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import EARLIEST, Moment, Selection, Symbols, moment
from gb_pipeline.reading.fingerprints import Fingerprint, make_fingerprint
from gb_pipeline.reading.ledgers import require_known


class HistoryReader:
    """Fingerprints and changes of a lake."""

    _store: LakeStore

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
            `added` (the old numbers are null), `restated`, `withdrawn` (the vendor no longer returns the bar, whose numbers stay)
            or `returned` (it does so again).

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

    def _moment(self, value: Moment | int | None, selection: Selection) -> datetime | None:
        if isinstance(value, int):
            return moment_of_version(self._store.tables, selection.resolution, value)
        return moment(value, self._store.clock)
