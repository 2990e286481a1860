"""What a window's rows amount to, session by session.

Belongs here: turning merged rows, the calendar's expectation and the verdict into session reports and ledger rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from gb_pipeline.lake.report import SessionReport, SessionStatus
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SESSIONS, polars_schema
from gb_pipeline.market.window import Window
from gb_pipeline.quality.bars import Verdict
from gb_pipeline.quality.fingerprint import session_fingerprints
from gb_pipeline.quality.gaps import Gap, GapReason, Key, find_gaps
from gb_pipeline.quality.rules import BarRules

WORST_ROWS = 5
Listing = tuple[date | None, date | None]


@dataclass(frozen=True)
class Expectation:
    """What the calendar expects of a window.

    Attributes:
        grid: `session`, `timestamp`, `end` of every bar that should exist by now in the sessions that the window touches.
        sessions: those sessions, including ones of which no bar is closed yet.
        closed: days of the window without a session.
        hull: from the first instant of the first session to the last of the last; at least the window.
        whole: whether the window covers all its sessions.
    """

    grid: pl.DataFrame
    sessions: tuple[date, ...]
    closed: tuple[date, ...]
    hull: Window
    whole: bool


def expect(rules: BarRules, window: Window, now: datetime) -> Expectation:
    """Ask the calendar about a window."""
    calendar, resolution = rules.calendar, rules.resolution
    # Sessions may begin up to a day before and end up to a day after their date, in UTC.
    margin = timedelta(days=2 if resolution.intraday else 0)
    until = window.end.date() + margin + timedelta(days=1)
    grid = calendar.expected(window.start.date() - margin, until, resolution, rules.alignment)
    inside = grid.filter((pl.col("timestamp") >= window.start) & (pl.col("timestamp") < window.end))
    labels = inside["session"].unique().sort()
    sessions = tuple(labels.to_list())
    hull = window
    if resolution.intraday and sessions:
        first, last = calendar.session_window(sessions[0]), calendar.session_window(sessions[-1])
        hull = Window(min(window.start, first.start), max(window.end, last.end))
    kept = grid.filter(pl.col("session").is_in(labels.implode()))
    ends = calendar.bar_ends(kept["timestamp"], resolution)
    closed = (
        kept.select("session", "timestamp").with_columns(ends.alias("end")).filter(pl.col("end") + rules.grace <= now)
    )
    whole = inside.height == kept.height
    return Expectation(closed, sessions, _closed_days(rules, window), hull, whole)


def _closed_days(rules: BarRules, window: Window) -> tuple[date, ...]:
    if rules.resolution in {Resolution.WEEK, Resolution.MONTH} or window.empty:
        return ()
    zone = rules.calendar.zone if rules.resolution.intraday else window.start.tzinfo
    first = window.start.astimezone(zone).date()
    last = (window.end - timedelta(microseconds=1)).astimezone(zone).date()
    return tuple(rules.calendar.closed_days(first, last + timedelta(days=1)))


def session_reports(
    source: str,
    symbols: Sequence[str],
    rules: BarRules,
    expectation: Expectation,
    rows: pl.DataFrame,
    verdict: Verdict,
    *,
    listings: Mapping[str, Listing],
    touched: pl.DataFrame,
    restated: pl.DataFrame,
    withdrawn: pl.DataFrame,
    failed: bool = False,
) -> list[SessionReport]:
    """One report per symbol and day of the window, in that order.

    Args:
        rows: everything that is stored in the hull after the write: `symbol, session, timestamp`, content; sorted.
        touched, restated, withdrawn: `symbol, session, ...` of what the write changed, from `merge`.
    """
    prints = session_fingerprints(rows, source, rules.resolution, rules.precision)
    found = rows.group_by("symbol", "session").agg(
        pl.len().alias("actual"), pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")
    )
    stats = {(r["symbol"], r["session"]): r for r in found.iter_rows(named=True)}
    expected = dict(expectation.grid.group_by("session").len().iter_rows())
    counts = _Counts(verdict, touched, restated, withdrawn)
    unlisted = {
        (symbol, session)
        for symbol in symbols
        for session in _unlisted(expectation.sessions, listings.get(symbol, (None, None)))
    }
    # Stored bars are unique and, unless the source keeps unaligned ones, on the grid: equal counts mean no gap.
    suspects = [
        (symbol, session)
        for symbol in symbols
        for session in expectation.sessions
        if (symbol, session) not in unlisted
        and (rules.allow_unaligned or _actual(stats, (symbol, session)) != expected.get(session, 0))
    ]
    gaps = _gaps(suspects, expectation, rows, verdict, rules, failed=failed)
    reports = []
    for symbol in symbols:
        for session in expectation.sessions:
            key = (symbol, session)
            stored = stats.get(key, {"actual": 0, "first": None, "last": None})
            listed = key not in unlisted
            runs = gaps.get(key, ()) if listed else (_whole_day(session, GapReason.NOT_LISTED),)
            reports.append(
                SessionReport(
                    symbol=symbol,
                    session=session,
                    status=_status(key, stored["actual"], runs, verdict, listed=listed, failed=failed),
                    expected=expected.get(session, 0) if listed else 0,
                    actual=stored["actual"],
                    missing=sum(gap.missing for gap in runs),
                    fingerprint=prints.get(key, ""),
                    first=stored["first"],
                    last=stored["last"],
                    gaps=runs,
                    **counts.of(key),
                )
            )
        reports += [_closed(symbol, day) for day in expectation.closed]
    return sorted(reports, key=lambda report: (report.symbol, report.session))


def deferred_reports(
    symbols: Sequence[str], rules: BarRules, window: Window, now: datetime, listings: Mapping[str, Listing]
) -> list[SessionReport]:
    """One report per symbol and day of a window that was not asked for; it claims nothing that an answer would tell."""
    begun = Window(window.start, min(window.end, now)) if window.start < now else None
    if begun is None:
        return []
    expectation = expect(rules, begun, now)
    reports = []
    for symbol in symbols:
        unlisted = _unlisted(expectation.sessions, listings.get(symbol, (None, None)))
        for session in expectation.sessions:
            status = SessionStatus.NOT_LISTED if session in unlisted else SessionStatus.DEFERRED
            reports.append(SessionReport(symbol, session, status))
        reports += [_closed(symbol, day) for day in expectation.closed]
    return sorted(reports, key=lambda report: (report.symbol, report.session))


def _unlisted(sessions: Sequence[date], listing: Listing) -> frozenset[date]:
    start, end = listing
    return frozenset(day for day in sessions if (start and day < start) or (end and day >= end))


def _actual(stats: Mapping[Key, Mapping[str, Any]], key: Key) -> int:
    return int(stats[key]["actual"]) if key in stats else 0


def _gaps(
    suspects: Sequence[Key],
    expectation: Expectation,
    rows: pl.DataFrame,
    verdict: Verdict,
    rules: BarRules,
    *,
    failed: bool,
) -> dict[Key, tuple[Gap, ...]]:
    if not suspects:
        return {}
    pairs = pl.DataFrame(suspects, schema={"symbol": pl.String(), "session": pl.Date()}, orient="row")
    grid = pairs.join(expectation.grid, on="session", how="inner").sort("symbol", "timestamp")
    refused = verdict.bad.filter(pl.col("timestamp").is_not_null())
    return find_gaps(grid, rows, rules.gap_policy, refused=refused, failed=failed)


def _whole_day(day: date, reason: GapReason) -> Gap:
    window = Window.of(day, day + timedelta(days=1))
    return Gap(window.start, window.end, 0, reason)


def _closed(symbol: str, day: date) -> SessionReport:
    return SessionReport(symbol, day, SessionStatus.CLOSED, gaps=(_whole_day(day, GapReason.CLOSED),))


def _status(
    key: Key, actual: int, gaps: Sequence[Gap], verdict: Verdict, *, listed: bool, failed: bool
) -> SessionStatus:
    if failed:
        return SessionStatus.FAILED
    if key in verdict.refused:
        return SessionStatus.REFUSED
    if not listed:
        return SessionStatus.NOT_LISTED
    if not actual:
        return SessionStatus.EMPTY
    return SessionStatus.PARTIAL if gaps else SessionStatus.COMPLETE


class _Counts:
    """Rows of a verdict and a merge, counted by (symbol, session) once for all sessions."""

    def __init__(
        self, verdict: Verdict, touched: pl.DataFrame, restated: pl.DataFrame, withdrawn: pl.DataFrame
    ) -> None:
        self._good = _count(verdict.good)
        self._bad = _count(verdict.bad)
        self._restated = _count(restated)
        self._withdrawn = _count(withdrawn)
        self._touched = _count(touched)
        self._reasons = _count_codes(verdict.bad.explode("reasons"), "reasons")
        self._warnings = _count_codes(verdict.warnings, "warning")
        self._worst = _worst(verdict)

    def of(self, key: Key) -> dict[str, Any]:
        bad = self._bad.get(key, 0)
        return {
            "received": self._good.get(key, 0) + bad,
            "quarantined": bad,
            "restated": self._restated.get(key, 0),
            "withdrawn": self._withdrawn.get(key, 0),
            "changed": key in self._touched,
            "reasons": self._reasons.get(key, {}),
            "warnings": self._warnings.get(key, {}),
            "worst": self._worst.get(key, ()),
        }


def _count(rows: pl.DataFrame) -> dict[Key, int]:
    if rows.is_empty():
        return {}
    return {(symbol, session): n for symbol, session, n in rows.group_by("symbol", "session").len().iter_rows()}


def _count_codes(rows: pl.DataFrame, code: str) -> dict[Key, dict[str, int]]:
    counts: dict[Key, dict[str, int]] = {}
    if rows.is_empty():
        return counts
    for symbol, session, name, n in rows.group_by("symbol", "session", code).len().sort(code).iter_rows():
        counts.setdefault((symbol, session), {})[name] = n
    return counts


def _worst(verdict: Verdict) -> dict[Key, tuple[dict[str, str], ...]]:
    bad = verdict.bad.with_columns(pl.col("reasons").list.join(", ").alias("why"))
    odd = verdict.warnings.rename({"warning": "why"}).with_columns(pl.lit("stored").alias("row"))
    columns = ["symbol", "session", "timestamp", "why", "row"]
    rows = pl.concat([bad.select(columns), odd.select(columns)])
    if rows.is_empty():
        return {}
    worst: dict[Key, tuple[dict[str, str], ...]] = {}
    for key, group in rows.group_by("symbol", "session", maintain_order=True):
        worst[key] = tuple(
            {"timestamp": str(stamp or ""), "why": str(why), "row": str(row)[:300]}
            for _, _, stamp, why, row in group.head(WORST_ROWS).iter_rows()
        )
    return worst


def ledger_rows(
    source: str,
    rules: BarRules,
    reports: Sequence[SessionReport],
    *,
    known_at: datetime,
    recorded_at: datetime,
    version: int,
) -> pl.DataFrame:
    """The reports as rows of `market.schema.SESSIONS`."""
    records = [
        {
            "source": source,
            "symbol": report.symbol,
            "resolution": rules.resolution.value,
            "session": report.session,
            "expected": report.expected,
            "actual": report.actual,
            "missing": report.missing,
            "quarantined": report.quarantined,
            "warnings": sum(report.warnings.values()),
            "status": report.status.value,
            "fingerprint": report.fingerprint,
            "first_timestamp": report.first,
            "last_timestamp": report.last,
            "gaps": [
                {"start": gap.start, "end": gap.end, "missing": gap.missing, "reason": gap.reason.value}
                for gap in report.gaps
            ],
            "known_at": known_at,
            "precision": rules.precision.value,
            "table_version": version,
            "recorded_at": recorded_at,
            "adjustment": rules.adjustment.value,
        }
        for report in reports
    ]
    return pl.DataFrame(records, schema=polars_schema(SESSIONS))
