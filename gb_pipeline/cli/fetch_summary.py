"""This module prints what became of the bars that `gb fetch` and its siblings fetched: by symbol, and every problem once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import ExitCode, note, print_error, print_table
from gb_pipeline.errors import TransientVendorError

if TYPE_CHECKING:
    from gb_pipeline.ingest.job import Outcome

_STYLES = {
    "complete": "green", "unchanged": "green", "partial": "yellow", "deferred": "yellow", "refused": "red", "failed": "red",
}  # fmt: skip
# The worst state of any session is the state of the series.
_BY_GRAVITY = ("failed", "refused", "deferred", "partial", "empty", "complete", "not_listed", "closed")


def sum_by_symbol(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One record per symbol, as `--json` has it."""
    rows: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        row = rows.setdefault(
            outcome.symbol.code,
            {
                "symbol": outcome.symbol.code, "sessions": 0, "received": 0, "rows": 0, "expected": 0, "missing": 0,
                "quarantined": 0, "restated": 0, "changed": 0, "states": Counter(), "error": None,
                "deferred_until": None,
            },
        )  # fmt: skip
        row["error"] = row["error"] or (outcome.error.what if outcome.error else None)
        row["deferred_until"] = row["deferred_until"] or outcome.deferred_until
        for session in outcome.sessions:
            row["sessions"] += 1
            row["received"] += session.received
            row["rows"] += session.actual
            row["expected"] += session.expected
            row["missing"] += session.missing
            row["quarantined"] += session.quarantined
            row["restated"] += session.restated
            row["changed"] += session.changed
            row["states"][session.status.value] += 1
    for row in rows.values():
        row["states"] = dict(row["states"])
        row["status"] = next((state for state in _BY_GRAVITY if row["states"].get(state)), "closed")
    return list(rows.values())


def print_summary(rows: Sequence[dict[str, Any]]) -> None:
    """Print the records of `sum_by_symbol` as a table."""
    columns = ("symbol", "sessions", "rows", "missing", "quarantined", "restated", "status")
    print_table(columns, [[row[name] for name in columns] for row in rows], styles=_STYLES)
    changed, sessions = sum(row["changed"] for row in rows), sum(row["sessions"] for row in rows)
    note(f"{changed:,} of {sessions:,} sessions changed" if changed else "nothing changed")


def report_problems(outcomes: Sequence[Outcome]) -> ExitCode:
    """Print every problem once, and choose the exit code."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for what, error in {error.what: error for error in errors}.items():
        print_error(what, error.fix)
    refused = [
        (outcome.symbol.code, session.session, dict(session.reasons))
        for outcome in outcomes
        for session in outcome.sessions
        if session.status.value == "refused"
    ]
    for code, session, reasons in refused[:5]:
        reason_counts = ", ".join(f"{count} x {reason}" for reason, count in reasons.items()) or "too many bad rows"
        print_error(
            f"{code} {session} was refused: {reason_counts}",
            "its rows are in the table `quarantine`; see docs/quality.md",
        )
    if len(refused) > 5:
        print_error(f"... and {len(refused) - 5} more sessions were refused")
    for what, advice in {outcome.advice.what: outcome.advice for outcome in outcomes if outcome.advice}.items():
        print_error(what, advice.fix)
    deferred = [outcome for outcome in outcomes if outcome.deferred is not None]
    if deferred and (deferral := deferred[0].deferred) is not None:
        count = sum(session.status.value == "deferred" for outcome in deferred for session in outcome.sessions)
        print_error(
            f"{count:,} sessions are deferred until {deferral.until:%Y-%m-%d %H:%M}Z: {deferral.what}", deferral.fix
        )
    if refused or any(not isinstance(error, TransientVendorError) for error in errors):
        return ExitCode.FAILED
    return ExitCode.TRANSIENT if errors or deferred else ExitCode.OK
