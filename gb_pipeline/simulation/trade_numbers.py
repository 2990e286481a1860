"""This module numbers an instrument's trades one after another, without any history, as exchanges do.

The number of a minute's first trade is how many there were since an origin, by days that are counted at most once each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_DAY = 1440
# 2025-07-01 in days since 1970: near it, little has to be counted.
_ORIGIN = 20_270
# Numbers before the origin are positive too.
_FIRST = 10_000_000_000
# So many days are counted at once.
_MOST_DAYS = 300
# Eleven years to either side; beyond them nobody counts, and each minute has a fixed number of places.
_COUNTED_DAYS = 4_000
_PLACES = 2_000


class TradeNumbers:
    """Numbers of one instrument's trades.

    Args:
        count: trades of each of so many minutes from a minute on (minutes since 1970).
    """

    def __init__(self, count: Callable[[int, int], Ints]) -> None:
        """Nothing is counted yet."""
        self._count = count
        # Number of the first trade of each day from the origin on, and backwards from it.
        self._forward: list[int] = [_FIRST]
        self._backward: list[int] = [_FIRST]
        self._day: tuple[int, Ints] | None = None
        # Streams and requests count at once.
        self._lock = threading.Lock()

    def first(self, minute: int) -> int:
        """Number of a minute's first trade."""
        day, within = divmod(minute, _DAY)
        return self._first_of_day(day) + int(self._within(day)[within])

    def minute(self, number: int) -> int:
        """The minute of a trade."""
        day = _ORIGIN + (number - _FIRST) // (_DAY * _PLACES)
        if _is_counted(day):
            # No day has more trades than places.
            while _is_counted(day) and self._first_of_day(day + 1) <= number:
                day += 1
            while _is_counted(day) and self._first_of_day(day) > number:
                day -= 1
        within = np.searchsorted(self._within(day), number - self._first_of_day(day), side="right")
        return day * _DAY + max(int(within) - 1, 0)

    def _first_of_day(self, day: int) -> int:
        if not _is_counted(day):
            return _FIRST + (day - _ORIGIN) * _DAY * _PLACES
        with self._lock:
            return self._count_days(day - _ORIGIN)

    def _count_days(self, at: int) -> int:
        while at >= len(self._forward):
            known = len(self._forward) - 1
            days = min(at - known, _MOST_DAYS)
            totals = self._totals(_ORIGIN + known, days)
            self._forward += (self._forward[-1] + np.cumsum(totals)).tolist()
        while -at >= len(self._backward):
            known = len(self._backward) - 1
            days = min(-at - known, _MOST_DAYS)
            totals = self._totals(_ORIGIN - known - days, days)[::-1]
            self._backward += (self._backward[-1] - np.cumsum(totals)).tolist()
        return self._forward[at] if at >= 0 else self._backward[-at]

    def _totals(self, day: int, days: int) -> Ints:
        return np.asarray(self._count(day * _DAY, days * _DAY).reshape(days, _DAY).sum(axis=1))

    def _within(self, day: int) -> Ints:
        """Trades of a day before each of its minutes."""
        if not _is_counted(day):
            return np.arange(_DAY, dtype=np.int64) * _PLACES
        kept = self._day
        if kept is None or kept[0] != day:
            counts = self._count(day * _DAY, _DAY)
            self._day = kept = (day, np.cumsum(counts) - counts)
        return kept[1]


def _is_counted(day: int) -> bool:
    return abs(day - _ORIGIN) <= _COUNTED_DAYS
