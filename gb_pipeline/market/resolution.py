"""This module holds the one list of bar lengths, with their durations, spellings and table names."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum

from gb_pipeline.errors import InvalidResolution
from gb_pipeline.market.spelling import did_you_mean, near_names


class Resolution(StrEnum):
    """The length of a bar; `tick` is the absence of one.

    Example:
        >>> Resolution.parse("Hour") is Resolution.HOUR
        True
        >>> Resolution.MINUTE.duration
        datetime.timedelta(seconds=60)
    """

    TICK = "tick"
    SECOND = "1s"
    MINUTE = "1m"
    MINUTE_3 = "3m"
    MINUTE_5 = "5m"
    MINUTE_15 = "15m"
    MINUTE_30 = "30m"
    HOUR = "1h"
    HOUR_2 = "2h"
    HOUR_3 = "3h"
    HOUR_4 = "4h"
    HOUR_6 = "6h"
    HOUR_8 = "8h"
    HOUR_12 = "12h"
    DAY = "1d"
    WEEK = "1w"
    MONTH = "1mo"

    @classmethod
    def parse(cls, text: str | Resolution) -> Resolution:
        """Read `1m`, `1min`, `5 minutes`, `Hour`, `daily`, `1M` (a month), `60s` (a minute) and the like.

        Raises:
            InvalidResolution: the text names none of the resolutions; the message lists them.
        """
        if isinstance(text, Resolution):
            return text
        resolution = _parse_text(str(text).strip())
        if resolution is None:
            near = near_names(str(text)[:40], list(cls), 2)
            raise InvalidResolution(
                f"{str(text)[:40]!r} is not a resolution",
                fix=f"{did_you_mean(near)} use one of {', '.join(cls)}".strip(),
            )
        return resolution

    @property
    def duration(self) -> timedelta | None:
        """The length of a bar, or None for ticks and for weeks and months, whose length the calendar decides."""
        seconds = _SECONDS.get(self)
        return None if seconds is None else timedelta(seconds=seconds)

    @property
    def intraday(self) -> bool:
        """Whether several bars fit in one session."""
        return self in _SECONDS

    @property
    def table(self) -> str:
        """The name of the Delta table that holds such bars, `bars_1m`."""
        return "trades" if self is Resolution.TICK else f"bars_{self.value}"


# Seconds of the resolutions that divide a session. A day is a session, and the calendar says how long it is.
_SECONDS = {
    Resolution.SECOND: 1,
    Resolution.MINUTE: 60,
    Resolution.MINUTE_3: 180,
    Resolution.MINUTE_5: 300,
    Resolution.MINUTE_15: 900,
    Resolution.MINUTE_30: 1800,
    Resolution.HOUR: 3600,
    Resolution.HOUR_2: 7200,
    Resolution.HOUR_3: 10800,
    Resolution.HOUR_4: 14400,
    Resolution.HOUR_6: 21600,
    Resolution.HOUR_8: 28800,
    Resolution.HOUR_12: 43200,
}

_WORDS = {
    "tick": "tick", "ticks": "tick",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m", "minutely": "m",
    "h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "hourly": "h",
    "d": "d", "day": "d", "days": "d", "daily": "d",
    "w": "w", "wk": "w", "wks": "w", "week": "w", "weeks": "w", "weekly": "w",
    "mo": "mo", "mon": "mo", "month": "mo", "months": "mo", "monthly": "mo",
}  # fmt: skip


def _parse_text(text: str) -> Resolution | None:
    match = re.fullmatch(r"([0-9]{0,6})[ _-]?([A-Za-z]+)", text)
    if match is None:
        return None
    count, word = int(match[1] or 1), match[2]
    unit = "mo" if word == "M" else _WORDS.get(word.lower())
    if unit == "tick":
        return Resolution.TICK if count == 1 else None
    if unit in {"s", "m", "h"}:
        seconds = count * {"s": 1, "m": 60, "h": 3600}[unit]
        return next((r for r, length in _SECONDS.items() if length == seconds), None)
    if unit is None or count != 1:
        return None
    return {"d": Resolution.DAY, "w": Resolution.WEEK, "mo": Resolution.MONTH}[unit]
