"""The gaps of many series and days at once.

This module decides which days can have a gap at all, looks bar by bar only there (`gaps.find_gaps`), and gathers the gaps of
each day in a list. Stored bars are unique and, unless a source keeps unaligned ones, on the grid: a day with as many bars as
the calendar expects has no gap, and a day without any is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from gb_pipeline.quality.gaps import GAPS, GapReason, find_gaps
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import Integers, SessionRuns, expand, row_runs
from gb_pipeline.quality.session_days import Flags, SessionDays

_GAP = ("start", "end", "missing", "reason")
# A gap and the position of its day.
_PLACED = pl.Schema({"place": pl.Int64(), **{name: GAPS[name] for name in _GAP}})
_NONE = pl.DataFrame(schema=_PLACED)
# In microseconds.
_DAY = 86_400_000_000


class ExpectedBars:
    """What the calendar expects of each day of a window.

    Attributes:
        grid: `session`, `timestamp` and `end` of the bars, sorted by timestamp.
        starts, counts: where the bars of each of the window's days begin in it, and how many there are.
    """

    def __init__(self, days: SessionDays, grid: pl.DataFrame) -> None:
        """Count the bars of a grid by day."""
        self.grid = grid
        starts, counts = row_runs(grid, ["session"])
        places = days.day_places(grid["session"][starts])
        self.starts = np.zeros(days.count_of_days, np.int64)
        self.counts = np.zeros(days.count_of_days, np.int64)
        self.starts[places], self.counts[places] = starts, counts


@dataclass(frozen=True, slots=True)
class DayGaps:
    """The gaps of every position.

    Attributes:
        counts: how many each has.
        missing: how many bars are missing in them.
        lists: List of Struct `start, end, missing, reason`, in order of time; empty where there is no gap.
    """

    counts: Integers
    missing: Integers
    lists: pl.Series


def closed_gaps(days: SessionDays) -> pl.DataFrame:
    """One gap without a missing bar for every closed day."""
    return _whole_days(days, days.closed, GapReason.CLOSED)


def gaps_by_day(
    days: SessionDays,
    expected: ExpectedBars,
    runs: SessionRuns,
    places: Integers,
    rules: BarRules,
    *,
    refused: pl.DataFrame,
    failed: bool = False,
) -> DayGaps:
    """Gaps of every day of every series.

    Args:
        days: the positions.
        expected: what the calendar expects of them.
        runs: what is stored.
        places: the positions of the runs.
        rules: of the source: what an absent bar means, and whether bars may lie off the grid.
        refused: `symbol`, `session`, `timestamp` of rows that were delivered and refused.
        failed: there was no answer.

    Returns:
        The gaps, those of closed days and of days on which a symbol is not listed among them.
    """
    actual, bars = days.add(places, runs.counts), days.of_days(expected.counts)
    open_days = days.listed & ~days.closed
    suspects = open_days & (bars > 0) & (True if rules.allow_unaligned else actual != bars)
    # Of a day without a stored and without a refused row there is nothing to look up.
    bare = suspects & (actual == 0) & (days.count(refused) == 0)
    parts = [
        closed_gaps(days),
        _whole_days(days, ~days.listed, GapReason.NOT_LISTED),
        _bare_days(days, expected, bare, GapReason.FETCH_FAILED if failed else GapReason.VENDOR_EMPTY),
    ]
    looked_at = np.flatnonzero(suspects & ~bare)
    if len(looked_at):
        known = np.isin(places, looked_at)
        rows = runs.frame.select("symbol", "timestamp")[expand(runs.starts[known], runs.counts[known])]
        wanted = _grid_of(days, expected, looked_at)
        stamped = refused.filter(pl.col("timestamp").is_not_null())
        found = find_gaps(wanted, rows, rules.gap_policy, refused=stamped, failed=failed)
        parts.append(found.select(pl.Series("place", days.places(found["symbol"], found["session"])), *_GAP))
    return gather_gaps(days, pl.concat(parts))


def gather_gaps(days: SessionDays, gaps: pl.DataFrame) -> DayGaps:
    """The lists of each position.

    Args:
        days: the positions.
        gaps: `place`, `start`, `end`, `missing`, `reason`; those of one place in order of time.
    """
    if not gaps["place"].is_sorted():
        gaps = gaps.sort("place", maintain_order=True)
    places = gaps["place"].to_numpy()
    counts = days.add(places, np.ones(len(places), np.int64))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
    items = gaps.select(_GAP).to_struct().to_arrow()
    lists = pl.Series("gaps", pl.from_arrow(pa.LargeListArray.from_arrays(offsets, items)))
    return DayGaps(counts, days.add(places, gaps["missing"].to_numpy()), lists)


def _whole_days(days: SessionDays, where: Flags, reason: GapReason) -> pl.DataFrame:
    places = np.flatnonzero(where)
    if not len(places):
        return _NONE
    begins = days.numbers[places] * _DAY
    return _placed(places, pl.Series(begins), pl.Series(begins + _DAY), np.zeros(len(places), np.int64), reason)


def _bare_days(days: SessionDays, expected: ExpectedBars, where: Flags, reason: GapReason) -> pl.DataFrame:
    places = np.flatnonzero(where)
    if not len(places):
        return _NONE
    at = places % days.count_of_days
    first, missing = expected.starts[at], expected.counts[at]
    last = first + missing - 1
    return _placed(places, expected.grid["timestamp"][first], expected.grid["end"][last], missing, reason)


def _placed(places: Integers, starts: pl.Series, ends: pl.Series, missing: Integers, reason: GapReason) -> pl.DataFrame:
    reasons = pl.Series([reason.value]).new_from_index(0, len(places))
    columns = (pl.Series(places), starts, ends, pl.Series(missing), reasons)
    return pl.DataFrame(
        [values.cast(kind).alias(name) for (name, kind), values in zip(_PLACED.items(), columns, strict=True)]
    )


def _grid_of(days: SessionDays, expected: ExpectedBars, places: Integers) -> pl.DataFrame:
    """The expected bars of some positions, in order: `symbol`, `session`, `timestamp`, `end`."""
    at = places % days.count_of_days
    bars = expected.grid[expand(expected.starts[at], expected.counts[at])]
    return bars.with_columns(days.symbols[np.repeat(places, expected.counts[at])])
