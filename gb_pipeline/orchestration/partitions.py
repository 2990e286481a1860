"""This module cuts a source's history into Dagster partitions, and knows the way from a partition's key to sessions and back.

It knows calendars, and neither assets nor runs nor lakes.

A partition of grain `day` is a session, named by its date; of `month` and `year` it is a calendar period. Four facts of
Dagster decide the shape:

- a day without a session is an *exclusion*: the documented cron `1-5` would hide Friday until Monday;
- with exclusions, an `end_offset` invents future days, so a day exists once its window has ended. A half day has to exist as
  soon as it closes, so a window ends at the earliest close that the calendar has, whatever the season: the definition's zone is
  a fixed offset in which that is midnight. A day exists before its session is over, then; `find_over` says which are over;
- no zone is far enough east for Tokyo: there the window ends at an hour of the day, and what is left of the day is excluded,
  which costs each process ten times as much, once (0.3 s instead of 0.03 s for the keys of ten years, see `known_windows`);
- a month and a year need no exclusions, so theirs has an `end_offset` and the period in progress can be filled daily.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.config.settings import Grain, SourceSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution

if TYPE_CHECKING:
    import dagster as dg

# Dagster's own recommendation for one asset; its pages and its daemon slow down beyond.
MOST_PARTITIONS = 100_000
# One materialisation takes Dagster some 6 ms on SQLite in runs of several days, so this many take more than an hour.
MANY_SYMBOL_DAYS = 600_000
MILLISECONDS_PER_PARTITION = 6

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_CRON = {Grain.DAY: "0 0 * * *", Grain.MONTH: "0 0 1 * *", Grain.YEAR: "0 0 1 1 *"}
_FORMAT = {Grain.DAY: "%Y-%m-%d", Grain.MONTH: "%Y-%m", Grain.YEAR: "%Y"}
# Zones at fixed offsets that exist: UTC-12 to UTC+14.
_EASTERNMOST, _WESTERNMOST = 14, -12
# The definition must not change from day to day, or Dagster computes the status of every series anew. These years hold every
# kind of season and session.
_SAMPLE = date(2021, 1, 1), date(2026, 1, 1)


class ManyPartitionsWarning(UserWarning):
    """A history so long, cut so finely, that Dagster's own book-keeping will take hours."""


@dataclass(frozen=True)
class Partitioning:
    """The partitions of one source's bars of one resolution.

    Attributes:
        calendar: decides the sessions.
        grain: size of a partition.
        start: first session that is wanted.
        end: first session that is not wanted any more; None while it goes on.
    """

    calendar: Calendar
    grain: Grain
    start: date
    end: date | None = None

    @classmethod
    def of(cls, source: SourceSettings, resolution: Resolution) -> Partitioning:
        """The partitions that gb.yaml asks for."""
        calendar = get_calendar(source.calendar, extended_hours=source.extended_hours)
        return cls(calendar, source.grain_of(resolution), source.start, source.end)

    @cached_property
    def definition(self) -> dg.TimeWindowPartitionsDefinition:
        """For Dagster.

        Raises:
            ConfigError: the calendar knows no such days, or there would be more than `MOST_PARTITIONS`.
        """
        import dagster as dg

        first = _floor(self.start, self.grain)
        last = None if self.end is None else _ceil(self.end, self.grain)
        self._refuse_too_many(first, last)
        cut = self.grain is Grain.DAY and self.last_hour < 24
        return dg.TimeWindowPartitionsDefinition(
            cron_schedule=f"0 0,{self.last_hour} * * *" if cut else _CRON[self.grain],
            start=_midnight(first),
            end=None if last is None else _midnight(last),
            fmt=_FORMAT[self.grain],
            timezone=self.zone,
            end_offset=0 if self.grain is Grain.DAY else 1,
            exclusions=self._exclusions(first, last) if self.grain is Grain.DAY else None,
        )

    @cached_property
    def offset(self) -> int:
        """Hours ahead of UTC at which a day ends within the hour before the earliest close."""
        return max(_WESTERNMOST, min(_EASTERNMOST, math.ceil((_DAY - self._earliest_close) / _HOUR)))

    @cached_property
    def last_hour(self) -> int:
        """The hour of the day of that zone at which a session's window ends: 24, unless that were too late."""
        return min(24, math.floor((self._earliest_close + self.offset * _HOUR) / _HOUR))

    @property
    def zone(self) -> str:
        """`UTC`, or `Etc/GMT-3` for three hours ahead: POSIX counts westwards."""
        return "UTC" if self.offset == 0 else f"Etc/GMT{-self.offset:+d}"

    def exists_from(self, session: date) -> datetime:
        """When the partition of a session (grain `day`) begins to exist: an instant in UTC, hours before a late close."""
        begin = datetime.combine(session, time(), timezone(timedelta(hours=self.offset)))
        return (begin + self.last_hour * _HOUR).astimezone(UTC)

    def closes(self, start: date, end: date) -> dict[date, datetime]:
        """When the sessions of [start, end) that are wanted close, in order: instants in UTC."""
        first, last = max(start, self.start), min(end, self.end or end, self.calendar.end or end)
        if first >= last:
            return {}
        return dict(self.calendar.schedule(first, last).select("session", "close").iter_rows())

    def find_over(self, keys: Sequence[str], now: datetime) -> list[str]:
        """The partitions, of some, that can be stored as a whole: a session after its close, a month and a year also in part."""
        if self.grain is not Grain.DAY or not keys:
            return list(keys)
        spans = [self.sessions(key) for key in keys]
        closes = self.closes(min(start for start, _ in spans), max(end for _, end in spans))
        # A day that is not wanted has no close.
        open_days = {day for day, close in closes.items() if close > now}
        return [key for key, (day, end) in zip(keys, spans, strict=True) if day >= end or day not in open_days]

    def sessions(self, key: str) -> tuple[date, date]:
        """The days [start, end) of a partition, cut to what the source wants.

        Example:
            >>> Partitioning(get_calendar("24/7"), Grain.MONTH, date(2024, 1, 15)).sessions("2024-01")
            (datetime.date(2024, 1, 15), datetime.date(2024, 2, 1))
        """
        begin = datetime.strptime(key, _FORMAT[self.grain]).date()
        stop = _next(begin, self.grain)
        return max(begin, self.start), min(stop, self.end or stop)

    def key(self, session: date) -> str:
        """The partition that a session lies in."""
        return _floor(session, self.grain).strftime(_FORMAT[self.grain])

    def keys(self, sessions: pl.Series) -> pl.Series:
        """The partitions that some sessions (Date) lie in, each at its session's place."""
        return sessions.dt.strftime(_FORMAT[self.grain])

    def join_ranges(self, keys: Iterable[str]) -> list[tuple[date, date]]:
        """Days of some partitions, neighbours joined across weekends and holidays, oldest first."""
        spans = sorted(self.sessions(key) for key in set(keys))
        cuts = [i for i, (a, b) in enumerate(pairwise(spans), 1) if self.calendar.sessions(a[1], max(a[1], b[0]))]
        edges = [0, *cuts, len(spans)]
        return [(spans[a][0], spans[b - 1][1]) for a, b in pairwise(edges) if b > a]

    def count_until(self, today: date) -> int:
        """How many partitions there are up to a day."""
        last = min(today, self.end or today)
        if last <= self.start:
            return 0
        if self.grain is Grain.DAY:
            return len(self.calendar.sessions(self.start, last))
        months = (last.year - self.start.year) * 12 + last.month - self.start.month
        return months + 1 if self.grain is Grain.MONTH else last.year - self.start.year + 1

    @cached_property
    def _earliest_close(self) -> timedelta:
        """How long after midnight (UTC) of its date a session closes at the earliest."""
        last = min(_SAMPLE[1], self.calendar.end or date.max)
        sample = self.calendar.schedule(min(_SAMPLE[0], last - 366 * _DAY), last)
        earliest = sample.select(
            (pl.col("close").dt.replace_time_zone(None) - pl.col("session").cast(pl.Datetime)).min()
        )
        return earliest.item() if sample.height else _DAY

    def _exclusions(self, first: date, last: date | None) -> list[str | datetime]:
        closed = self.calendar.closed_days(first, self._horizon(first, last))
        traded = {day.isoweekday() % 7 for day in self.calendar.sessions(first, self._horizon(first, last))}
        never = {number for number in range(7) if number not in traded} if traded else set()
        # One rule for all of them: every rule is evaluated for every day.
        rule: list[str | datetime] = [f"0 0 * * {','.join(map(str, sorted(never)))}"] if never else []
        if self.last_hour < 24:
            rule.append(f"0 {self.last_hour} * * *")
        return [*rule, *(_midnight(day) for day in closed if day.isoweekday() % 7 not in never)]

    def _horizon(self, first: date, last: date | None) -> date:
        """Holidays are listed for two years ahead, which no process of ours outlives; less where the calendar ends."""
        wanted = last or date(max(date.today().year, first.year) + 2, 1, 1)
        known = self.calendar.end
        return wanted if known is None else min(wanted, known)

    def _refuse_too_many(self, first: date, last: date | None) -> None:
        length = {Grain.DAY: 1, Grain.MONTH: 30, Grain.YEAR: 365}[self.grain]
        count = ((last or date.today()) - first).days // length
        if count > MOST_PARTITIONS:
            raise ConfigError(
                f"{count:,} partitions of a {self.grain} from {first} on; Dagster carries {MOST_PARTITIONS:,}",
                fix="write a later start, or `grain: month`",
            )


def warn_if_many(name: str, partitioning: Partitioning, symbols: int, today: date) -> None:
    """Say so, with numbers, where a history is cut too finely to be loaded in reasonable time.

    Args:
        name: of the bars, for the message.
        partitioning: how they are cut.
        symbols: how many series there are.
        today: the present.
    """
    total = partitioning.count_until(today) * symbols
    if partitioning.grain is Grain.DAY and total > MANY_SYMBOL_DAYS:
        hours = total * MILLISECONDS_PER_PARTITION / 3_600_000
        warnings.warn(
            f"{name}: {symbols:,} symbols x {partitioning.count_until(today):,} days are {total:,} partitions; to record them"
            f" all takes Dagster about {hours:.1f} hours. `grain: month` in gb.yaml makes it about {hours / 21:.1f}.",
            ManyPartitionsWarning,
            stacklevel=2,
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time())


def _floor(day: date, grain: Grain) -> date:
    if grain is Grain.DAY:
        return day
    return day.replace(day=1) if grain is Grain.MONTH else day.replace(month=1, day=1)


def _next(begin: date, grain: Grain) -> date:
    if grain is Grain.DAY:
        return begin + _DAY
    return (begin + timedelta(days=32 if grain is Grain.MONTH else 366)).replace(day=1)


def _ceil(day: date, grain: Grain) -> date:
    floor = _floor(day, grain)
    return floor if floor == day else _next(floor, grain)
