"""When the simulated stock market trades: New York's sessions as arrays, and lookups in them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.exchange_sessions import at_local_time
from gb_pipeline.simulation.market import MINUTE_MS, Ints

_CALENDAR = "XNYS"
_EPOCH = date(1970, 1, 1)
_FIRST = date(1980, 1, 1)
_BUILDING = threading.Lock()


class Session(NamedTuple):
    """One trading day: its date and, in epoch milliseconds, its hours; `begin` to `end` includes the extended ones."""

    day: date
    midnight: int
    begin: int
    open: int
    close: int
    end: int


@dataclass(frozen=True, slots=True)
class SessionTable:
    """All sessions, sorted; int64 arrays of one length.

    Attributes:
        day: days since 1970, of the date in New York.
        midnight: epoch milliseconds of 00:00 in New York.
        begin, open, close, end: minutes since 1970 in UTC: 04:00, 09:30, 16:00 (or earlier) and 20:00 in New York.
    """

    day: Ints
    midnight: Ints
    begin: Ints
    open: Ints
    close: Ints
    end: Ints

    def from_day(self, day: date) -> int:
        """Position of the first session on or after a day."""
        return int(np.searchsorted(self.day, (day - _EPOCH).days))

    def at(self, position: int) -> Session:
        """One session."""
        hours = [int(column[position]) * MINUTE_MS for column in (self.begin, self.open, self.close, self.end)]
        return Session(_EPOCH + timedelta(days=int(self.day[position])), int(self.midnight[position]), *hours)


def sessions() -> SessionTable:
    """The table, made once per process at the first question (1 s)."""
    # Questions come from several threads, and the calendars are built by a library that does not expect them.
    with _BUILDING:
        return _build_table()


@lru_cache(maxsize=1)
def _build_table() -> SessionTable:
    regular, extended = get_calendar(_CALENDAR), get_calendar(_CALENDAR, extended_hours=True)
    assert regular.end is not None
    hours, outer = (calendar.schedule(_FIRST, regular.end) for calendar in (regular, extended))
    days = hours["session"]
    return SessionTable(
        day=_ints(days.cast(pl.Int32).cast(pl.Int64)),
        midnight=_ints(at_local_time(days, time(), regular.zone).dt.epoch("ms")),
        begin=_minutes(outer["open"]),
        open=_minutes(hours["open"]),
        close=_minutes(hours["close"]),
        end=_minutes(outer["close"]),
    )


def local_ms(day: date, moment: time) -> int:
    """Epoch milliseconds of a wall-clock time of any day in New York."""
    return int(at_local_time(pl.Series([day]), moment, get_calendar(_CALENDAR).zone).dt.epoch("ms")[0])


def midnight(day: date) -> int:
    """Epoch milliseconds of 00:00 of any day in New York."""
    return local_ms(day, time())


def local_midnights(days: Ints) -> Ints:
    """Epoch milliseconds of 00:00 in New York, of days since 1970."""
    dates = pl.Series(days, dtype=pl.Int64).cast(pl.Int32).cast(pl.Date)
    return _ints(at_local_time(dates, time(), get_calendar(_CALENDAR).zone).dt.epoch("ms"))


def days_since_epoch(day: date) -> int:
    """Days since 1970."""
    return (day - _EPOCH).days


def _minutes(instants: pl.Series) -> Ints:
    return _ints(instants.dt.epoch("ms")) // MINUTE_MS


def _ints(series: pl.Series) -> Ints:
    return np.asarray(series.to_numpy(), np.int64)
