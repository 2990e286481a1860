"""This module turns counts that only grow into rates over the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from gb_pipeline.collectors.state import StreamState

_SECOND = 1_000_000_000
_SPAN = 10 * _SECOND
_Key = tuple[str, str, str]


class Rates:
    """Messages and rows per second of each stream, over ten seconds."""

    def __init__(self) -> None:
        """Nothing was noted."""
        self._noted: deque[tuple[int, dict[_Key, tuple[int, int]]]] = deque()

    def note(self, now: int, counts: Mapping[_Key, tuple[int, int]]) -> None:
        """Remember messages and rows of each stream, by source, dataset and symbol."""
        self._noted.append((now, dict(counts)))
        while now - self._noted[0][0] > _SPAN and len(self._noted) > 2:
            self._noted.popleft()

    def apply(self, stream: StreamState) -> StreamState:
        """A stream with its rates."""
        (start, before), (end, after) = self._noted[0], self._noted[-1]
        key = (stream.source, stream.dataset, stream.symbol)
        if end <= start or key not in before:
            return stream
        seconds = (end - start) / _SECOND
        messages, rows = (new - old for new, old in zip(after[key], before[key], strict=True))
        return replace(stream, messages_per_second=messages / seconds, rows_per_second=rows / seconds)
