"""This module has half-open windows of time, and the one way to turn what a person writes into instants in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from gb_pipeline.errors import ConfigError, NaiveTimestamp


def instant(value: datetime | date | str) -> datetime:
    """An instant in UTC.

    Args:
        value: an aware datetime, a date (its midnight in UTC), or ISO 8601 text of either. Text needs an offset or `Z`
            as soon as it carries a time of day.

    Returns:
        An aware datetime in UTC.

    Raises:
        NaiveTimestamp: a time of day without a zone.
        ConfigError: the text is not ISO 8601, or the instant lies outside the years 1 to 9999.

    Example:
        >>> instant("2024-01-02")
        datetime.datetime(2024, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
    """
    if isinstance(value, str):
        value = _parse(value.strip())
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise NaiveTimestamp(
                f"{value.isoformat()} has no time zone", fix="add one: 2024-01-02T09:30:00Z, or tzinfo=datetime.UTC"
            )
        try:
            return _as_datetime(value.astimezone(UTC))
        except OverflowError:
            raise ConfigError(f"{value.isoformat()} is out of range in UTC", fix="use the years 1 to 9999") from None
    return datetime.combine(value, time(), UTC)


def _as_datetime(moment: datetime) -> datetime:
    """A datetime of Python's own; that of pandas knows nanoseconds, which nothing here keeps."""
    if type(moment) is datetime:
        return moment
    plain = datetime.combine(moment.date(), moment.time(), UTC)
    if plain != moment:
        raise ConfigError(f"{moment.isoformat()} is finer than a microsecond", fix="round it to microseconds")
    return plain


def _parse(text: str) -> datetime | date:
    try:
        return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text[:40]!r} is not a date or time", fix="write 2024-01-02 or 2024-01-02T09:30:00Z"
        ) from None


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """All instants from `start` up to, but not including, `end`, both aware and in UTC.

    Raises:
        NaiveTimestamp: an end without a zone.
        ConfigError: `end` is before `start`.

    Example:
        >>> day = Window.of("2024-01-02", "2024-01-03")
        >>> day.start in day, day.end in day
        (True, False)
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Bring both ends to UTC."""
        object.__setattr__(self, "start", instant(self.start))
        object.__setattr__(self, "end", instant(self.end))
        if self.end < self.start:
            raise ConfigError(
                f"the window ends before it starts: {self.start.isoformat()} .. {self.end.isoformat()}",
                fix="swap start and end",
            )

    @classmethod
    def of(cls, start: datetime | date | str, end: datetime | date | str) -> Window:
        """From whatever `instant` understands."""
        return cls(instant(start), instant(end))

    def __contains__(self, moment: datetime) -> bool:
        """Whether an aware datetime lies inside."""
        return self.start <= moment < self.end

    def __str__(self) -> str:
        """`[2024-01-02T00:00:00+00:00, 2024-01-03T00:00:00+00:00)`."""
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"

    @property
    def empty(self) -> bool:
        """Whether nothing lies inside."""
        return self.start == self.end


def as_window(value: Window | tuple[datetime | date, datetime | date]) -> Window:
    """A window as callers give it.

    Args:
        value: a `Window`, or start and end as aware datetimes or as dates (their midnight in UTC); the end is not in it.

    Raises:
        NaiveTimestamp: an end without a zone.
        ConfigError: it is neither, or ends before it starts.

    Example:
        >>> as_window((date(2024, 1, 2), date(2024, 1, 3))) == Window.of("2024-01-02", "2024-01-03")
        True
    """
    if isinstance(value, Window):
        return value
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(isinstance(end, date) for end in value):
        raise ConfigError(
            f"a window cannot be made of {_describe_type(value)}",
            fix='pass Window.of("2024-01-02", "2024-01-03"), or (start, end) as dates or aware datetimes',
        )
    return Window(instant(value[0]), instant(value[1]))


def _describe_type(value: object) -> str:
    if isinstance(value, tuple | list) and len(value) <= 4:
        return f"({', '.join(type(item).__name__ for item in value)})"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
