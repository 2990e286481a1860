"""This module lets Dagster remember the windows of a definition that leaves days out, instead of finding them anew for every key.

Whatever Dagster wants to know of a key, it asks a definition for the windows from a moment on, or backwards from it, and each time
walks through a cron schedule and through all that is left out: a millisecond for a key, two seconds for ten years of one series.
What it gets here is the same, from a list that equal definitions share.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import wraps
from itertools import count, pairwise
from typing import Any

import dagster as dg

from gb_pipeline.dagster_runtime.private import TimeWindowPartitionsSubset

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
        self._keys: dict[str, tuple[list[str], dict[str, int]]] = {}

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

    def keys(self, fmt: str, last: dg.TimeWindow, find_keys: Callable[[], Sequence[str]]) -> list[str]:
        """The keys of all windows up to one, oldest first; `find_keys` is asked where somebody wants more than before."""
        place = bisect_left(self._starts, last.start.timestamp())
        known, _ = self._keys.get(fmt, ((), {}))
        if len(known) <= place:
            known = list(find_keys())
            self._keys[fmt] = known, {key: number for number, key in enumerate(known)}
        return list(known[: place + 1])

    def join(
        self, fmt: str, keys: Iterable[str], first: datetime, end: datetime
    ) -> tuple[list[dg.TimeWindow], int] | None:
        """The windows of some keys within a time, neighbours joined, and how many keys these are; None where a key is not known."""
        _, place_of = self._keys.get(fmt, ((), {}))
        try:
            places = sorted({place_of[key] for key in keys})
        except KeyError:
            return None
        windows = self._windows
        places = [place for place in places if windows[place].start >= first and windows[place].end <= end]
        cuts = [number for number, (one, other) in enumerate(pairwise(places), 1) if other > one + 1]
        runs = [run for run in pairwise([0, *cuts, len(places)]) if run[0] < run[1]]
        return [dg.TimeWindow(windows[places[a]].start, windows[places[b - 1]].end) for a, b in runs], len(places)

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
    keys, subset = definition.get_partition_keys, TimeWindowPartitionsSubset
    added = subset._add_partitions_to_time_windows
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

    @wraps(keys)
    def get_keys(
        self: dg.TimeWindowPartitionsDefinition,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> Sequence[str]:
        if not self.exclusions or current_time is not None:
            return list(keys(self, current_time, dynamic_partitions_store))
        last = self.get_last_partition_window()
        return [] if last is None else find(self).keys(self.fmt, last, lambda: keys(self))

    @wraps(added)
    def add(
        self: Any, initial_windows: Sequence[Any], partition_keys: Sequence[str], validate: bool = True
    ) -> tuple[Sequence[Any], int]:
        own = self.partitions_def
        if own.exclusions and validate and not initial_windows and len(partition_keys) >= _MANY_KEYS:
            first, last = own.get_first_partition_window(), own.get_last_partition_window()
            if first is not None and last is not None:
                own.get_partition_keys()
                if (joined := find(own).join(own.fmt, partition_keys, first.start, last.end)) is not None:
                    # As the subset keeps them.
                    return subset(own, joined[1], joined[0]).included_time_windows, joined[1]
        windows, number = added(self, initial_windows, partition_keys, validate)
        return windows, number

    @wraps(definition.__hash__)
    def hash_of(self: dg.TimeWindowPartitionsDefinition) -> int:
        # Dagster's own writes all that is left out as text, for every look into its caches.
        return hash((self.start_ts, self.end_ts, self.timezone, self.fmt, self.end_offset, self.cron_schedule))

    definition._iterate_time_windows, definition._reverse_iterate_time_windows = iterate, reverse
    definition.is_window_start_excluded, definition.filter_valid_partition_keys = is_excluded, filter_valid
    definition.get_partition_keys, definition.__hash__ = get_keys, hash_of
    subset._add_partitions_to_time_windows = add  # type: ignore[method-assign]
