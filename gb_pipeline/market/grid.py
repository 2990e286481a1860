"""This module computes where bars start: stamps of intraday bars on either alignment, and labels of days, weeks and months.

Which sessions there are is known to `exchange_sessions`; the methods that users call are in `calendar`.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from gb_pipeline.errors import ConfigError, NaiveTimestamp
from gb_pipeline.market.exchange_sessions import UTC_TIME, SessionTable
from gb_pipeline.market.moments import MICROSECOND, day_number
from gb_pipeline.market.resolution import Resolution

CLOCK = "clock"
SESSION = "session"

_PERIODS = {Resolution.DAY: "1d", Resolution.WEEK: "1w", Resolution.MONTH: "1mo"}


def period_of(resolution: Resolution) -> str:
    """Polars' name of a day, a week or a month.

    Raises:
        ConfigError: ticks lie on no grid.
    """
    if resolution not in _PERIODS:
        raise ConfigError(f"{resolution} lies on no grid", fix="use a resolution from 1s to 1mo")
    return _PERIODS[resolution]


def check_alignment(alignment: str) -> str:
    """`clock` or `session`, as plain text.

    Raises:
        ConfigError: anything else.
    """
    if alignment not in {CLOCK, SESSION}:
        raise ConfigError(f"{alignment!r} is not an alignment", fix="use `clock` or `session`")
    return str(alignment)


def to_utc(timestamps: pl.Series) -> pl.Series:
    """Instants in microseconds UTC, whatever zone or unit they come in.

    Raises:
        NaiveTimestamp: no zone, or no timestamps at all.
    """
    dtype = timestamps.dtype
    if dtype == UTC_TIME:
        return timestamps
    if timestamps.null_count() == len(timestamps):
        return timestamps.cast(UTC_TIME) if dtype == pl.Null else timestamps.cast(pl.Int64).cast(UTC_TIME)
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        raise NaiveTimestamp(
            f"{timestamps.name or 'timestamps'} of type {dtype} are not instants",
            fix="give them a zone: .dt.replace_time_zone('UTC')",
        )
    return timestamps.dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def find_latest(starts: pl.Series, instants: pl.Series) -> pl.Series:
    """For each instant the index of the last start at or before it, null where there is none.

    Args:
        starts: sorted, without nulls.
        instants: of the same type, in any order.
    """
    positions = starts.search_sorted(instants, side="right").cast(pl.Int64) - 1
    return positions.set((positions < 0) | instants.is_null(), None)


def continuous_stamps(start: date, end: date, resolution: Resolution) -> pl.DataFrame:
    """Bars of a market that never closes: `session`, `timestamp` of all bars that start in UTC days [start, end)."""
    if resolution.intraday:
        day = timedelta(days=1) // MICROSECOND
        first, last = day_number(start) * day, day_number(end) * day
        stamps = pl.Series(np.arange(first, last, bar_length(resolution) // MICROSECOND)).cast(UTC_TIME)
        return pl.DataFrame([stamps.cast(pl.Date).alias("session"), stamps.alias("timestamp")])
    period = period_of(resolution)
    days = pl.date_range(start, end, interval="1d", closed="left", eager=True)
    return _with_midnights(days.filter(days.dt.truncate(period) == days))


def session_stamps(table: SessionTable, start: date, end: date, resolution: Resolution, alignment: str) -> pl.DataFrame:
    """Bars of sessions [start, end): `session` (Date), `timestamp` (Datetime us UTC), sorted by timestamp."""
    if not resolution.intraday:
        return _with_midnights(slice_sessions(period_labels(table, resolution), start, end)["session"])
    segments = slice_sessions(table.segments, start, end)
    first = pl.col("begin") if alignment == SESSION else _first_line(table.zone, resolution)
    bars = segments.select("session", "end", first=first)
    stamps = bars.select(
        "session", timestamp=pl.datetime_ranges("first", "end", interval=resolution.value, closed="left")
    ).explode("timestamp", empty_as_null=False)
    if (bars["first"] < bars["end"].shift(1)).any():
        # One bar on the clock may touch the end of one segment and the start of the next.
        stamps = stamps.unique("timestamp", keep="first", maintain_order=True)
    return stamps


def slice_sessions(frame: pl.DataFrame, start: date, end: date) -> pl.DataFrame:
    """The rows of a frame sorted by `session` with sessions in [start, end), without a copy."""
    sessions = frame["session"]
    low, high = sessions.search_sorted(start, side="left"), sessions.search_sorted(end, side="left")
    return frame.slice(low, high - low)


@lru_cache(maxsize=64)
def period_labels(table: SessionTable, resolution: Resolution) -> pl.DataFrame:
    """Dates that stamp days, weeks or months: `session`, and `close` of the last session in each; sorted.

    A week or a month without any session is not among them.
    """
    sessions = table.schedule.select("session", "close")
    if resolution is Resolution.DAY:
        return sessions
    return (
        sessions.group_by(pl.col("session").dt.truncate(period_of(resolution)), maintain_order=True)
        .agg(pl.col("close").last())
        .sort("session")
    )


def clock_time(instants: pl.Expr, zone: ZoneInfo) -> pl.Expr:
    """Time since local midnight on the wall clock, as Duration us."""
    local = instants.dt.convert_time_zone(zone.key).dt.replace_time_zone(None)
    return local - local.dt.truncate("1d")


def past_clock_line(instants: pl.Expr, zone: ZoneInfo, resolution: Resolution) -> pl.Expr:
    """Time since the last line of the wall clock's grid, as Duration us."""
    local = instants.dt.convert_time_zone(zone.key).dt.replace_time_zone(None)
    return local - local.dt.truncate(resolution.value)


def bar_length(resolution: Resolution) -> timedelta:
    """The length of an intraday bar.

    Raises:
        ConfigError: the resolution has no fixed length.
    """
    if not resolution.intraday or resolution.duration is None:
        raise ConfigError(f"a bar of {resolution} has no fixed length", fix="use a resolution from 1s to 12h")
    return resolution.duration


def _first_line(zone: ZoneInfo, resolution: Resolution) -> pl.Expr:
    """The first line of the wall clock's grid whose bar touches a segment and does not start before its session.

    Lines are laid from local midnight and continued in elapsed time: no market trades through a change of the clock.
    """
    line = pl.col("begin") - past_clock_line(pl.col("begin"), zone, resolution)
    # A bar that starts before its session's first instant belongs to the session before.
    return pl.when(line < pl.col("earliest")).then(line + bar_length(resolution)).otherwise(line)


def _with_midnights(days: pl.Series) -> pl.DataFrame:
    midnights = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return pl.DataFrame([days.alias("session"), midnights.alias("timestamp")])
