"""Days of a clock beside sessions: where trading begins on the evening before, Sunday is a bar of its own in such files.

LEAN cuts the days of futures, forex and CFDs at midnight of their market's data time zone. What is traded on Sunday evening is a
bar of Sunday there, and belongs to Monday's session, which has another bar. Such a row is named; validation decides about it.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.quality.reasons import PART_OF_SESSION

# A session that begins on an evening is over before the second week.
_NEXT = timedelta(days=8)


def mark_evenings(frame: pl.DataFrame, calendar: str, zone: str) -> pl.DataFrame:
    """The rows of a day each, with the `fault` of those on whose day there is no session, and on whose evening one opens.

    Args:
        frame: `timestamp` and `fault`; stamps are dates at 00:00 UTC.
        calendar: of the source.
        zone: whose midnight ends a day of the files.

    Example:
        >>> mark_evenings(rows, "CMES", "UTC").filter(pl.col("fault") == "part_of_next_session")["timestamp"].dt.weekday()
    """
    evenings = _evenings(frame["timestamp"].dt.date(), calendar, zone)
    is_evening = pl.col("timestamp").dt.date().is_in(evenings.implode()) & pl.col("fault").is_null()
    return frame.with_columns(pl.when(is_evening).then(pl.lit(PART_OF_SESSION)).otherwise("fault").alias("fault"))


def _evenings(days: pl.Series, calendar: str, zone: str) -> pl.Series:
    """Those of the days that are no session, and on which, by the clock of the zone, one opens."""
    trading = get_calendar(calendar)
    is_closed = trading.session_of(days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), Resolution.DAY).is_null()
    closed = days.filter(is_closed & days.is_not_null())
    first, last = closed.min(), closed.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return closed
    # Beyond what a calendar knows it has no say.
    start, end = max(first, trading.first or first), min(last + _NEXT, trading.end or last + _NEXT)
    if start >= end:
        return closed.clear()
    opens = trading.schedule(start, end)["open"].dt.convert_time_zone(zone).dt.date()
    return closed.filter(closed.is_in(opens.implode()))
