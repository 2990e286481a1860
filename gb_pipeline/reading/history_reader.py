"""`HistoryReader`, the methods of a lake about its content as a whole and over time: fingerprints.

`fingerprints` answers them.
"""

from __future__ import annotations

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import Moment, Selection, Symbols
from gb_pipeline.reading.fingerprints import Fingerprint, make_fingerprint
from gb_pipeline.reading.ledgers import require_known


class HistoryReader:
    """Fingerprints of a lake."""

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
