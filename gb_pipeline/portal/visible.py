"""`VisibleBars`, versions of bars of one series in memory, and which of them exist at a moment of the simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of bars, sorted by open and then by when they begin to hold. Moments are microseconds since 1970.

    Attributes:
        opens: of the bars.
        holds_from: when the bar was closed and this version of it known.
        holds_until: when another version took its place, or it was removed; `NEVER`.
        values: prices and volumes by column; NaN where there is none.
        stretches: how many ex dates the bar's session has behind it, or, where these are not known once for all, its day since
            1970; 0 where prices are left as they are stored.
    """

    opens: Integers
    holds_from: Integers
    holds_until: Integers
    values: Mapping[str, Floats]
    stretches: Integers

    @classmethod
    def none(cls, fields: tuple[str, ...]) -> Versions:
        """No version at all."""
        moments, numbers = np.empty(0, np.int64), np.empty(0, np.float64)
        return cls(moments, moments, moments, dict.fromkeys(fields, numbers), moments)

    def then(self, later: Versions) -> Versions:
        """These, followed by those of later bars."""
        return Versions(
            np.concatenate([self.opens, later.opens]),
            np.concatenate([self.holds_from, later.holds_from]),
            np.concatenate([self.holds_until, later.holds_until]),
            {name: np.concatenate([column, later.values[name]]) for name, column in self.values.items()},
            np.concatenate([self.stretches, later.stretches]),
        )

    def since(self, first: int, fewest: int = 0) -> Versions:
        """Those of bars that open then or later, and so many older ones that there are as many as `fewest` at least."""
        at = min(int(np.searchsorted(self.opens, first)), max(0, len(self.opens) - fewest))
        values = {name: column[at:] for name, column in self.values.items()}
        return Versions(self.opens[at:], self.holds_from[at:], self.holds_until[at:], values, self.stretches[at:])


class VisibleBars:
    """The bars of one series that exist at a moment. The moment only moves forwards.

    Attributes:
        versions: what is in memory.
        rows: positions in `versions` of the bars that exist, by open; None where they are the first `count`.
        count: how many there are.
    """

    __slots__ = ("_in_order", "_moment", "count", "rows", "versions")

    def __init__(self, versions: Versions) -> None:
        """No moment yet: `move_to` comes first."""
        self.replace(versions)

    def replace(self, versions: Versions) -> None:
        """Take other versions into memory."""
        self.versions = versions
        in_order = bool((versions.holds_until == NEVER).all()) and bool((np.diff(versions.holds_from) >= 0).all())
        # Then the bars that exist are always the first ones, and one search finds how many.
        self._in_order = in_order
        self._moment: int | None = None
        self.rows: Integers | None = None
        self.count = 0

    def move_to(self, moment: int) -> None:
        """Find what exists at this moment."""
        if moment == self._moment:
            return
        self._moment = moment
        versions = self.versions
        if self._in_order:
            self.count = int(versions.holds_from.searchsorted(moment, side="right"))
            return
        rows = np.flatnonzero((versions.holds_from <= moment) & (versions.holds_until > moment))
        self.rows, self.count = rows, len(rows)

    def position(self, number: int) -> int:
        """Where in `versions` the bar of this number is."""
        return number if self.rows is None else int(self.rows[number])

    def open_of(self, number: int) -> int:
        """The open of the bar of this number; -1 is the newest."""
        return int(self.versions.opens[self.position(number if number >= 0 else self.count + number)])

    def last(self, bar_count: int) -> Integers | slice:
        """Where in `versions` the newest bars are."""
        first = max(0, self.count - bar_count)
        return slice(first, self.count) if self.rows is None else self.rows[first:]
