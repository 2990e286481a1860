"""This module says when an instrument was part of a universe, which is not when it was listed.

It knows half-open intervals of days per code; where they are written down is left to `discovered` and `memberships`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, order=True)
class MembershipInterval:
    """In from `joined` on, out from `left` on; both None where the beginning or the end is not known or not there."""

    joined: date | None = None
    left: date | None = None

    def covers(self, day: date) -> bool:
        """Whether the instrument is in on that day: in on the day it joins, out on the day it leaves."""
        return (self.joined is None or self.joined <= day) and (self.left is None or day < self.left)

    def touches(self, start: date, end: date | None) -> bool:
        """Whether any day of [start, end) is covered."""
        return (self.left is None or self.left > start) and (end is None or self.joined is None or self.joined < end)

    def overlaps(self, other: MembershipInterval) -> bool:
        """Whether any day is covered by both."""
        first, second = sorted((self, other), key=lambda interval: interval.joined or date.min)
        return first.left is None or first.left > (second.joined or date.min)


Intervals = Mapping[str, tuple[MembershipInterval, ...]]


def by_code(pairs: Iterable[tuple[str, MembershipInterval]]) -> dict[str, tuple[MembershipInterval, ...]]:
    """Intervals by code, in the order of the codes, each in the order of time."""
    intervals: dict[str, list[MembershipInterval]] = defaultdict(list)
    for code, interval in pairs:
        intervals[code].append(interval)
    return {
        code: tuple(sorted(intervals[code], key=lambda interval: interval.joined or date.min))
        for code in sorted(intervals)
    }
