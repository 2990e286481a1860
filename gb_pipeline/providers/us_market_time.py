"""This module knows the days and hours of vendors whose clock hangs in New York.

It turns midnights in New York into the dates that name our bars and back, and cuts a vendor's day to the hours that are wanted.
No vendor's layout is known here.

Such vendors stamp a bar of a day with the midnight at which it begins, 05:00 or 04:00 in UTC, and begin weeks on Sunday
(Massive) or Monday. Ours carry a session's date at 00:00 UTC, a week its Monday, a month its first day. Both weeks hold the
same sessions of a market that is closed on Sundays, so either start names the same bar.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.window import Window

NEW_YORK = ZoneInfo("America/New_York")
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
# Calendars of days, not of opening hours.
_WITHOUT_HOURS = frozenset({"24/7", "24/5", "FX"})


def labels(stamps: pl.Series, resolution: Resolution, zone: ZoneInfo = NEW_YORK) -> pl.Series:
    """The dates that name bars of a day or longer, at 00:00 UTC.

    Args:
        stamps: Datetime us UTC, as the vendor stamped them.
        resolution: a day, week or month.
        zone: where the vendor's days begin at midnight.

    Returns:
        Datetime us UTC; null for a stamp that is null or where no such bar begins: another time of day, a week that begins
        on Tuesday, a month that begins on its second day.
    """
    local = pl.col("local")
    day = local.dt.date()
    fits, label = pl.lit(True), day
    if resolution is Resolution.WEEK:
        fits, label = local.dt.weekday().is_in([1, 7]), (day + pl.duration(days=1)).dt.truncate("1w")
    elif resolution is Resolution.MONTH:
        fits = local.dt.day() == 1
    midnight = local.dt.time() == time()
    named = pl.when(midnight & fits).then(label.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    frame = stamps.dt.convert_time_zone(zone.key).alias("local").to_frame()
    return frame.select(named.alias(stamps.name)).to_series()


def days_of(window: Window, resolution: Resolution) -> tuple[date, date]:
    """First and last local day of the bars of a day or longer whose dates lie in a window, both inclusive.

    Weeks and months are whole: they begin before the window's first date where that is in their midst.
    """
    first, last = window.start.date(), (window.end - MICROSECOND).date()
    if resolution is Resolution.WEEK:
        # From Sunday, where some vendors' weeks begin, to Saturday, so that the next one does not.
        return first - (first.weekday() + 1) * _DAY, last + (5 - last.weekday()) * _DAY
    if resolution is Resolution.MONTH:
        return first.replace(day=1), (last.replace(day=28) + 4 * _DAY).replace(day=1) - _DAY
    return first, last


def midnight(day: date) -> datetime:
    """When a day begins in New York, in UTC.

    Example:
        >>> midnight(date(2024, 7, 1))
        datetime.datetime(2024, 7, 1, 4, 0, tzinfo=datetime.timezone.utc)
    """
    return datetime.combine(day, time(), NEW_YORK).astimezone(UTC)


def in_window(frame: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Rows whose `timestamp` lies in the window or cannot be read; the latter are for the quality layer to refuse."""
    stamp = pl.col("timestamp")
    return frame.filter(stamp.is_null() | ((stamp >= window.start) & (stamp < window.end)))


def whole_hours(window: Window) -> Window:
    """The window widened to full hours: vendors count bars of several minutes from where they are asked to begin."""
    start = window.start.replace(minute=0, second=0, microsecond=0)
    end = window.end.replace(minute=0, second=0, microsecond=0)
    return Window(start, end if end == window.end else end + _HOUR)


def trading_hours(window: Window, calendar: Calendar | None) -> Window:
    """The window from the first open to the last close in it, widened to full hours.

    What lies outside would be cut anyway, and a vendor that keeps the newest minutes for those who pay more serves a day
    that is over earlier this way. Unchanged without a calendar, and where the market does not trade at all: then the vendor
    is to say so.
    """
    if calendar is None:
        return window
    # A session's hours may lie on the UTC day before or after its date.
    segments = calendar.segments(window.start.date() - _DAY, window.end.date() + 2 * _DAY)
    inside = segments.filter((pl.col("end") > window.start) & (pl.col("begin") < window.end))
    if inside.is_empty():
        return window
    around = whole_hours(Window(inside["begin"][0], inside["end"][-1]))
    return Window(max(window.start, around.start), min(window.end, around.end))


def in_hours(frame: pl.DataFrame, calendar: Calendar | None, resolution: Resolution) -> pl.DataFrame:
    """Without the bars before the open and after the close of a session, where a calendar of regular hours is given.

    Bars of days on which there should be none stay, for the quality layer to wonder at; so do bars of a day or longer.
    """
    if calendar is None or not resolution.intraday or frame.is_empty():
        return frame
    stamps = frame["timestamp"]
    unplaced = calendar.session_of(stamps, resolution).is_null()
    return frame.filter(unplaced | calendar.in_hours(stamps, resolution))


def bars_in(
    frame: pl.DataFrame, window: Window, resolution: Resolution, calendar: Calendar | None, zone: ZoneInfo = NEW_YORK
) -> pl.DataFrame:
    """What of a vendor's bars lies in the window, sorted, under our dates where they are a day or longer.

    Args:
        frame: bars as the vendor stamped them, `timestamp` as instants in UTC.
        window: which of them are wanted.
        resolution: of the bars.
        calendar: to whose regular hours intraday bars are cut; None keeps all.
        zone: where the vendor's days begin at midnight.
    """
    if resolution.intraday:
        frame = in_hours(frame, calendar, resolution)
    else:
        frame = frame.with_columns(labels(frame["timestamp"], resolution, zone))
    return in_window(frame, window).sort("timestamp", maintain_order=True)


def regular_hours(source: SourceSettings) -> Calendar | None:
    """The calendar to whose hours a vendor's day from 04:00 to 20:00 is cut; None where nothing is to be cut."""
    if source.asset_class is not AssetClass.EQUITY or source.extended_hours or source.calendar in _WITHOUT_HOURS:
        return None
    return get_calendar(source.calendar)
