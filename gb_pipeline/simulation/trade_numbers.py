"""This module numbers an instrument's trades one after another, without any history, as exchanges do.

How many trades there were until a minute is a formula that only grows: a steady rate, more of it in the busy hours of a day,
and a little chance. A minute has as many trades as the formula grows in it, so none has to be counted to number the next one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_DAY = 1440
# The busiest minute has so much more than the usual one, and the quietest so much less.
_SWING = 0.45
# Within these, no minute has fewer than 4 trades, nor more than 2,000.
_RATES = (8.0, 1_250.0)
# A day's swing moves the count by less than this many minutes of the usual rate, and chance by less than one.
_REACH = int(_SWING * _DAY / (2 * np.pi)) + 2


class TradeNumbers:
    """Numbers of one instrument's trades.

    Args:
        rate: trades of a usual minute; at least 8 and at most 1,250 are taken.
        chance: of each of some minutes (since 1970), a number from 0 to less than 1.
    """

    def __init__(self, rate: float, chance: Callable[[Ints], Floats]) -> None:
        """Only the swing of a day is computed."""
        self._rate = min(max(rate, _RATES[0]), _RATES[1])
        # Half of what the quietest minute has beyond four.
        self._spread = (self._rate * (1 - _SWING) - 4) / 2
        self._chance = chance
        # Quiet around 04:00 UTC, busy around 16:00; a table, so that a minute's swing is the same to the last bit every time.
        self._swing = -_SWING * _DAY / (2 * np.pi) * np.cos(np.arange(_DAY) * (2 * np.pi / _DAY) - 2.6)

    def first(self, minute: int) -> int:
        """Number of a minute's first trade; minutes since 1970."""
        return int(self._until(np.array([minute], np.int64))[0])

    def counts(self, minute: Ints) -> Ints:
        """Trades of each of some minutes: 4 to 2,000."""
        return self._until(minute + 1) - self._until(minute)

    def minute(self, number: int) -> int:
        """The minute of a trade."""
        about = int(number / self._rate)
        near = np.arange(about - _REACH, about + _REACH + 1, dtype=np.int64)
        return int(near[np.searchsorted(self._until(near), number, side="right") - 1])

    def _until(self, minute: Ints) -> Ints:
        """Trades before each of some minutes."""
        trades = self._rate * (minute + self._swing[minute % _DAY]) + self._spread * self._chance(minute)
        return np.asarray(np.floor(trades), np.int64)
