"""This module reads lengths of time as people write them: `30m`, `36h`, `7d`, `4w`; the same in gb.yaml and on the command line."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_WRITTEN = re.compile(r"([0-9]{1,9})\s*([smhdw])", re.IGNORECASE)
# Moments so far away are no moments of a calendar any more.
_LONGEST = timedelta(days=36_500)


def parse_duration(text: str) -> timedelta:
    """A length of time out of a whole number and a unit: s, m (minutes), h, d or w.

    Raises:
        ValueError: it is no length of time, or more than a hundred years.

    Example:
        >>> parse_duration("36h")
        datetime.timedelta(days=1, seconds=43200)
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a length of time: write it as 30m, 36h, 7d or 4w")
    count, unit = int(found[1]), _UNITS[found[2].lower()]
    if count > _LONGEST // unit:
        raise ValueError(f"{text[:40]!r} is longer than a hundred years")
    return count * unit
