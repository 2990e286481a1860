"""This module lets Dagster remember the windows of a definition that leaves days out, instead of finding them anew for every key.

Whatever Dagster wants to know of a key, it asks a definition for the windows from a moment on, or backwards from it, and each time
walks through a cron schedule and through all that is left out: a millisecond for a key, two seconds for ten years of one series.
What it gets here is the same, from a list that equal definitions share.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import wraps
from itertools import count
from typing import Any

import dagster as dg

# Of different definitions: a project has one for each source and grain.
_MOST_DEFINITIONS = 1000
# From so many keys on it is quicker to look at all keys of a definition.
_MANY_KEYS = 50
_KNOWN: dict[Any, KnownWindows] = {}


class KnownWindows:
    """The windows of a definition from its start on, as far as somebody has asked.

    Args:
        windows: all of them, oldest first; there is no last one.
    """

    def __init__(self, windows: Iterable[dg.TimeWindow]) -> None:
        """Nobody has asked."""
        self._more, self._lock = iter(windows), threading.Lock()
        self._windows: list[dg.TimeWindow] = []
        self._starts: list[float] = []
        self._ends: list[float] = []

    def from_moment(self, moment: float) -> Iterator[dg.TimeWindow]:
        """Those that start at a moment (seconds since 1970) or later, oldest first; there is no last one."""
        self._know_starts(moment)
        for place in count(bisect_left(self._starts, moment)):
            if place >= len(self._starts):
                self._know(lambda: len(self._starts) > place)  # noqa: B023 - called at once
            yield self._windows[place]

    def until_moment(self, moment: float) -> Iterator[dg.TimeWindow]:
        """Those that end at a moment or earlier, newest first."""
        self._know(lambda: bool(self._starts) and self._ends[-1] > moment)
        for place in range(bisect_right(self._ends, moment) - 1, -1, -1):
            yield self._windows[place]

    def has_start(self, moment: float) -> bool:
        """Whether a window starts at a moment."""
        self._know_starts(moment)
        return self._starts[bisect_left(self._starts, moment)] == moment

    @property
    def start(self) -> float:
        """Of the first one."""
        self._know(lambda: bool(self._starts))
        return self._starts[0]

    def _know_starts(self, moment: float) -> None:
        self._know(lambda: bool(self._starts) and self._starts[-1] >= moment)

    def _know(self, enough: Callable[[], bool]) -> None:
        if enough():
            return
        with self._lock:
            while not enough():
                window = next(self._more)
                # The starts come last: who reads beside this believes in as many windows as there are starts.
                self._windows.append(window)
                self._ends.append(window.end.timestamp())
                self._starts.append(window.start.timestamp())


def remember_windows() -> None:
    """Let this process remember windows; as often as one likes."""
    definition: Any = dg.TimeWindowPartitionsDefinition
    forwards, backwards = definition._iterate_time_windows, definition._reverse_iterate_time_windows
    excluded, valid = definition.is_window_start_excluded, definition.filter_valid_partition_keys
    if hasattr(forwards, "__wrapped__"):
        return

    def find(self: dg.TimeWindowPartitionsDefinition) -> KnownWindows:
        known: KnownWindows | None = self.__dict__.get("_known_windows")
        if known is None:
            parts = (self.start_ts, self.timezone, self.cron_schedule, tuple(self.exclusions or ()))
            if len(_KNOWN) >= _MOST_DEFINITIONS:
                _KNOWN.clear()
            known = _KNOWN.setdefault(parts, KnownWindows(forwards(self, self.start_timestamp)))
            self.__dict__["_known_windows"] = known
        return known

    @wraps(forwards)
    def iterate(
        self: dg.TimeWindowPartitionsDefinition, start_timestamp: float, ignore_exclusions: bool = False
    ) -> Iterator[dg.TimeWindow]:
        if ignore_exclusions or not self.exclusions or start_timestamp < self.start_timestamp:
            return iter(forwards(self, start_timestamp, ignore_exclusions))
        return find(self).from_moment(start_timestamp)

    @wraps(backwards)
    def reverse(
        self: dg.TimeWindowPartitionsDefinition, end_timestamp: float, ignore_exclusions: bool = False
    ) -> Iterator[dg.TimeWindow]:
        if ignore_exclusions or not self.exclusions:
            yield from backwards(self, end_timestamp, ignore_exclusions)
            return
        known = find(self)
        yield from known.until_moment(end_timestamp)
        yield from backwards(self, min(end_timestamp, known.start))

    @wraps(excluded)
    def is_excluded(self: dg.TimeWindowPartitionsDefinition, window_start: datetime) -> bool:
        if self.exclusions and window_start.tzinfo is self.start.tzinfo and window_start >= self.start:
            # What is no start of a window may be one that is left out, or no tick at all.
            return not find(self).has_start(window_start.timestamp()) and bool(excluded(self, window_start))
        return bool(excluded(self, window_start))

    @wraps(valid)
    def filter_valid(self: dg.TimeWindowPartitionsDefinition, partition_keys: set[str]) -> AbstractSet[str]:
        if self.exclusions and len(partition_keys) >= _MANY_KEYS:
            return partition_keys & set(self.get_partition_keys())
        return set(valid(self, partition_keys))

    @wraps(definition.__hash__)
    def hash_of(self: dg.TimeWindowPartitionsDefinition) -> int:
        # Dagster's own writes all that is left out as text, for every look into its caches.
        return hash((self.start_ts, self.end_ts, self.timezone, self.fmt, self.end_offset, self.cron_schedule))

    definition._iterate_time_windows, definition._reverse_iterate_time_windows = iterate, reverse
    definition.is_window_start_excluded, definition.filter_valid_partition_keys = is_excluded, filter_valid
    definition.__hash__ = hash_of
