"""`Memory`, the answers that were used last, up to a size."""

from __future__ import annotations

from threading import Lock

import polars as pl
from cachetools import LRUCache

# An empty frame takes room as well.
_LEAST = 1000


class Memory:
    """Frames in this process. Safe for threads."""

    def __init__(self, megabytes: float) -> None:
        """Empty; 0 keeps nothing."""
        self._frames: LRUCache[str, pl.DataFrame] = LRUCache(megabytes * 1e6, size_of)
        self._lock = Lock()

    def get(self, digest: str) -> pl.DataFrame | None:
        """A frame that is kept, of which the caller may do what he likes: columns are shared and never change."""
        with self._lock:
            found = self._frames.get(digest)
        return None if found is None else found.clone()

    def put(self, digest: str, frame: pl.DataFrame) -> None:
        """Keep a frame, unless it alone is larger than all of them may be."""
        if size_of(frame) <= self._frames.maxsize:
            with self._lock:
                self._frames[digest] = frame.clone()

    def remove(self, digest: str) -> None:
        """Forget a frame if it is there."""
        with self._lock:
            self._frames.pop(digest, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._frames.clear()

    @property
    def bound(self) -> int:
        """How many bytes may be kept."""
        return int(self._frames.maxsize)

    @property
    def bytes(self) -> int:
        """How many are."""
        return int(self._frames.currsize)

    @property
    def answers(self) -> int:
        """How many frames."""
        return len(self._frames)


def size_of(frame: pl.DataFrame) -> int:
    """What a frame takes in memory, in bytes."""
    return int(frame.estimated_size()) + _LEAST
