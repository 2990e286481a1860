"""What a write did, as values that a person and a program can read.

Belongs here: the reports' types. Does not belong here: producing or printing them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.quality.gaps import Gap


class SessionStatus(StrEnum):
    """The state of one series in one session.

    `deferred` is never stored: nothing is known of the session that was not known before, because the calls of the vendor's
    day are used up.
    """

    COMPLETE = "complete"
    PARTIAL = "partial"
    EMPTY = "empty"
    CLOSED = "closed"
    NOT_LISTED = "not_listed"
    REFUSED = "refused"
    FAILED = "failed"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class SessionReport:
    """One series in one session after a write.

    Attributes:
        symbol: canonical code.
        session: the trading day.
        status: its state now; `refused`, `failed` and `deferred` say that nothing was changed here.
        expected, actual, missing: bars that the calendar expects, that are stored, and that are not.
        received: rows that the vendor sent for this session.
        quarantined: rows of them that were refused.
        restated: rows whose content changed at the vendor; the old content is in `restatements`.
        withdrawn: stored rows that the vendor no longer sends; they are kept.
        warnings: rows that are stored although they look suspicious, by code.
        reasons: quarantined rows by code.
        worst: the first few quarantined or suspicious rows: `timestamp`, `why` and `row`, as text.
        fingerprint: of the stored content; empty without rows.
        first, last: first and last stored bar.
        gaps: runs of missing bars with their reasons.
        changed: whether this write changed stored rows.
    """

    symbol: str
    session: date
    status: SessionStatus
    expected: int = 0
    actual: int = 0
    missing: int = 0
    received: int = 0
    quarantined: int = 0
    restated: int = 0
    withdrawn: int = 0
    warnings: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    worst: tuple[Mapping[str, str], ...] = ()
    fingerprint: str = ""
    first: datetime | None = None
    last: datetime | None = None
    gaps: tuple[Gap, ...] = ()
    changed: bool = False


@dataclass(frozen=True, slots=True)
class WriteReport:
    """One `write_bars`.

    Attributes:
        received: rows of the frame; always `stored + quarantined`.
        stored: rows of the frame that the lake now holds with this content, whether new, restated or unchanged.
        unchanged: rows of `stored` that it held before.
        unplaced: quarantined rows that belong to no session of the window, by symbol.
        bytes: size of the data files that the commit added.
        version: the table's version after the commit; None when nothing had to be committed.
        fingerprint: over all sessions.
    """

    source: str
    resolution: Resolution
    window: Window
    sessions: tuple[SessionReport, ...]
    received: int
    stored: int
    unchanged: int
    quarantined: int
    restated: int
    withdrawn: int
    unplaced: Mapping[str, int]
    bytes: int
    version: int | None
    fingerprint: str
