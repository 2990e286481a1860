"""This module reads the ends of an incident: instants with a zone, wall clocks of an exchange, or whole sessions."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gb_pipeline.config.suggestions import suggest_zone
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.window import instant

# An instant in UTC, or a session.
Bound = datetime | date


def read_bound(key: str, value: Any) -> Bound:
    """An end of an incident.

    Args:
        key: `from` or `to`, for messages.
        value: as YAML reads it: `2024-01-02` is a session, `2024-01-02T14:30Z` and `2024-01-02T10:15-05:00` are instants, and so is
            `2024-01-02T10:15 America/New_York`.

    Raises:
        ConfigError: it is none of these; a time without a zone, or one that the zone's clock shows twice or never.
    """
    if isinstance(value, datetime):
        return _aware(key, value)
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        raise ConfigError(f"{key} is no time", fix="write 2024-01-02T14:30Z, or 2024-01-02 for whole sessions")
    text = value.strip()
    parts = text.rsplit(" ", 1)
    if len(parts) == 2 and parts[1][:1].isalpha():
        return _local(key, parts[0].strip(), parts[1])
    try:
        return date.fromisoformat(text) if len(text) <= 10 else _aware(key, datetime.fromisoformat(text))
    except ValueError:
        raise ConfigError(
            f"{key} is no time", fix="write 2024-01-02T14:30Z, or 2024-01-02 for whole sessions"
        ) from None


def utc_start(bound: Bound) -> datetime:
    """An instant that bounds can be ordered by: that of a session is the midnight of its date."""
    return bound if isinstance(bound, datetime) else datetime.combine(bound, time(), UTC)


def _aware(key: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ConfigError(
            f"{key} has no time zone", fix="write 2024-01-02T14:30Z, or `2024-01-02T10:15 America/New_York`"
        )
    return instant(moment)


def _local(key: str, text: str, name: str) -> datetime:
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{key}: there is no time zone {name[:40]!r}", fix=suggest_zone(name, "write UTC")) from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{key} is no time", fix="write `2024-01-02T10:15 America/New_York`") from None
    if moment.tzinfo is not None:
        raise ConfigError(f"{key} has two time zones", fix="leave one of them out")
    early, late = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if early != late:
        shows = "twice" if early < late else "never"
        raise ConfigError(f"{key}: the clock of {name} shows that time {shows}", fix="write the instant in UTC")
    return early
