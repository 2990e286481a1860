"""This module finds the gaps of many series and days at once, and gathers those of each day in a list.

It decides which days can have a gap at all, and compares bar by bar only there (`gaps.find_gaps`). Stored bars are unique and,
unless a source keeps unaligned ones, on the grid: a day with as many bars as the calendar expects has no gap, and a day without
any is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from gb_pipeline.quality.coverage_model import COVERAGE, find_absences
from gb_pipeline.quality.gaps import GAPS, REASONS, GapReason, compare
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import Integers, SessionRuns, expand, row_runs
from gb_pipeline.quality.session_days import Flags, SessionDays

_GAP = ("start", "end", "missing", "reason")
# A gap and the position of its day.
_PLACED = pl.Schema({"place": pl.Int64(), **{name: GAPS[name] for name in _GAP}})
_NO_GAPS = pl.DataFrame(schema=_PLACED)
_NO_COVERAGE = pl.DataFrame(schema={"place": pl.Int64(), **COVERAGE})
_NO_LIST = pl.Series("gaps", [[]], dtype=pl.List(pl.Struct({name: GAPS[name] for name in _GAP})))
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
    in_doubt: Flags | None = None,
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
        in_doubt: positions of which the response does not tell what the vendor has: nothing absent there is explained.
        failed: there was no response.

    Returns:
        The gaps, those of closed days and of days on which a symbol is not listed among them.
    """
    actual, bars = days.add(places, runs.counts), days.of_days(expected.counts)
    open_days = days.listed & ~days.closed
    suspects = open_days & (bars > 0) & (True if rules.allow_unaligned else actual != bars)
    # A day without a stored or a refused row is missing as a whole.
    empty_days = suspects & (actual == 0) & (days.count(refused) == 0)
    doubts = np.zeros(days.height, dtype=bool) if in_doubt is None else in_doubt
    coverage = [
        _empty_days(days, expected, empty_days & doubts, GapReason.FETCH_FAILED if failed else GapReason.UNKNOWN),
        _empty_days(days, expected, empty_days & ~doubts, GapReason.FETCH_FAILED if failed else GapReason.VENDOR_EMPTY),
    ]
    suspect_places = np.flatnonzero(suspects & ~empty_days)
    if len(suspect_places):
        is_suspect = np.isin(places, suspect_places)
        rows = runs.frame.select("symbol", "timestamp")[expand(runs.starts[is_suspect], runs.counts[is_suspect])]
        expected_bars = _expected_bars_of(days, expected, suspect_places)
        refused_with_stamp = refused.filter(pl.col("timestamp").is_not_null())
        doubtful = np.flatnonzero(doubts)
        bar_runs = compare(
            expected_bars,
            rows,
            rules.gap_policy,
            refused=refused_with_stamp,
            in_doubt=pl.DataFrame([days.symbols[doubtful], days.sessions[doubtful]]) if len(doubtful) else None,
            failed=failed,
        )
        bar_places = pl.Series("place", days.places(bar_runs["symbol"], bar_runs["session"]))
        coverage.append(bar_runs.with_columns(bar_places).select(_NO_COVERAGE.columns))
    absences = find_absences(pl.concat(coverage), REASONS).select(_PLACED.names())
    not_expected = [closed_gaps(days), _whole_days(days, ~days.listed, GapReason.NOT_LISTED)]
    return gather_gaps(days, pl.concat([*not_expected, absences]))


def gather_gaps(days: SessionDays, gaps: pl.DataFrame) -> DayGaps:
    """The lists of each position.

    Args:
        days: the positions.
        gaps: `place`, `start`, `end`, `missing`, `reason`; those of one place in order of time.
    """
    if gaps.is_empty():
        no_gaps = np.zeros(days.height, np.int64)
        return DayGaps(no_gaps, no_gaps, _NO_LIST.new_from_index(0, days.height))
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
        return _NO_GAPS
    begins = days.numbers[places] * _DAY
    return _place_gaps(places, pl.Series(begins), pl.Series(begins + _DAY), np.zeros(len(places), np.int64), reason)


def _empty_days(days: SessionDays, expected: ExpectedBars, where: Flags, reason: GapReason) -> pl.DataFrame:
    """Coverage of days of which nothing is stored."""
    places = np.flatnonzero(where)
    if not len(places):
        return _NO_COVERAGE
    day_places = places % days.count_of_days
    first, count = expected.starts[day_places], expected.counts[day_places]
    begins, ends = expected.grid["timestamp"][first], expected.grid["end"][first + count - 1]
    reasons = pl.Series([reason.value]).new_from_index(0, len(places))
    columns = (places, days.symbols[places], days.sessions[places], begins, ends, count, np.zeros_like(count), reasons)
    named = dict(zip(_NO_COVERAGE.columns, columns, strict=True))
    return pl.DataFrame(named, schema_overrides=_NO_COVERAGE.schema)


def _place_gaps(
    places: Integers, starts: pl.Series, ends: pl.Series, missing: Integers, reason: GapReason
) -> pl.DataFrame:
    reasons = pl.Series([reason.value]).new_from_index(0, len(places))
    columns = (pl.Series(places), starts, ends, pl.Series(missing), reasons)
    return pl.DataFrame(
        [values.cast(kind).alias(name) for (name, kind), values in zip(_PLACED.items(), columns, strict=True)]
    )


def _expected_bars_of(days: SessionDays, expected: ExpectedBars, places: Integers) -> pl.DataFrame:
    """The expected bars of some positions, in order: `symbol`, `session`, `timestamp`, `end`."""
    day_places = places % days.count_of_days
    bars = expected.grid[expand(expected.starts[day_places], expected.counts[day_places])]
    return bars.with_columns(days.symbols[np.repeat(places, expected.counts[day_places])])
