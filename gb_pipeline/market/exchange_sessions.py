"""This module builds the tables of sessions behind the calendars: `FX`, `24/5` and every code of exchange_calendars.

The facts that they rest on, such as extended hours and bounds, are constants here. Bars, resolutions and instants are looked up
in `calendar`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.compiled_sessions import CompiledCalendar, compiled_calendars, read_sessions

ALWAYS_OPEN = "24/7"
WEEKDAYS = "24/5"
FX = "FX"

UTC_TIME = pl.Datetime("us", "UTC")
SCHEDULE = pl.Schema(
    {
        "session": pl.Date(),
        "open": UTC_TIME,
        "close": UTC_TIME,
        "break_start": UTC_TIME,
        "break_end": UTC_TIME,
    }
)

# Our own calendars are arithmetic; a table of them still needs ends.
_OWN_BOUNDS = (date(1970, 1, 1), date(2100, 1, 1))

# Opening of the pre-market and length of the post-market, by calendar. US equities: 04:00 to 20:00 New York, and until
# 17:00 on days that close at 13:00, so the post-market is the four hours after the close (NYSE Arca, Nasdaq, the SIPs).
_EXTENDED_HOURS = {"XNYS": (time(4), timedelta(hours=4))}

# The foreign-exchange day turns at 17:00 New York; the week is Sunday 17:00 to Friday 17:00.
_FX_ZONE = "America/New_York"
_FX_TURN = time(17)

# Bars on the wall clock start at most this long before the session that they belong to (the longest intraday bar).
_LONGEST_BAR = "12h"


@dataclass(frozen=True, eq=False, slots=True)
class SessionTable:
    """All sessions of one calendar.

    Attributes:
        name: canonical calendar code.
        zone: the exchange's zone.
        first: first day the table speaks about.
        end: first day it does not speak about any more.
        schedule: one row per session, columns of `SCHEDULE`, sorted; plus `begin` and `until` (Datetime us UTC): the
            half-open stretch whose instants belong to the session. Stretches never overlap.
        segments: `session`, `begin`, `end`, sorted: uninterrupted trading, one row for a plain session, two around a
            lunch break, three with extended hours; plus `earliest`, the `begin` of the session's stretch.
        version: changes with any of its sessions; empty for arithmetic.
    """

    name: str
    zone: ZoneInfo
    first: date
    end: date
    schedule: pl.DataFrame
    segments: pl.DataFrame
    version: str


def require_table(name: str) -> None:
    """Let the name of a table pass that there is.

    Raises:
        ConfigError: there is none; the message has near matches.
    """
    if name not in {FX, WEEKDAYS}:
        _find_compiled(name)


def load_table(name: str, *, extended_hours: bool) -> SessionTable:
    """Build the table of any calendar but `24/7`.

    Args:
        name: `FX`, `24/5`, or a code or alias of exchange_calendars.
        extended_hours: from the opening of the pre-market to the end of the post-market.

    Raises:
        ConfigError: an unknown name (the message has near matches), or no extended hours known for it.
    """
    if name in {FX, WEEKDAYS}:
        zone, bounds, version = ZoneInfo(_FX_ZONE if name == FX else "UTC"), _OWN_BOUNDS, ""
        schedule = _own_schedule(name)
    else:
        compiled = _find_compiled(name)
        name, zone, bounds, version = compiled.code, compiled.zone, (compiled.first, compiled.end), compiled.version
        schedule = read_sessions(compiled).select(SCHEDULE.names())
    segments = _regular_segments(schedule)
    if extended_hours:
        refuse_extended_hours(name)
        schedule, segments = _extend_hours(name, zone, schedule, segments)
    schedule = _with_stretches(schedule, zone)
    earliest = schedule.select("session", earliest="begin")
    segments = segments.join(earliest, on="session", how="left").sort("begin")
    return SessionTable(name, zone, *bounds, schedule, segments, version)


def refuse_extended_hours(name: str) -> None:
    """Raise ConfigError where a calendar has no known extended hours."""
    if name not in _EXTENDED_HOURS:
        raise ConfigError(
            f"no extended hours are known for calendar {name}",
            fix=f"leave extended_hours out; they are known for {', '.join(_EXTENDED_HOURS)}",
        )


def at_local_time(days: pl.Series, moment: time, zone: ZoneInfo) -> pl.Series:
    """Dates at a wall-clock time, as instants in UTC; where the clock jumps over it, the instant of the jump.

    Args:
        days: Date.
        moment: local time of day.
        zone: of the wall clock.

    Returns:
        Datetime us UTC.
    """
    offset = timedelta(hours=moment.hour, minutes=moment.minute)
    naive = days.cast(pl.Datetime("us")) + offset
    local = naive.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    if local.null_count() > days.null_count():
        after_jump = (naive + timedelta(hours=1)).dt.replace_time_zone(
            zone.key, ambiguous="earliest", non_existent="null"
        )
        local = pl.select(pl.when(local.is_null()).then(after_jump).otherwise(local)).to_series()
    return local.dt.convert_time_zone("UTC").rename(days.name)


def _own_schedule(name: str) -> pl.DataFrame:
    days = pl.date_range(*_OWN_BOUNDS, interval="1d", closed="left", eager=True).alias("session")
    days = days.filter(days.dt.weekday() <= 5)
    before, after = (days - timedelta(days=1), days) if name == FX else (days, days + timedelta(days=1))
    turn, zone = (_FX_TURN, ZoneInfo(_FX_ZONE)) if name == FX else (time(), ZoneInfo("UTC"))
    never = pl.lit(None, UTC_TIME)
    return pl.DataFrame(
        {"session": days, "open": at_local_time(before, turn, zone), "close": at_local_time(after, turn, zone)}
    ).with_columns(break_start=never, break_end=never)


def _find_compiled(name: str) -> CompiledCalendar:
    every = compiled_calendars()
    compiled = every.find(name)
    if compiled is None:
        raise ConfigError(f"there is no calendar {name!r}", fix=_suggest_names(name, [*every.names, FX]))
    return compiled


def _suggest_names(name: str, known_names: list[str]) -> str:
    by_folded = {item.casefold(): item for item in sorted(known_names)}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=5, cutoff=0.5)
    codes = ", ".join(by_folded[item] for item in matches)
    return f"did you mean {codes}?" if codes else "use 24/7, 24/5, FX, or an exchange_calendars code such as XNYS"


def _regular_segments(schedule: pl.DataFrame) -> pl.DataFrame:
    mornings = schedule.select("session", begin="open", end=pl.coalesce("break_start", "close"))
    afternoons = schedule.filter(pl.col("break_end").is_not_null()).select("session", begin="break_end", end="close")
    return pl.concat([mornings, afternoons])


def _extend_hours(
    name: str, zone: ZoneInfo, schedule: pl.DataFrame, segments: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    opening, after = _EXTENDED_HOURS[name]
    early = at_local_time(schedule["session"], opening, zone)
    late = schedule["close"] + after
    before_open = pl.DataFrame({"session": schedule["session"], "begin": early, "end": schedule["open"]})
    after_close = pl.DataFrame({"session": schedule["session"], "begin": schedule["close"], "end": late})
    return schedule.with_columns(open=early, close=late), pl.concat([segments, before_open, after_close])


def _with_stretches(schedule: pl.DataFrame, zone: ZoneInfo) -> pl.DataFrame:
    """Add `begin` and `until`: the local day, or, where sessions open the evening before, from open to open."""
    days = schedule["session"]
    begin, until = at_local_time(days, time(), zone), at_local_time(days + timedelta(days=1), time(), zone)
    if not (schedule["open"] < begin).any():
        return schedule.with_columns(begin=begin, until=until)
    # The first bar on the wall clock may start before the open; the session before keeps what lies before its close.
    opening = pl.col("open").dt.convert_time_zone(zone.key).dt.replace_time_zone(None)
    first_bar = pl.col("open") - (opening - opening.dt.truncate(_LONGEST_BAR))
    turn = schedule["open"].dt.convert_time_zone(zone.key).dt.time().last()
    assert isinstance(turn, time)
    return (
        schedule.with_columns(
            begin=pl.max_horizontal(pl.col("close").shift(1), first_bar),
            until=pl.max_horizontal("close", at_local_time(days, turn, zone)),
        )
        # After an early close the next session's first bar wins over the rest of the day.
        .with_columns(until=pl.min_horizontal("until", pl.col("begin").shift(-1)))
    )
