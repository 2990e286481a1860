"""Where a row stands in its calendar.

Belongs here: for every timestamp its session, the moment the bar closes, and whether it lies in trading hours and on the
grid. Does not belong here: what follows from it (`model`).
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from gb_pipeline.quality.rules import BarRules

_ALWAYS = "24/7"


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
    if rules.calendar.name == _ALWAYS:
        step = int(rules.resolution.duration / timedelta(microseconds=1))  # type: ignore[operator]
        on_grid = pl.col("timestamp").to_physical() % step == 0
        return placed.with_columns(on_grid.alias("on_grid"), pl.lit(True).alias("in_hours"))
    return _place_in_sessions(placed, rules)


def _place_in_sessions(placed: pl.DataFrame, rules: BarRules) -> pl.DataFrame:
    first, last = placed["session"].min(), placed["session"].max()
    if not isinstance(first, date) or not isinstance(last, date):
        return placed.with_columns(pl.lit(None, pl.Boolean).alias("in_hours"), pl.lit(None, pl.Boolean).alias("on_grid"))
    until = last + timedelta(days=1)
    grid = rules.calendar.expected(first, until, rules.resolution, rules.alignment)
    expected = pl.col("timestamp").is_in(grid["timestamp"].implode())
    known = placed.with_columns(expected.alias("in_hours"), expected.alias("on_grid"))
    if known["in_hours"].all():
        return known
    # Off the grid: within hours it is misaligned, else the market was closed.
    step = rules.resolution.duration or timedelta(0)
    hours = rules.calendar.schedule(first, until)
    opened = pl.col("timestamp") + step > pl.col("opens")
    in_break = (pl.col("timestamp") >= pl.col("break_start")) & (pl.col("timestamp") + step <= pl.col("break_end"))
    trading = opened & (pl.col("timestamp") < pl.col("closes")) & ~in_break.fill_null(False)
    return (
        known.join(hours.rename({"open": "opens", "close": "closes"}), on="session", how="left", maintain_order="left")
        .with_columns((pl.col("in_hours") | trading.fill_null(False)).alias("in_hours"))
        .with_columns((pl.col("on_grid") | ~pl.col("in_hours")).alias("on_grid"))
        .drop("opens", "closes", "break_start", "break_end", strict=False)
    )
