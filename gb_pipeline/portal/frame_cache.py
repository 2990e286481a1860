"""`FrameCache`, answers of a lake that are kept in memory, each with the versions of the tables that it was made of.

A commit makes a new version, so an answer is never given for another state of the lake than that it was computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock

import polars as pl
from cachetools import LRUCache

from gb_pipeline.storage.table import Tables


class FrameCache:
    """The frames that were used last, up to a size. Safe for threads.

    Attributes:
        hits, misses: how often an answer was there, and how often not.
    """

    def __init__(self, megabytes: float) -> None:
        """Empty; 0 keeps nothing."""
        self._frames: LRUCache[Hashable, pl.DataFrame] = LRUCache(megabytes * 1e6, _size)
        self._lock = Lock()
        self.hits = self.misses = 0

    def get(
        self, tables: Tables, names: Sequence[str], key: Hashable, make: Callable[[], pl.DataFrame]
    ) -> pl.DataFrame:
        """The frame of a question, made anew where one of the tables that it is made of has changed since."""
        before = _versions(tables, names)
        with self._lock:
            found = self._frames.get((key, before))
            self.hits, self.misses = self.hits + (found is not None), self.misses + (found is None)
        if found is not None:
            # Who adds a column to an answer does not add it to the next one.
            return found.clone()
        frame = make()
        # What was read while somebody committed may be of either state.
        if _versions(tables, names) == before and _size(frame) <= self._frames.maxsize:
            with self._lock:
                self._frames[key, before] = frame.clone()
        return frame

    def clear(self) -> None:
        """Forget every answer."""
        with self._lock:
            self._frames.clear()

    @property
    def bytes(self) -> int:
        """How much is kept."""
        return int(self._frames.currsize)


def _size(frame: pl.DataFrame) -> int:
    # An empty frame takes room as well.
    return int(frame.estimated_size()) + 1000


def _versions(tables: Tables, names: Sequence[str]) -> tuple[int, ...]:
    return tuple(tables.newest(name).version for name in names)
