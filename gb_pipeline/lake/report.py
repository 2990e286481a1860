"""This module holds what a write did, as values that a person and a program can read.

What a session amounts to is computed in `coverage`; a value of each session is made where somebody wants one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Any

import polars as pl

from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SESSIONS, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.fingerprint import combine, fingerprint_text
from gb_pipeline.quality.gaps import Gap, GapReason
from gb_pipeline.quality.unplaced import UnplacedRows

_CODES = pl.List(pl.Struct({"code": pl.String(), "rows": pl.Int64()}))
# One row per series and day of a window, made by `coverage.describe_sessions`. The last three columns are null where there
# is nothing to tell, which is nearly everywhere.
DESCRIBED = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "status": pl.String(),
        "expected": pl.Int64(),
        "actual": pl.Int64(),
        "missing": pl.Int64(),
        "received": pl.Int64(),
        "stored": pl.Int64(),
        "unchanged": pl.Int64(),
        "quarantined": pl.Int64(),
        "duplicates": pl.Int64(),
        "restated": pl.Int64(),
        "withdrawn": pl.Int64(),
        "changed": pl.Boolean(),
        "warnings": pl.Int64(),
        "fingerprint": pl.Int64(),
        "first_timestamp": INSTANT,
        "last_timestamp": INSTANT,
        "gaps": polars_schema(SESSIONS)["gaps"],
        "reason_counts": _CODES,
        "warning_counts": _CODES,
        "worst": pl.List(pl.Struct({"timestamp": INSTANT, "why": pl.String(), "row": pl.String()})),
    }
)
# Quarantined rows of a write.
REFUSED = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "timestamp": INSTANT,
        "reasons": pl.List(pl.String()),
        "row": pl.String(),
    }
)


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
    REMOVED = "removed"
    DEFERRED = "deferred"


# Sessions that were asked for and are not stored as the vendor has them; as text, which the ledger holds, equal to the states.
UNSTORED = [SessionStatus.FAILED.value, SessionStatus.REFUSED.value]


@dataclass(frozen=True, slots=True)
class SessionReport:
    """One series in one session after a write.

    Attributes:
        symbol: canonical code.
        session: the trading day.
        status: its state now; `refused`, `failed` and `deferred` say that nothing was changed here.
        expected, actual, missing: bars that the calendar expects, that are stored, and that are not.
        received: rows that the vendor sent for this session; always `stored + unchanged + quarantined + duplicates`.
        stored, unchanged, quarantined, duplicates: what became of them; see `row_counts.RowCounts`.
        restated: rows whose content this write changed, because the vendor had; the old content is kept.
        withdrawn: stored rows that the vendor sends no longer, whenever that was noticed; they are kept.
        warnings: rows that are stored although they look suspicious, by code.
        reasons: quarantined rows by code.
        worst: the first few quarantined or suspicious rows: `timestamp`, `why` and `row`, as text.
        fingerprint: of the stored content, 16 hexadecimal digits; empty without rows.
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
    stored: int = 0
    unchanged: int = 0
    quarantined: int = 0
    duplicates: int = 0
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


@dataclass(frozen=True)
class WriteReport:
    """One `write_bars`; always `received == stored + unchanged + quarantined + duplicates`, by symbol and in total.

    Attributes:
        sessions_frame: one row per series and day of the window, columns of `DESCRIBED`.
        counts: what became of the rows of each symbol, those of the frame that were not requested among them.
        unplaced: rows that belong to no session of the window, by symbol, and whether they refused the whole answer.
        restated: stored bars whose content changed.
        withdrawn: stored bars that the vendor no longer sends.
        refused: every quarantined row, columns of `REFUSED`; `session` is null where it belongs to none of the window.
        late: quarantined rows that were fetched before what is stored was; they changed nothing.
        bytes: size of the data files that the commit added.
        version: the table's version after the commit; None when nothing had to be committed.
    """

    source: str
    resolution: Resolution
    window: Window
    sessions_frame: pl.DataFrame = field(repr=False, compare=False)
    counts: Mapping[str, RowCounts]
    restated: int
    withdrawn: int
    bytes: int
    version: int | None
    late: int = 0
    unplaced: Mapping[str, UnplacedRows] = field(default_factory=dict)
    refused: pl.DataFrame = field(default_factory=REFUSED.to_frame, repr=False, compare=False)

    @cached_property
    def total(self) -> RowCounts:
        """What became of all rows."""
        return sum(self.counts.values(), start=RowCounts())

    @property
    def received(self) -> int:
        """Rows of the frame."""
        return self.total.received

    @property
    def stored(self) -> int:
        """Rows of it that are new or restated."""
        return self.total.stored

    @property
    def unchanged(self) -> int:
        """Rows of it that the lake held already with this content."""
        return self.total.unchanged

    @property
    def quarantined(self) -> int:
        """Rows of it that were refused."""
        return self.total.quarantined

    @property
    def duplicates(self) -> int:
        """Rows of it that repeat another one of its rows."""
        return self.total.duplicates

    @cached_property
    def fingerprint(self) -> str:
        """Over all sessions: hexadecimal SHA-256, empty without a row; computed on first access."""
        return combine(self.sessions_frame.select("symbol", "session", "fingerprint"))

    @cached_property
    def sessions(self) -> tuple[SessionReport, ...]:
        """A value for each row of `sessions_frame`, made on first access."""
        return session_reports(self.sessions_frame)


def describe_statuses(counts: Mapping[str, int]) -> str:
    """How many sessions are in which state, best first; one session is its status. Closed days are no sessions.

    Example:
        >>> describe_statuses({"refused": 1, "complete": 976, "partial": 3, "closed": 400})
        '976 complete, 3 partial, 1 refused'
    """
    order = [status.value for status in SessionStatus]
    sessions = {status: counts[status] for status in order if counts.get(status) and status != SessionStatus.CLOSED}
    if not sessions:
        return "closed" if counts.get(SessionStatus.CLOSED) else ""
    if sum(sessions.values()) == 1:
        return next(iter(sessions)).replace("_", " ")
    return ", ".join(f"{number:,} {status.replace('_', ' ')}" for status, number in sessions.items())


def session_reports(described: pl.DataFrame) -> tuple[SessionReport, ...]:
    """A value for each row of a frame with the columns of `DESCRIBED`, in its order.

    Example:
        >>> session_reports(report.sessions_frame.filter(pl.col("status") == "partial"))[0].missing
        3
    """
    columns = {name: described[name].to_list() for name in DESCRIBED.names() if name != "gaps"}
    columns["status"] = [_STATUS[status] for status in columns["status"]]
    columns["warnings"] = [_counts(codes) for codes in columns.pop("warning_counts")]
    columns["reasons"] = [_counts(codes) for codes in columns.pop("reason_counts")]
    columns["worst"] = [_as_texts(rows) for rows in columns["worst"]]
    columns["fingerprint"] = fingerprint_text(described["fingerprint"]).fill_null("").to_list()
    columns["first"], columns["last"] = columns.pop("first_timestamp"), columns.pop("last_timestamp")
    columns["gaps"] = _gaps(described["gaps"])
    return tuple(map(SessionReport, *(columns[item.name] for item in fields(SessionReport))))


_STATUS = {status.value: status for status in SessionStatus}
_REASON = {reason.value: reason for reason in GapReason}


def _counts(codes: list[dict[str, Any]] | None) -> dict[str, int]:
    return {} if codes is None else {item["code"]: item["rows"] for item in codes}


def _as_texts(rows: list[dict[str, Any]] | None) -> tuple[dict[str, str], ...]:
    return () if rows is None else tuple({name: str(value or "") for name, value in row.items()} for row in rows)


def _gaps(gaps: pl.Series) -> list[tuple[Gap, ...]]:
    """One list of all gaps, cut where the sessions end: a list of structs becomes Python far more slowly."""
    flat = gaps.explode(empty_as_null=False).struct.unnest()
    reasons = [_REASON[reason] for reason in flat["reason"]]
    incidents = [""] * flat.height
    if "incident" in flat.columns:
        named = pl.concat_str("incident_kind", "incident_reason", separator=": ").fill_null("")
        incidents = flat.select(named).to_series().to_list()
    values = tuple(map(Gap, flat["start"], flat["end"], flat["missing"], reasons, incidents))
    ends = gaps.list.len().cum_sum().to_list()
    return [values[start:end] for start, end in pairwise([0, *ends])]
