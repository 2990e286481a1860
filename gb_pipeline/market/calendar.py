"""This module knows which days a market trades, which bars a complete series has, and when each of them is closed.

The tables of sessions are built in `exchange_sessions`, and the arithmetic of grids is done in `grid`.

Conventions: a session is a trading day, named by its date. A bar of a day or longer is stamped with its session's date
at 00:00 UTC, a week with its Monday, a month with its first day; intraday bars with their open. Ranges are half-open.

Known limits of the sources: holidays of FX are not modelled (its sessions are Monday to Friday); the CMES of
exchange_calendars 4.13 knows one set of hours for all products, not the hour's halt at 16:00 Chicago and not the noon
close on Juneteenth: treat its gaps as hints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market import grid
from gb_pipeline.market.exchange_sessions import (
    ALWAYS_OPEN,
    SCHEDULE,
    UTC_TIME,
    SessionTable,
    load_table,
    refuse_extended_hours,
    require_table,
)
from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window

_DAY = timedelta(days=1)


def get_calendar(name: str, *, extended_hours: bool = False) -> Calendar:
    """A calendar by name; built once per process.

    Args:
        name: `24/7` (UTC days, arithmetic), `24/5` (UTC Monday to Friday), `FX` (Sunday 17:00 to Friday 17:00 New York,
            each session named by the day it ends), or a code or alias of exchange_calendars such as `XNYS` or `NASDAQ`,
            whose sessions ship with this package (10 ms).
        extended_hours: trading hours from the opening of the pre-market to the end of the post-market (XNYS: 04:00 to
            20:00 New York, four hours past an early close).

    Raises:
        ConfigError: an unknown name (with near matches), or a calendar without known extended hours.

    Example:
        >>> from datetime import date
        >>> get_calendar("24/7").sessions(date(2024, 2, 28), date(2024, 3, 1))
        [datetime.date(2024, 2, 28), datetime.date(2024, 2, 29)]
    """
    calendar = _load(str(name), bool(extended_hours))
    # An alias and its code are one calendar.
    return calendar if calendar.name == name else _load(calendar.name, bool(extended_hours))


def calendar_of_version(version: str) -> Calendar:
    """The calendar that a record names, as its sessions are now.

    Args:
        version: a `Calendar.version`.

    Example:
        >>> calendar_of_version(get_calendar("XNYS", extended_hours=True).version).extended_hours
        True
    """
    name, *more = version.split()
    return get_calendar(name, extended_hours="extended" in more)


def require_calendar(name: str) -> None:
    """Let the name of a calendar pass; no session is looked at.

    Raises:
        ConfigError: there is none of this name; the message has near ones.
    """
    if name != ALWAYS_OPEN:
        require_table(name)


@dataclass(frozen=True)
class Calendar:
    """The sessions of one market. Equal and hashable by name and hours; made by `get_calendar`.

    Attributes:
        name: canonical code.
        zone: the exchange's zone, the one that wall-clock bars align to.
        extended_hours: whether pre- and post-market count as trading hours.

    Every method raises ConfigError for days beyond what the calendar knows, and for an end before its start.
    """

    name: str
    zone: ZoneInfo
    extended_hours: bool
    _table: SessionTable | None = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[object, tuple[str, bool]]:
        """Travel to another process as a name, not as a table."""
        return _load, (self.name, self.extended_hours)

    @property
    def first(self) -> date | None:
        """First day that the calendar knows; None where it begins with time itself."""
        return None if self._table is None else self._table.first

    @property
    def end(self) -> date | None:
        """First day that the calendar does not know any more; None where it goes on for ever."""
        return None if self._table is None else self._table.end

    @property
    def version(self) -> str:
        """What its sessions are, for a record: `XNYS efb4bb19`, `XNYS extended efb4bb19`; just `24/7`, which never changes."""
        parts = [self.name, "extended" if self.extended_hours else "", self._table.version if self._table else ""]
        return " ".join(part for part in parts if part)

    def sessions(self, start: date, end: date) -> list[date]:
        """The trading days of [start, end), in order."""
        self._check_range(start, end)
        if self._table is None:
            return pl.date_range(start, end, closed="left", eager=True).to_list()
        return grid.slice_sessions(self._table.schedule, start, end)["session"].to_list()

    def closed_days(self, start: date, end: date) -> list[date]:
        """The days of [start, end) without a session, in order."""
        self._check_range(start, end)
        if self._table is None:
            return []
        days = pl.date_range(start, end, closed="left", eager=True)
        return days.filter(
            ~days.is_in(grid.slice_sessions(self._table.schedule, start, end)["session"].implode())
        ).to_list()

    def schedule(self, start: date, end: date) -> pl.DataFrame:
        """Hours of the sessions in [start, end).

        Returns:
            `session` (Date), `open`, `close`, `break_start`, `break_end` (Datetime us UTC; breaks null where there is
            none); regular hours, or extended ones if the calendar has them.
        """
        self._check_range(start, end)
        if self._table is not None:
            return grid.slice_sessions(self._table.schedule, start, end).select(SCHEDULE.names())
        days = grid.continuous_stamps(start, end, Resolution.DAY)
        never = pl.lit(None, UTC_TIME)
        return days.select(
            "session", open="timestamp", close=pl.col("timestamp") + _DAY, break_start=never, break_end=never
        )

    def segments(self, start: date, end: date) -> pl.DataFrame:
        """Uninterrupted trading: `session`, `begin`, `end` (Datetime us UTC), sorted; two rows around a lunch break."""
        if self._table is None:
            return self.schedule(start, end).select("session", begin="open", end="close")
        self._check_range(start, end)
        return grid.slice_sessions(self._table.segments, start, end).drop("earliest")

    def session_window(self, session: date) -> Window:
        """Every instant that belongs to a session.

        The exchange's local day (the UTC day for 24/7 and 24/5). Where sessions open the evening before, from open to
        open: the windows of one week touch each other, and the first begins with the clock bar that holds its open.

        Raises:
            ConfigError: the day is not a session.
        """
        self._check_range(session, session)
        if self._table is None:
            return Window.of(session, session + _DAY)
        row = grid.slice_sessions(self._table.schedule, session, session + _DAY)
        if row.is_empty():
            raise ConfigError(f"{session} is not a session of {self.name}", fix="ask `sessions` for the trading days")
        return Window(row["begin"][0], row["until"][0])

    def window(self, start: date, end: date, resolution: Resolution) -> Window:
        """What to ask a vendor for, to have every bar of sessions [start, end).

        Returns:
            For a day and longer [start 00:00Z, end 00:00Z); else from the first session's window to the end of the last
            one's. Empty where no session lies in [start, end).
        """
        self._check_range(start, end)
        if self._table is None or not resolution.intraday:
            return Window.of(start, end)
        rows = grid.slice_sessions(self._table.schedule, start, end)
        return Window.of(start, start) if rows.is_empty() else Window(rows["begin"][0], rows["until"][-1])

    def session_of(self, timestamps: pl.Series, resolution: Resolution) -> pl.Series:
        """The session that each bar belongs to.

        Args:
            timestamps: bar stamps with a zone, in any order.
            resolution: of the bars. Stamps of a day or longer are labels: their UTC date counts, not the instant.

        Returns:
            Date named `session`; a week's or month's label for those. Null where the stamp lies in no `session_window`,
            where its date has no session, or where its week or month has none.

        Raises:
            NaiveTimestamp: stamps without a zone.
        """
        stamps = grid.to_utc(timestamps)
        if resolution.intraday or resolution is Resolution.TICK:
            if self._table is None:
                return stamps.cast(pl.Date).rename("session")
            rows = self._table.schedule
            positions = grid.find_latest(rows["begin"], stamps)
            return (
                rows["session"].gather(positions).set(stamps >= rows["until"].gather(positions), None).rename("session")
            )
        label = stamps.dt.date().dt.truncate(grid.period_of(resolution)).rename("session")
        if self._table is None:
            return label
        return label.set(~label.is_in(grid.period_labels(self._table, resolution)["session"].implode()), None)

    def in_hours(self, timestamps: pl.Series, resolution: Resolution) -> pl.Series:
        """Whether each bar's interval overlaps trading hours; for a day and longer whether it holds a session.

        Args:
            timestamps: bar stamps with a zone, in any order.
            resolution: of the bars; a tick is an instant.

        Returns:
            Boolean, false for null stamps.
        """
        if resolution.intraday or resolution is Resolution.TICK:
            return self.trading_span(timestamps, resolution)["first"].is_not_null().rename("in_hours")
        return self.session_of(timestamps, resolution).is_not_null().rename("in_hours")

    def trading_span(self, timestamps: pl.Series, resolution: Resolution, alignment: str = grid.CLOCK) -> pl.DataFrame:
        """The part of each intraday bar in which the market trades.

        Args:
            timestamps: bar stamps with a zone, in any order.
            resolution: of the bars; a tick is an instant.
            alignment: of the bars: one on the clock may hold the end of one segment and the start of the next, one that
                is aligned to sessions ends with its segment.

        Returns:
            `first` and `last` (Datetime us UTC): the first and the last microsecond of trading in the bar, null where it
            holds none.
        """
        stamps = grid.to_utc(timestamps)
        length = timedelta() if resolution is Resolution.TICK else grid.bar_length(resolution) - MICROSECOND
        bars = pl.DataFrame([stamps.alias("first"), (stamps + length).alias("last")])
        if self._table is None:
            return bars
        begins, ends = self._table.segments["begin"], self._table.segments["end"]
        first_segment = (grid.find_latest(ends, stamps).fill_null(-1) + 1).set(stamps.is_null(), None)
        first_segment = first_segment.set(first_segment == len(ends), None)
        last_segment = first_segment if alignment == grid.SESSION else grid.find_latest(begins, bars["last"])
        return bars.select(
            first=pl.max_horizontal("first", begins.gather(first_segment)),
            last=pl.min_horizontal("last", ends.gather(last_segment) - MICROSECOND),
            trades=pl.lit(begins.gather(first_segment)) <= pl.col("last"),
        ).select(pl.when("trades").then(pl.col("first", "last")))

    def segment_begins(self, timestamps: pl.Series) -> pl.Series:
        """When the latest uninterrupted stretch of trading began, at or before each instant.

        Returns:
            Datetime us UTC named `begin`; null before the first one.
        """
        stamps = grid.to_utc(timestamps)
        if self._table is None:
            return stamps.dt.truncate("1d").rename("begin")
        begins = self._table.segments["begin"]
        return begins.gather(grid.find_latest(begins, stamps))

    def expected(self, start: date, end: date, resolution: Resolution, alignment: str = grid.CLOCK) -> pl.DataFrame:
        """Every bar that a complete series has in sessions [start, end).

        A bar is expected when its interval overlaps trading hours. Weeks and months are expected when their label lies
        in [start, end) and they hold a session.

        Args:
            start: first day.
            end: first day that is not wanted any more.
            resolution: 1s to 1mo.
            alignment: `clock`: 1h bars of XNYS start 09:00, 10:00, ... local, the first one holds the open; `session`:
                09:30, 10:30, ..., counted anew from the end of a lunch break, and from the open with extended hours.

        Returns:
            `session` (Date), `timestamp` (Datetime us UTC), sorted, each timestamp once.

        Raises:
            ConfigError: ticks, or an unknown alignment.
        """
        self._check_range(start, end)
        if self._table is None:
            grid.check_alignment(alignment)
            return grid.continuous_stamps(start, end, resolution)
        return grid.session_stamps(self._table, start, end, resolution, grid.check_alignment(alignment))

    def bar_ends(self, timestamps: pl.Series, resolution: Resolution) -> pl.Series:
        """When each bar is closed.

        Returns:
            Datetime us UTC: stamp and duration for intraday bars, the session's close for days, the close of the last
            session for weeks and months; null where a day, week or month is (or holds) no session.

        Raises:
            NaiveTimestamp: stamps without a zone.
            ConfigError: ticks.
        """
        stamps = grid.to_utc(timestamps).rename("bar_end")
        if resolution.intraday:
            return stamps + grid.bar_length(resolution)
        period = grid.period_of(resolution)
        if self._table is None:
            return stamps.dt.truncate(period).dt.offset_by(period)
        days = self.session_of(stamps, resolution).to_frame()
        closes = grid.period_labels(self._table, resolution)
        return days.join(closes, on="session", how="left", maintain_order="left")["close"].rename("bar_end")

    def _check_range(self, start: date, end: date) -> None:
        if isinstance(start, datetime) or isinstance(end, datetime):
            raise ConfigError(f"{start} .. {end} are instants, not days", fix="pass dates: session.date()")
        if end < start:
            raise ConfigError(f"the range ends before it starts: {start} .. {end}", fix="swap start and end")
        table = self._table
        if table is not None and (start < table.first or end > table.end):
            raise ConfigError(
                f"calendar {self.name} knows {table.first} up to {table.end} (exclusive), not {start} .. {end}",
                fix="choose a start and end inside these bounds",
            )


@lru_cache(maxsize=128)
def _load(name: str, extended_hours: bool) -> Calendar:
    if name == ALWAYS_OPEN:
        if extended_hours:
            refuse_extended_hours(name)
        return Calendar(name, ZoneInfo("UTC"), extended_hours, None)
    table = load_table(name, extended_hours=extended_hours)
    return Calendar(table.name, table.zone, extended_hours, table)
