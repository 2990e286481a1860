"""This module looks at where the rows of an answer lie, and says which setting would explain rows that no session holds.

Rows before and after the regular session, stamps in another time zone, dates a day off, and the wrong calendar each leave a
shape of their own. What is refused was decided before; nothing is stored differently because of an advice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.exchange_sessions import ALWAYS_OPEN, FX, WEEKDAYS
from gb_pipeline.quality.rules import BarRules

# Rows that settings cannot explain are none of our business: holidays, single bad stamps.
_FEWEST = 2
# A setting explains an answer when it places so much of it; a bad row may be among the others.
_EXPLAINED = 0.97
# Zones in which files are commonly written, beside the calendar's own.
_ZONES = (
    "UTC", "America/New_York", "America/Chicago", "America/Los_Angeles", "Europe/London", "Europe/Berlin", "Europe/Athens",
    "Europe/Moscow", "Asia/Kolkata", "Asia/Hong_Kong", "Asia/Tokyo", "Australia/Sydney",
)  # fmt: skip
_WEEK = 5
# Calendars that close less often than an exchange, those with the fewest hours first, and the days of the week that they trade.
_LONG_HOURS = {FX: 5, WEEKDAYS: 5, ALWAYS_OPEN: 7}
# How far from the open the first bar of a session may be for its stamps to look like the exchange's.
_NEAR_OPEN = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Advice:
    """What the rows look like, and the setting of gb.yaml that would explain them."""

    what: str
    fix: str


def advise(stamps: pl.Series, rules: BarRules, *, zone: str | None = None) -> Advice | None:
    """What would explain that rows lie outside the sessions of a source's calendar.

    Args:
        stamps: bar opens of a whole answer, good and refused ones (Datetime us UTC), in any order; null where unreadable.
        rules: what they are validated against.
        zone: the zone in which stamps without an offset were read, where gb.yaml says it (`timezone` of csv).

    Returns:
        The most specific explanation; None where the rows lie in the sessions, or nothing explains them.

    Example:
        >>> advise(stamps, BarRules(calendar=get_calendar("XNYS"))).fix
        'set `extended_hours: true` to keep them, ...'
    """
    calendar, resolution = rules.calendar, rules.resolution
    stamps = (stamps if resolution.intraday else stamps.dt.truncate("1d")).drop_nulls().unique().sort()
    if calendar.name == ALWAYS_OPEN or stamps.is_empty():
        return None
    inside = calendar.in_hours(stamps, resolution)
    outside = stamps.filter(~inside)
    if len(outside) < _FEWEST:
        return None
    explanations = _of_intraday(stamps, outside, rules, zone) if resolution.intraday else _of_days(stamps, rules, zone)
    return next(explanations, None)


def _of_intraday(stamps: pl.Series, outside: pl.Series, rules: BarRules, zone: str | None) -> Iterator[Advice]:
    calendar = rules.calendar
    if zone is not None and _share_in_hours(stamps, rules, calendar) < _EXPLAINED:
        yield from _other_zone(stamps, rules, zone)
    yield from _extended_hours(outside, rules)
    yield from _other_calendar(stamps, rules)


def _of_days(stamps: pl.Series, rules: BarRules, zone: str | None) -> Iterator[Advice]:
    calendar = rules.calendar
    if _share_in_hours(stamps, rules, calendar) >= _EXPLAINED:
        return
    for days in (1, -1):
        shifted = stamps.dt.offset_by(f"{days}d")
        # Sunday to Thursday instead of Monday to Friday; a few dates fit by chance.
        if len(stamps) >= _WEEK and _share_in_hours(shifted, rules, calendar) >= _EXPLAINED:
            yield Advice(
                f"the dates are sessions of {calendar.name} if each is a day {'later' if days > 0 else 'earlier'}",
                "the stamps are instants in another time zone: set `timezone` to the zone in which they are midnight, or"
                " name the column that holds the trading day"
                if zone is not None
                else "check in which time zone the vendor's days begin",
            )
    yield from _other_calendar(stamps, rules)


def _share_in_hours(stamps: pl.Series, rules: BarRules, calendar: Calendar) -> float:
    known = stamps.drop_nulls()
    return float(calendar.in_hours(known, rules.resolution).sum()) / len(stamps)


def _other_zone(stamps: pl.Series, rules: BarRules, zone: str) -> Iterator[Advice]:
    """Stamps that would all lie in the regular session, from its open on, if they were read in another zone."""
    calendar = rules.calendar
    written = stamps.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    for other in dict.fromkeys([calendar.zone.key, *_ZONES]):
        if other == zone:
            continue
        local = written.dt.replace_time_zone(other, ambiguous="earliest", non_existent="null")
        moved = local.dt.convert_time_zone("UTC")
        if _share_in_hours(moved, rules, calendar) >= _EXPLAINED and _begin_at_open(moved.drop_nulls(), rules):
            yield Advice(
                f"the stamps lie in the trading hours of {calendar.name} if they are in {other}; they were read in {zone}",
                f"set `timezone: {other}` in the options of the source",
            )


def _begin_at_open(stamps: pl.Series, rules: BarRules) -> bool:
    """Whether most sessions begin where their market opens."""
    resolution = rules.resolution
    sessions = rules.calendar.session_of(stamps, resolution)
    first, last = sessions.min(), sessions.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return False
    opens = rules.calendar.schedule(first, last + timedelta(days=1)).select("session", "open")
    begins = pl.DataFrame([sessions, stamps.alias("stamp")]).group_by("session").agg(pl.col("stamp").min())
    distance = begins.join(opens, on="session").select((pl.col("stamp") - pl.col("open")).abs()).to_series()
    near = max(_NEAR_OPEN, resolution.duration or _NEAR_OPEN)
    return 2 * int((distance < near).sum()) > len(distance)


def _extended_hours(outside: pl.Series, rules: BarRules) -> Iterator[Advice]:
    calendar = rules.calendar
    if calendar.extended_hours:
        return
    try:
        extended = get_calendar(calendar.name, extended_hours=True)
    except ConfigError:
        # None are known for this exchange.
        return
    explained = outside.filter(extended.in_hours(outside, rules.resolution))
    if len(explained) < max(_FEWEST, len(outside) // 2):
        return
    local = explained.dt.convert_time_zone(calendar.zone.key).dt.time().sort()
    yield Advice(
        f"{len(explained):,} bars from {local[0]:%H:%M} to {local[-1]:%H:%M} {calendar.zone.key} lie before or after the"
        f" regular session of {calendar.name}",
        "set `extended_hours: true` to keep them; to store the regular session without them, raise `max_bad_fraction`",
    )


def _other_calendar(stamps: pl.Series, rules: BarRules) -> Iterator[Advice]:
    """Bars at times, or on days, at which only a market of longer hours trades."""
    if _share_in_hours(stamps, rules, rules.calendar) >= _EXPLAINED:
        return
    shares = {name: _share_in_hours(stamps, rules, get_calendar(name)) for name in _LONG_HOURS if _fills(stamps, name)}
    # Of those that explain it equally well, the one with the fewest hours.
    name = max(shares, key=lambda name: shares[name], default=None)
    if name is not None and shares[name] >= _EXPLAINED:
        days = "every day of the week" if name == ALWAYS_OPEN else "every day from Monday to Friday"
        yield Advice(
            f"there are bars on {days}, also while {rules.calendar.name} is closed",
            f"set `calendar: {name}` for the source",
        )


def _fills(stamps: pl.Series, name: str) -> bool:
    """Whether bars are spread over all the days of a calendar: any bar at all lies in one that never closes."""
    days = _LONG_HOURS[name]
    weekdays = stamps.dt.weekday()
    counts = weekdays.filter(weekdays <= days).value_counts()["count"].to_list()
    return len(counts) == days and 2 * min(counts) * days >= sum(counts)
