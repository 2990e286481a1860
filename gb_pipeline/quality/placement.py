"""This module places rows in their calendar: the session of every timestamp, when its bar closes, and whether it lies in
trading hours and on the grid.

What follows from it is decided in `model`.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from gb_pipeline.market.exchange_sessions import ALWAYS_OPEN
from gb_pipeline.quality.rules import BarRules


def place(frame: pl.DataFrame, rules: BarRules) -> pl.DataFrame:
    """Add `session` (Date), `end` (Datetime us UTC), `in_hours` and `on_grid` (Boolean) to rows with a `timestamp`.

    `session` is null outside all sessions; all four are null where the timestamp is.
    """
    stamps = frame["timestamp"]
    placed = frame.with_columns(
        rules.calendar.session_of(stamps, rules.resolution).alias("session"),
        rules.calendar.bar_ends(stamps, rules.resolution).alias("end"),
    )
    if not rules.resolution.intraday:
        on_grid = pl.col("timestamp") == pl.col("timestamp").dt.truncate("1d")
        return placed.with_columns(on_grid.alias("on_grid"), pl.col("session").is_not_null().alias("in_hours"))
    if rules.calendar.name == ALWAYS_OPEN:
        step = int(rules.resolution.duration / timedelta(microseconds=1))  # type: ignore[operator]
        on_grid = pl.col("timestamp").to_physical() % step == 0
        return placed.with_columns(on_grid.alias("on_grid"), pl.lit(True).alias("in_hours"))
    return _place_in_sessions(placed, rules)


def _place_in_sessions(placed: pl.DataFrame, rules: BarRules) -> pl.DataFrame:
    first, last = placed["session"].min(), placed["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return placed.with_columns(pl.lit(False).alias("in_hours"), pl.lit(True).alias("on_grid"))
    grid = rules.calendar.expected(first, last + timedelta(days=1), rules.resolution, rules.alignment)
    expected = placed["timestamp"].is_in(grid["timestamp"].implode())
    # Off the grid: misaligned within trading hours; else the market was closed, and the grid has no say.
    hours = expected if expected.all() else rules.calendar.in_hours(placed["timestamp"], rules.resolution)
    return placed.with_columns((expected | hours).alias("in_hours"), (expected | ~hours).alias("on_grid"))
