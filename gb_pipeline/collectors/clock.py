"""This module is the clock by which messages are stamped: it grows with every stamp, also where somebody sets the machine's clock.

The machine's wall clock says where it begins, and a clock that nobody sets how it goes on. Once the two have come apart, the wall
clock was set: whoever stamps ends what rests on the stamps so far, and follows it then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# A clock that is corrected slowly never gets so far away between two looks.
_SET_NS = 250_000_000


class ReceiveClock:
    """Stamps in ns since 1970 UTC, each greater than the one before while nobody sets the clock back.

    Args:
        wall: the machine's clock.
        steady: one that nobody sets.

    Example:
        >>> clock = ReceiveClock()
        >>> clock.stamp() < clock.stamp()
        True
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = time.monotonic_ns) -> None:
        """Begin with the machine's clock."""
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()
        self._last = 0

    def now(self) -> int:
        """The moment."""
        return self._steady() + self._offset

    def stamp(self) -> int:
        """The moment, or the next one that no message has yet."""
        self._last = max(self._steady() + self._offset, self._last + 1)
        return self._last

    def step(self) -> int:
        """By how many ns the machine's clock was set since `follow`; 0 if it was not."""
        step = self._wall() - self._steady() - self._offset
        return 0 if abs(step) < _SET_NS else step

    def follow(self, step: int) -> None:
        """Stamps go with the machine's clock again, from the next one on; those before it may be greater."""
        self._offset += step
        self._last = 0
