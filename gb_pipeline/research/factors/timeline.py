"""The sessions of a run, and the stretches of them that are computed together.

A row belongs to a session and sees the bars of the sessions before it. Rows of two calendar years are computed together, whatever
part of them is asked for, so that a number does not depend on where a run begins or how it is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.moments import day_number, microseconds
from gb_pipeline.reading.arguments import EARLIEST, LATEST

YEARS = 2
# Calendar days that so many sessions lie within: two in three days are sessions, on every calendar, over some weeks.
_DAYS_A_SESSION = 1.6
_MARGIN = 40


@dataclass(frozen=True)
class Timeline:
    """Sessions in a row.

    Attributes:
        days: days since 1970 (Int32), sorted.
        opens, closes: of each, microseconds since 1970, UTC.
    """

    days: npt.NDArray[np.int32]
    opens: npt.NDArray[np.int64]
    closes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, calendar: Calendar, start: date, end: date, lookback: int) -> Timeline:
        """The sessions of [start, end), and at least `lookback` before them as far as the calendar goes."""
        most = timedelta.max.days
        reach = timedelta(days=min(int(min(lookback, most) * _DAYS_A_SESSION) + _MARGIN, most))
        earliest = max(EARLIEST.date(), calendar.first or date.min) + timedelta(days=1)
        first = max(earliest, start - reach) if start - date.min > reach else earliest
        last = min(end, calendar.end or LATEST.date())
        hours = calendar.schedule(first, max(first, last))
        return cls(
            hours["session"].to_physical().to_numpy(),
            hours["open"].to_physical().to_numpy(),
            hours["close"].to_physical().to_numpy(),
        )

    def day(self, position: int) -> date:
        """The session at a position."""
        return date(1970, 1, 1) + timedelta(days=int(self.days[position]))

    def first_from(self, day: date) -> int:
        """The position of the first session on or after a day."""
        return int(np.searchsorted(self.days, day_number(day)))

    def first_after_close(self, moment: datetime) -> int:
        """The position behind the first session that is not closed at a moment: its row sees no bar that is still open."""
        return int(np.searchsorted(self.closes, microseconds(moment), side="right")) + 1


@dataclass(frozen=True, slots=True)
class Block:
    """Sessions whose rows are computed together, as positions in a timeline.

    Attributes:
        first, end: half-open range of the rows.
        live: from here on a row is computed as it was known in its session; cross-sections of earlier sessions are rolled over.
        warm: from here on bars are read.
    """

    first: int
    end: int
    live: int
    warm: int


def block_start(day: date) -> date:
    """The first day of the years that are computed together with a day."""
    return date(max(1, (day.year - 1) // YEARS * YEARS + 1), 1, 1)


def blocks(timeline: Timeline, start: int, end: int, live_before: int, warm_before: int) -> Iterator[Block]:
    """What has to be computed for the rows of [start, end).

    Args:
        live_before: sessions before a block whose cross-sections it rolls over.
        warm_before: sessions before those whose bars it needs.
    """
    position = start
    while position < end:
        begin = block_start(timeline.day(position))
        first = timeline.first_from(begin)
        until = min(end, timeline.first_from(date(begin.year + YEARS, 1, 1)))
        live = max(0, first - live_before)
        yield Block(first, until, live, max(0, live - warm_before))
        position = until


def to_sessions(days: npt.NDArray[np.int32]) -> pl.Series:
    """Dates."""
    return pl.Series("session", days).cast(pl.Date)
