"""A lake in dictionaries: what it must answer after a sequence of answers, without a file, a frame or a log.

It is written from the rules of the design alone and shares no code with the lake: who wins, what is withdrawn, what is late, what
is refused, when it became known, and the fingerprint of a session.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SOURCE = "sim"


@dataclass(frozen=True)
class Content:
    """What a bar says."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trade_count: int | None
    vwap: Decimal | None


@dataclass(frozen=True)
class Version:
    """A content from the moment on at which it became known; or, where it is removed, that there is none from then on."""

    content: Content
    withdrawn: bool
    fetched_at: datetime
    known_at: datetime
    removed: bool = False


@dataclass(frozen=True)
class Series:
    """A symbol in a resolution."""

    symbol: str
    resolution: str


Key = tuple[Series, datetime]


@dataclass
class Correction:
    """What holds in place of what the vendor says, what it says, and when it was asked for that."""

    corrected: Content
    vendor: Content
    asked: datetime


@dataclass
class Outcome:
    """What a write did, in numbers."""

    received: int = 0
    unchanged: int = 0
    restated: int = 0
    withdrawn: int = 0
    late: int = 0
    bad: int = 0
    added: int = 0
    changes: dict[Key, tuple[Content, bool]] = field(default_factory=dict)


@dataclass
class Model:
    """Every version of every bar, oldest first."""

    versions: dict[Key, list[Version]] = field(default_factory=lambda: defaultdict(list))
    refused: set[tuple[object, ...]] = field(default_factory=set)
    # Precision by series and session, of the last answer that covered it.
    precision: dict[tuple[Series, date], str] = field(default_factory=dict)
    corrections: dict[Key, Correction] = field(default_factory=dict)

    def decide(
        self,
        series: list[Series],
        slots: list[datetime],
        answer: dict[Key, Content | None],
        fetched_at: datetime,
        precision: str,
    ) -> Outcome:
        """What an answer about some series and bar opens does; None stands for a row that breaks a rule."""
        outcome = Outcome(received=len(answer))
        # A session without a good row is refused: nothing of it is withdrawn.
        good = {(one, slot.date()) for (one, slot), content in answer.items() if content is not None}
        refused = {(one, slot.date()) for one, slot in answer} - good
        for one in series:
            for slot in slots:
                if (one, slot) in answer or (one, slot.date()) not in refused:
                    self._decide(outcome, (one, slot), answer, fetched_at, precision)
        outcome.added = len(outcome.changes)
        return outcome

    def _decide(
        self, outcome: Outcome, key: Key, answer: dict[Key, Content | None], fetched_at: datetime, precision: str
    ) -> None:
        held = self._held(key)
        if key not in answer:
            if held is not None and not held.withdrawn and fetched_at >= held.fetched_at:
                outcome.withdrawn += 1
                outcome.changes[key] = held.content, True
            return
        content = self._corrected(key, answer[key], fetched_at)
        if content is None:
            outcome.bad += 1
            self.refused.add((key, "bad"))
        elif held is None:
            outcome.changes[key] = content, False
        elif held.content == content and not held.withdrawn:
            outcome.unchanged += 1
        elif fetched_at < held.fetched_at:
            outcome.late += 1
            self.refused.add((key, "late", content, precision))
        else:
            outcome.restated += held.content != content
            outcome.changes[key] = content, False

    def _corrected(self, key: Key, content: Content | None, fetched_at: datetime) -> Content | None:
        correction = self.corrections.get(key)
        if correction is None or content is None:
            return content
        if fetched_at > correction.asked and content != correction.vendor:
            correction.vendor, correction.asked = content, fetched_at
        return correction.corrected

    def correct(self, key: Key, corrected: Content | None, fetched_at: datetime, known_at: datetime) -> None:
        """Override a stored bar, or take that back (None)."""
        held = self.versions[key][-1]
        before = self.corrections.pop(key, None)
        vendor, asked = (held.content, held.fetched_at) if before is None else (before.vendor, before.asked)
        if corrected is not None:
            self.corrections[key] = Correction(corrected, vendor, asked)
        # A correction says nothing of whether the vendor returns the bar.
        if held.content != (corrected or vendor):
            self.versions[key].append(Version(corrected or vendor, held.withdrawn, fetched_at, known_at))

    def _held(self, key: Key) -> Version | None:
        known = self.versions[key]
        return known[-1] if known and not known[-1].removed else None

    def remove(self, series: Series, since: date | None, known_at: datetime) -> int:
        """Take the bars of some sessions out of the present; how many there were."""
        gone = [key for key in self.held() if key[0] == series and (since is None or key[1].date() >= since)]
        for key in gone:
            self.corrections.pop(key, None)
            self.versions[key].append(replace(self.versions[key][-1], known_at=known_at, removed=True))
        return len(gone)

    def held(self) -> list[Key]:
        """What there is now."""
        return [key for key in list(self.versions) if self._held(key) is not None]

    def commit(self, outcome: Outcome, fetched_at: datetime, known_at: datetime) -> None:
        """Take over what was decided."""
        for key, (content, withdrawn) in outcome.changes.items():
            self.versions[key].append(Version(content, withdrawn, fetched_at, known_at))

    def as_of(self, series: Series, moment: datetime) -> dict[datetime, Version]:
        """What was known at a moment."""
        found = {}
        for (one, slot), versions in self.versions.items():
            held = [version for version in versions if version.known_at <= moment]
            if one == series and held and not held[-1].removed:
                found[slot] = held[-1]
        return dict(sorted(found.items()))

    def restatements(self) -> int:
        """How many changes of content there were, withdrawals and returns left out."""
        pairs = [pair for versions in self.versions.values() for pair in pairwise(versions)]
        return sum(old.content != new.content and not old.removed for old, new in pairs)


def fingerprint(series: Series, session: date, precision: str, rows: dict[datetime, Version]) -> str | None:
    """The fingerprint of a session's rows, by its definition."""
    if not rows:
        return None
    scale, size = (8, 8) if precision == "standard" else (18, 16)
    line = f"gb-bars-3 {SOURCE} {series.symbol} {series.resolution} {precision}\n".encode()
    days = (session - EPOCH.date()).days
    if series.resolution == "1d" and len(rows) == 1:
        return _check_number(line, days, *rows.items(), scale=scale).to_bytes(8, "little").hex()

    def number(value: Decimal | None) -> bytes:
        return int((value or Decimal()).scaleb(scale)).to_bytes(size, "little", signed=True)

    has_count = any(version.content.trade_count is not None for version in rows.values())
    has_vwap = any(version.content.vwap is not None for version in rows.values())
    data = line + struct.pack("<iqB", days, len(rows), has_count | has_vwap << 1)
    for stamp, version in sorted(rows.items()):
        content = version.content
        data += struct.pack("<q", (stamp - EPOCH) // MICROSECOND)
        for value in (content.open, content.high, content.low, content.close, content.volume):
            data += number(value)
        data += struct.pack("<q", content.trade_count or 0) if has_count else b""
        data += number(content.vwap) if has_vwap else b""
        if has_count or has_vwap:
            data += bytes([(content.trade_count is not None) | (content.vwap is not None) << 1])
    return hashlib.sha256(data).digest()[:8].hex()


def _check_number(line: bytes, days: int, row: tuple[datetime, Version], *, scale: int) -> int:
    """Of a bar of a day: the sum of its numbers modulo a prime, each times its own factor."""
    prime = 268_435_399

    def hashed(data: bytes) -> int:
        return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")

    stamp, content = row[0], row[1].content
    numbers = {
        "session": days,
        "timestamp": (stamp - EPOCH) // MICROSECOND,
        "trade_count": content.trade_count or 0,
        "present": (content.trade_count is not None) | (content.vwap is not None) << 1,
    }
    for name in ("open", "high", "low", "close", "volume", "vwap"):
        numbers[name] = int((getattr(content, name) or Decimal()).scaleb(scale))
    factors = {name: 1 + hashed(f"gb-bars-3 {name}".encode()) % (prime - 1) for name in numbers}
    return (hashed(line) + sum(number * factors[name] for name, number in numbers.items())) % prime
