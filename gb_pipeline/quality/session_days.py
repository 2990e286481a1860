"""This module gives every day of every series of a window a position in arrays, symbol after symbol and day after day.

Values that other frames have for a (symbol, session) are put at its position without joins and without a Python row per
session. What the values mean is known to `lake.coverage`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.moments import day_number
from gb_pipeline.quality.runs import Integers, row_runs

Flags = npt.NDArray[np.bool_]
# First session, and first session without the symbol.
Listing = tuple[date | None, date | None]


class SessionDays:
    """The days of a window for each of its symbols.

    Attributes:
        height: how many positions there are.
        closed: where the market has no session.
        listed: where the symbol is listed; everywhere on closed days.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        sessions: Sequence[date],
        closed: Sequence[date],
        listings: Mapping[str, Listing],
    ) -> None:
        """Lay out the days of some symbols, sorted, each once.

        Args:
            symbols: in any order.
            sessions: days with a session.
            closed: days without.
            listings: first session, and first session without the symbol; None where there is none.
        """
        self._symbols = sorted(set(symbols))
        self._codes = {symbol: code for code, symbol in enumerate(self._symbols)}
        labels = np.array([*sessions, *closed], dtype="datetime64[D]").astype(np.int64)
        order = np.argsort(labels)
        self._days = labels[order]
        self.height = len(self._symbols) * len(self._days)
        self.closed = self.of_days(order >= len(sessions))
        self.listed = self.closed | self._listed(listings)
        # The position of every calendar day among ours; -1 where it is none of them.
        self._first = int(self._days[0]) if len(self._days) else 0
        self._place_of = np.full(int(self._days[-1]) - self._first + 1 if len(self._days) else 0, -1)
        self._place_of[self._days - self._first] = np.arange(len(self._days))

    @property
    def count_of_days(self) -> int:
        """How many days the window has."""
        return len(self._days)

    @property
    def symbols(self) -> pl.Series:
        """`symbol` of every position."""
        codes = pl.Series("symbol", self._symbols, dtype=pl.String)
        return codes[np.repeat(np.arange(len(self._symbols)), len(self._days))]

    @property
    def sessions(self) -> pl.Series:
        """`session` (Date) of every position."""
        return pl.Series("session", self.numbers.astype(np.int32)).cast(pl.Date)

    @property
    def numbers(self) -> Integers:
        """The session of every position, as days since 1970-01-01."""
        return self.of_days(self._days)

    def day_places(self, sessions: pl.Series) -> Integers:
        """Which of the window's days each session (Date) is; -1 for one that is not among them."""
        offsets = _numbers(sessions) - self._first
        inside = (offsets >= 0) & (offsets < len(self._place_of))
        return np.where(inside, self._place_of.take(offsets, mode="clip"), -1) if len(self._days) else offsets * 0 - 1

    def of_days(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What holds for a day, at each of its positions."""
        return np.tile(values, len(self._symbols))

    def places(self, symbols: pl.Series, sessions: pl.Series) -> Integers:
        """The position of every symbol and session; -1 where a pair has none."""
        starts, counts = row_runs(symbols.to_frame(), [symbols.name])
        codes = np.array([self._codes.get(symbol, -1) for symbol in symbols[starts]], dtype=np.int64)
        series = np.repeat(codes, counts)
        days = self.day_places(sessions)
        return np.where((series >= 0) & (days >= 0), series * len(self._days) + days, -1)

    def count(self, rows: pl.DataFrame) -> Integers:
        """How many rows of a frame with `symbol` and `session` each position has."""
        starts, counts = row_runs(rows)
        if len(starts) == 0:
            return np.zeros(self.height, np.int64)
        return self.add(self.places(rows["symbol"][starts], rows["session"][starts]), counts)

    def add(self, places: Integers, values: Integers) -> Integers:
        """The sum of the values at each position; a place of -1 counts nowhere."""
        inside = places >= 0
        sums = np.zeros(self.height, np.int64)
        np.add.at(sums, places[inside], values[inside])
        return sums

    def put(self, places: Integers, values: pl.Series) -> pl.Series:
        """Each value at its position, null elsewhere; no position may be named twice."""
        if len(places) == self.height and (places == np.arange(self.height)).all():
            return values
        inside = np.flatnonzero(places >= 0)
        if len(inside) == self.height:
            return values[inside[np.argsort(places[inside])]]
        source = np.full(self.height, len(values))
        source[places[inside]] = inside
        return values.extend_constant(None, 1)[source]

    def _listed(self, listings: Mapping[str, Listing]) -> Flags:
        listed = np.ones((len(self._symbols), len(self._days)), dtype=bool)
        for row, symbol in enumerate(self._symbols):
            first, end = listings.get(symbol, (None, None))
            if first is not None:
                listed[row] &= self._days >= day_number(first)
            if end is not None:
                listed[row] &= self._days < day_number(end)
        return listed.ravel()


def _numbers(days: pl.Series) -> Integers:
    """Days since 1970-01-01; a missing day is far from all others."""
    numbers = days.cast(pl.Int64)
    return (numbers.fill_null(_NO_DAY) if numbers.null_count() else numbers).to_numpy()


_NO_DAY = -(2**40)
