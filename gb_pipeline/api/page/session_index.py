"""This module knows at which place among all bars of a source each session begins, so that any window of them is found at once.

The ledger has the number of bars of each session, and the first and the last of them: a row per session stands for up to
86,400 bars, and no file of bars is opened to scroll past them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock

import polars as pl
from cachetools import LRUCache

from gb_pipeline.lake.datasets import SESSIONS, bars_dataset
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.reading.lake import Lake

_ROWS_KEPT = 2_000_000
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Part:
    """Sessions of one symbol that follow each other.

    Attributes:
        symbol: whose.
        start, end: half-open range of bar opens.
        first: place of its first bar among all.
        bars: how many there are.
    """

    symbol: str
    start: datetime
    end: datetime
    first: int
    bars: int


@dataclass(frozen=True)
class SessionIndex:
    """Sessions with bars, sorted by symbol and time.

    Attributes:
        sessions: `symbol, first_timestamp, last_timestamp, actual, first` (Int64: the place of its first bar).
    """

    sessions: pl.DataFrame

    @property
    def total(self) -> int:
        """How many bars there are."""
        return int(self.sessions["actual"].sum())

    def parts(self, offset: int, limit: int) -> list[Part]:
        """The sessions that hold some bars, one part per symbol.

        Args:
            offset: place of the first bar.
            limit: how many.
        """
        wanted = self.sessions.filter(
            (pl.col("first") < offset + limit) & (pl.col("first") + pl.col("actual") > offset)
        )
        grouped = wanted.group_by("symbol", maintain_order=True).agg(
            pl.col("first_timestamp").min(),
            pl.col("last_timestamp").max(),
            pl.col("first").min(),
            pl.col("actual").sum(),
        )
        return [Part(symbol, start, end + _TICK, first, bars) for symbol, start, end, first, bars in grouped.rows()]


class SessionIndexes:
    """The indexes that were asked for last; a commit of bars makes new ones."""

    def __init__(self, lake: Lake) -> None:
        """Keep some for a lake: up to two million sessions in all, about 100 MB."""
        self._lake, self._lock = lake, Lock()
        self._kept: LRUCache[tuple[object, ...], SessionIndex] = LRUCache(
            _ROWS_KEPT, getsizeof=lambda index: max(1, index.sessions.height)
        )

    def find(
        self, source: str, symbol: str | None, resolution: Resolution, as_of: datetime | None = None
    ) -> SessionIndex:
        """The index of one symbol, or of all of a source.

        Raises:
            UnknownSeries: a name that the lake does not know.
        """
        key = self.key(source, symbol, resolution, as_of)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        made = SessionIndex(self._read(source, symbol, resolution, as_of))
        with self._lock:
            if made.sessions.height <= _ROWS_KEPT:
                self._kept[key] = made
        return made

    def key(
        self, source: str, symbol: str | None, resolution: Resolution, as_of: datetime | None = None
    ) -> tuple[object, ...]:
        """What an index is kept under: which bars it is of, and the versions of the ledger and of the tables of bars.

        The ledger takes over what a commit of bars says of its sessions some commits later, so its version alone is not enough.
        """
        names = (SESSIONS.name, *(bars_dataset(resolution, precision).name for precision in Precision))
        versions = tuple(self._lake.store.tables.newest(name).version for name in names)
        return (versions, source, symbol, resolution, as_of)

    def _read(self, source: str, symbol: str | None, resolution: Resolution, as_of: datetime | None) -> pl.DataFrame:
        rows = self._lake.coverage(source, symbol, resolution, as_of=as_of)
        counted = rows.filter(pl.col("actual") > 0).sort("symbol", "first_timestamp")
        actual = pl.col("actual").cast(pl.Int64)
        return counted.select("symbol", "first_timestamp", "last_timestamp", actual, first=actual.cum_sum() - actual)
