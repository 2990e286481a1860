"""This module asks the calendar what is expected of a window: which bars, in which sessions, and which days are closed.

What is there of it is described in `coverage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl

from gb_pipeline.market.exchange_sessions import ALWAYS_OPEN
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.quality.runs import row_runs, whole_numbers


@dataclass(frozen=True)
class Expectation:
    """What the calendar expects of a window.

    Attributes:
        grid: `session`, `timestamp`, `end` of every bar that should exist by now in the sessions that the window touches.
        sessions: those sessions, including ones of which no bar is closed yet.
        closed: days of the window without a session.
        hull: from the first instant of the first session to the last of the last; at least the window.
        whole: whether the window covers all its sessions.
    """

    grid: pl.DataFrame
    sessions: tuple[date, ...]
    closed: tuple[date, ...]
    hull: Window
    whole: bool


def expect(rules: BarRules, window: Window, now: datetime) -> Expectation:
    """Ask the calendar about a window.

    Args:
        rules: of the source: its calendar, the resolution, where bars start, and how long after its end one is closed.
        window: the requested one.
        now: the present, aware; bars that are not closed yet are not expected.

    Raises:
        ConfigError: the window reaches beyond what the calendar knows.

    Example:
        >>> expect(BarRules(), Window.of("2024-01-02", "2024-01-03"), now).grid.height
        1440
    """
    grid, sessions, closed, hull, whole = _calendar_facts(rules, window)
    if not grid.is_empty() and grid["end"].max() + rules.grace > now:  # type: ignore[operator]
        grid = grid.filter(pl.col("end") + rules.grace <= now)
    return Expectation(grid, sessions, closed, hull, whole)


# One window is requested for many groups of symbols, one after the other.
@lru_cache(maxsize=2)
def _calendar_facts(
    rules: BarRules, window: Window
) -> tuple[pl.DataFrame, tuple[date, ...], tuple[date, ...], Window, bool]:
    """An expectation whose grid ends with the window's last session, whatever the time is."""
    calendar, resolution = rules.calendar, rules.resolution
    # Sessions may begin up to a day before and end up to a day after their date, in UTC.
    margin = timedelta(days=2 if resolution.intraday and calendar.name != ALWAYS_OPEN else 0)
    until = window.end.date() + margin + timedelta(days=1)
    grid = calendar.expected(window.start.date() - margin, until, resolution, rules.alignment)
    # The grid is in the order of time, and so are its sessions.
    stamps, days = whole_numbers(grid["timestamp"]), whole_numbers(grid["session"])
    low, high = np.searchsorted(stamps, [microseconds(window.start), microseconds(window.end)])
    first = last = low
    if low < high:
        first, last = np.searchsorted(days, days[low]), np.searchsorted(days, days[high - 1], "right")
    bars = grid.slice(int(first), int(last - first))
    bars = bars.hstack([calendar.bar_ends(bars["timestamp"], resolution).alias("end")])
    starts, _ = row_runs(bars, ["session"])
    sessions = tuple(bars["session"][starts])
    hull = window
    if resolution.intraday and sessions:
        begin, end = calendar.session_window(sessions[0]).start, calendar.session_window(sessions[-1]).end
        hull = Window(min(window.start, begin), max(window.end, end))
    whole = bars.height == high - low
    return bars, sessions, _closed_days(rules, window), hull, whole


def _closed_days(rules: BarRules, window: Window) -> tuple[date, ...]:
    if rules.resolution in {Resolution.WEEK, Resolution.MONTH} or window.empty:
        return ()
    zone = rules.calendar.zone if rules.resolution.intraday else window.start.tzinfo
    first = window.start.astimezone(zone).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(zone).date()
    return tuple(rules.calendar.closed_days(first, last + timedelta(days=1)))
