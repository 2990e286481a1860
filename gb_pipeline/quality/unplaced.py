"""This module accounts for rows that belong to no session of the requested window, symbol by symbol.

Their stamp cannot be read, is outside the window, or lies on a day without a session. Too many of them discredit the whole
answer: the format, the unit, the time zone or the calendar is probably wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.window import Window
from gb_pipeline.quality.reasons import (
    AMBIGUOUS_TIMESTAMP,
    IMPLAUSIBLE_TIMESTAMP,
    NO_ZONE,
    SKIPPED_TIMESTAMP,
    UNNAMED_LINE,
    UNREADABLE_TIMESTAMP,
)
from gb_pipeline.quality.rules import BarRules

# No source has bars of these years.
_FIRST_YEAR, _END_YEAR = 1700, 2200
# What a stamp has to be multiplied by, as (factor, divisor), and which mistake makes that necessary.
_UNITS = (
    ((1_000, 1), "seconds read as milliseconds, or milliseconds as microseconds"),
    ((1_000_000, 1), "seconds read as microseconds, or milliseconds as nanoseconds"),
    ((1, 1_000), "microseconds read as milliseconds, or milliseconds as seconds"),
    ((1, 1_000_000), "microseconds read as seconds, or nanoseconds as milliseconds"),
)
# What to do about rows, by the first reason that they have.
_FIXES = {
    IMPLAUSIBLE_TIMESTAMP: "set the unit that the stamps are in",
    NO_ZONE: "set `timezone`, the zone whose clock these times are of",
    SKIPPED_TIMESTAMP: "check `timezone`: its clock went forward past these times",
    UNREADABLE_TIMESTAMP: "set the format that the stamps have",
    AMBIGUOUS_TIMESTAMP: "set `ambiguous: order`, which reads both hours by the order of the lines, or `earliest` or `latest`",
    UNNAMED_LINE: "see whose these lines are, and name the instrument in each",
}
_WRONG_DAYS = "check `calendar` and `timezone` of the source"


@dataclass(frozen=True, slots=True)
class UnplacedRows:
    """Rows of one symbol that belong to no session of the window.

    Attributes:
        rows: how many.
        out_of: rows that were read: those of the answer, or of the whole file that it comes from.
        reasons: rows by code; a row may have several.
        years: first and last year of their stamps; None where none can be read.
        guess: which mistake would explain implausible stamps.
        of_any_day: rows whose day is not known; no day is known to have none of them.
        refused: whether they are too many, so that nothing of the answer is stored.
    """

    rows: int
    out_of: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    years: tuple[int, int] | None = None
    guess: str = ""
    of_any_day: int = 0
    refused: bool = False

    def __add__(self, other: UnplacedRows) -> UnplacedRows:
        """The rows of both."""
        years = [*(self.years or ()), *(other.years or ())]
        return UnplacedRows(
            self.rows + other.rows,
            self.out_of + other.out_of,
            dict(Counter(self.reasons) + Counter(other.reasons)),
            (min(years), max(years)) if years else None,
            self.guess or other.guess,
            self.of_any_day + other.of_any_day,
            self.refused or other.refused,
        )

    @property
    def sentence(self) -> str:
        """`2 of 3 rows belong to no session: 2 x implausible_timestamp (of the years 56971 to 56974: ...)`."""
        named = ", ".join(f"{count:,} x {code}" for code, count in self.reasons.items())
        verb = "belongs" if self.rows == 1 else "belong"
        years = ""
        if self.years is not None and IMPLAUSIBLE_TIMESTAMP in self.reasons:
            first, last = self.years
            of = f"the year {first}" if first == last else f"the years {first} to {last}"
            years = f" (stamps of {of}{f': {self.guess}?' if self.guess else ''})"
        return f"{self.rows:,} of {self.out_of:,} rows {verb} to no session that was asked for: {named}{years}"

    @property
    def fix(self) -> str:
        """What to look at."""
        known = next((fix for reason, fix in _FIXES.items() if reason in self.reasons), _WRONG_DAYS)
        return f"{known}; the rows are in the table `quarantine`"


def is_far(window: Window) -> pl.Expr:
    """Rows with a `timestamp` more than a week outside the window: the calendar is not asked about them."""
    day = 86_400_000_000
    first, end = microseconds(window.start) - 7 * day, microseconds(window.end) + 7 * day
    stamp = pl.col("timestamp").to_physical()
    return ((stamp < first) | (stamp >= end)).fill_null(False)


def is_absurd() -> pl.Expr:
    """Rows with a `timestamp` of a year of which no source has bars."""
    year = pl.col("timestamp").dt.year()
    return ((year < _FIRST_YEAR) | (year >= _END_YEAR)).fill_null(False)


def is_implausible(window: Window) -> pl.Expr:
    """Far rows that no source has, or that lie in the window if their unit is another one."""
    guesses = [_in_window_times(scale, window) for scale, _ in _UNITS]
    return is_far(window) & (is_absurd() | pl.any_horizontal(guesses)).fill_null(False)


def _in_window_times(scale: tuple[int, int], window: Window) -> pl.Expr:
    """Whether a stamp lies in the window once it is multiplied; nothing is, so that nothing overflows."""
    factor, divisor = scale
    stamp = pl.col("timestamp").to_physical()
    first, end = microseconds(window.start) * divisor // factor, microseconds(window.end) * divisor // factor
    limit = 2**63 - 1
    return (stamp >= max(first, -limit)) & (stamp < min(end, limit)) & pl.lit(abs(first) < limit)


def doubtful_days(frame: pl.DataFrame, rules: BarRules, window: Window) -> pl.DataFrame:
    """Days of which an answer does not tell whether the vendor has something: those around rows whose day is not known.

    Such a row stands between others, so it is of a day near theirs; one absurd row says nothing about all other years.

    Args:
        frame: `symbol`, `timestamp` and perhaps `fault` of an answer, in the order in which its rows came.
        rules: of the source.
        window: the requested one.

    Returns:
        Columns `symbol`, `first`, `last` (Date, both inclusive).
    """
    fault = pl.col("fault") if "fault" in frame.columns else pl.lit(None, pl.String)
    of_no_day = (pl.col("timestamp").is_null() & fault.ne_missing(AMBIGUOUS_TIMESTAMP)) | is_implausible(window)
    near = frame.select(pl.when(~is_far(window)).then("timestamp").alias("timestamp")).to_series()
    rows = frame.select("symbol", of_no_day.alias("of_no_day")).with_columns(
        rules.calendar.session_of(near, rules.resolution).alias("session")
    )
    known = pl.when(~pl.col("of_no_day")).then("session")
    before, after = known.forward_fill().over("symbol"), known.backward_fill().over("symbol")
    spans = (
        rows.with_columns(
            pl.min_horizontal(before, after).alias("first"), pl.max_horizontal(before, after).alias("last")
        )
        .filter("of_no_day")
        .group_by("symbol", "first", "last")
        .len()
    )
    # So many rows may fill so many sessions, with a weekend and a holiday in each week.
    reach = pl.duration(days=pl.col("len") * 7 // 4 + 4)
    # Where no row has a day, it may be any of the window.
    first, last = pl.lit(window.start.date()), pl.lit(window.end.date())
    return spans.select("symbol", (pl.col("first") - reach).fill_null(first), (pl.col("last") + reach).fill_null(last))


def find_unplaced(
    bad: pl.DataFrame, window: Window, received: Mapping[str, int], rows_read: Mapping[str, int]
) -> dict[str, UnplacedRows]:
    """The rows of each symbol that belong to no session of the window; nothing is refused yet.

    Args:
        bad: `symbol`, `session` (null outside the window's sessions), `timestamp`, `reasons` of rows that are not good.
        window: the requested one.
        received: rows of the answer by symbol.
        rows_read: rows that were read for it, where these are more.
    """
    found = {}
    for (symbol,), own in bad.filter(pl.col("session").is_null()).group_by("symbol", maintain_order=True):
        code = str(symbol)
        counts = Counter(own["reasons"].explode().to_list())
        unknown = own["timestamp"].is_null() & ~own["reasons"].list.contains(AMBIGUOUS_TIMESTAMP)
        strange = own.filter(pl.col("reasons").list.contains(IMPLAUSIBLE_TIMESTAMP))
        years = strange["timestamp"].dt.year()
        first, last = years.min(), years.max()
        found[code] = UnplacedRows(
            rows=own.height,
            out_of=max(received.get(code, 0), rows_read.get(code, 0)),
            reasons=dict(counts.most_common()),
            years=(first, last) if isinstance(first, int) and isinstance(last, int) else None,
            guess=_guess_unit(strange, window),
            of_any_day=int(unknown.sum()) + int(strange["timestamp"].count()),
        )
    return found


def _guess_unit(strange: pl.DataFrame, window: Window) -> str:
    for scale, mistake in _UNITS:
        if strange.height and strange.select(_in_window_times(scale, window).any()).item():
            return mistake
    return ""
