"""This module tells whether a frame of bars breaks any rule at all.

Most frames break none, and one pass over their columns is enough to know that: the smallest and largest values, comparisons of
whole columns, and the grid of the calendar. Which row breaks which rule is found out by `model`; both agree on every frame.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.market.exchange_sessions import ALWAYS_OPEN
from gb_pipeline.market.moments import INSTANT, MICROSECOND, microseconds
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.window import Window
from gb_pipeline.quality.placement import place
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import Integers, whole_numbers

_DAY = timedelta(days=1)
_REQUIRED = (*PRICES, "volume")


def sessions_if_clean(frame: pl.DataFrame, rules: BarRules, window: Window, now: datetime) -> pl.Series | None:
    """The session of every row, if no row breaks a rule.

    Args:
        frame: `symbol`, `timestamp` (Datetime us UTC), `open, high, low, close, volume` (Decimal), `trade_count` (Int64).
        rules: what the rows are validated against.
        window: the requested window.
        now: the present, aware.

    Returns:
        `session` (Date); None where the model of `model.bar_model` finds a row that breaks a rule.
    """
    stamps = frame["timestamp"]
    if frame.is_empty():
        return rules.calendar.session_of(stamps, rules.resolution)
    if any(frame[name].null_count() for name in ("timestamp", *_REQUIRED)) or not _values_hold(frame, rules):
        return None
    moments = whole_numbers(stamps)
    steps = np.diff(moments)
    if not _closed_in_window(moments, rules, window, now) or _has_repeats(frame["symbol"], steps):
        return None
    if not rules.resolution.intraday:
        return _sessions_of_labels(stamps, moments, rules)
    if rules.calendar.name == ALWAYS_OPEN:
        return _sessions_of_days(moments, steps, rules)
    return _sessions_of_grid(frame, moments, rules)


def _values_hold(frame: pl.DataFrame, rules: BarRules) -> bool:
    open_, high, low, close = (frame[name] for name in PRICES)
    # A high that is not below open and close, and a low that is not above them, are in order with each other.
    in_order = all(
        (above >= below).all() for above, below in ((high, open_), (high, close), (open_, low), (close, low))
    )
    return (
        in_order
        and _smallest(frame["volume"]) >= 0
        and _smallest(frame["trade_count"]) >= 0
        and (rules.allow_negative_prices or _smallest(low) > 0)
    )


def _smallest(column: pl.Series) -> Any:
    """The smallest number of a column, 0 of one without numbers."""
    smallest = column.min()
    return 0 if smallest is None else smallest


def _closed_in_window(moments: Integers, rules: BarRules, window: Window, now: datetime) -> bool:
    """Whether all stamps lie in the window, and the last bar is closed; no bar is closed later than it."""
    low, high = int(moments.min()), int(moments.max())
    if low < microseconds(window.start) or high >= microseconds(window.end) or high > microseconds(now):
        return False
    end = rules.calendar.bar_ends(pl.Series([high]).cast(INSTANT), rules.resolution).item()
    return end is not None and end + rules.grace <= now


def _has_repeats(symbols: pl.Series, steps: Integers) -> bool:
    repeats = np.flatnonzero(steps == 0)
    return len(repeats) > 0 and bool((symbols[repeats] == symbols[repeats + 1]).any())


def _sessions_of_labels(stamps: pl.Series, moments: Integers, rules: BarRules) -> pl.Series | None:
    """Of days and longer bars: the stamp is midnight of a date that has a session."""
    if (moments % (_DAY // MICROSECOND)).any() and not rules.allow_unaligned:
        return None
    sessions = rules.calendar.session_of(stamps, rules.resolution)
    return None if sessions.null_count() else sessions


def _sessions_of_days(moments: Integers, steps: Integers, rules: BarRules) -> pl.Series | None:
    """Of a market that never closes: every row is on the grid where it is one step after one that is."""
    step = rules.resolution.duration // MICROSECOND  # type: ignore[operator]
    if not rules.allow_unaligned:
        begins = moments[np.concatenate([[0], np.flatnonzero(steps != step) + 1])]
        if (begins % step).any():
            return None
    days = (moments // (_DAY // MICROSECOND)).astype(np.int32)
    return pl.Series("session", days).cast(pl.Date)


def _sessions_of_grid(frame: pl.DataFrame, moments: Integers, rules: BarRules) -> pl.Series | None:
    """Of a market with hours: every stamp is one that the calendar expects."""
    calendar, resolution = rules.calendar, rules.resolution
    ends = pl.Series([int(moments.min()), int(moments.max())]).cast(INSTANT)
    first, last = calendar.session_of(ends, resolution)
    if first is None or last is None:
        return None
    grid = calendar.expected(first, last + _DAY, resolution, rules.alignment)["timestamp"]
    expected = whole_numbers(grid)
    positions = np.searchsorted(expected, moments)
    if len(expected) and (expected.take(positions, mode="clip") == moments).all():
        return calendar.session_of(grid, resolution).gather(positions)
    if not rules.allow_unaligned:
        return None
    placed = place(frame.select("timestamp"), rules)
    all_in_hours = placed["session"].null_count() == 0 and placed["in_hours"].all()
    return placed["session"] if all_in_hours else None
