"""This module prints what became of the bars that `gb fetch` and its siblings fetched: by symbol, and every problem once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from gb_pipeline.cli.output import ExitCode, note, print_error, print_table
from gb_pipeline.errors import TransientVendorError
from gb_pipeline.quality.reasons import TOO_LARGE, TOO_PRECISE, UNREADABLE

if TYPE_CHECKING:
    from gb_pipeline.ingest.job import Outcome

_STYLES = {
    "complete": "green", "unchanged": "green", "partial": "yellow", "deferred": "yellow", "refused": "red", "failed": "red",
}  # fmt: skip
_COLUMNS = (
    "symbol",
    "sessions",
    "rows",
    "missing",
    "stored",
    "quarantined",
    "duplicates",
    "restated",
    "withdrawn",
    "status",
)
# Shown where there is something to show.
_SELDOM = frozenset({"quarantined", "duplicates", "restated", "withdrawn"})
# The stored ones of these sessions, as `gb status` calls them; rows are what a vendor sends.
_HEADINGS = {"rows": "bars"}
_LISTED = 5
_WIDER = "`precision: wide` stores numbers of up to 20 digits before the point and 18 after it"
_NUMBERS = "files with 1,234.5 or 58.41M need the options `thousands`, `decimal_comma` or `suffixes` (`gb doctor` shows the first)"


def sum_by_symbol(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One record per symbol, as `--json` has it.

    `received == stored + unchanged + quarantined + duplicates` are rows that the vendor sent; `unplaced` ones among the
    quarantined belong to no session. `read == received + outside` are rows that were read for it, of which those outside were not
    asked for, as of a file that holds years; `files` tells them by file. `rows`, `expected` and `missing` are bars of its sessions
    as they are now, and `withdrawn` those that the vendor sends no longer. Closed days are no sessions; `statuses` counts sessions
    by status, and `status` says the same in words.
    """
    from gb_pipeline.lake.report import describe_statuses
    from gb_pipeline.lake.row_counts import RowCounts
    from gb_pipeline.quality.read_rows import ReadRows

    by_symbol: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_symbol.setdefault(outcome.symbol.code, []).append(outcome)
    rows = []
    for code, own in by_symbol.items():
        sessions = [session for outcome in own for session in outcome.sessions]
        read_rows = sum((outcome.read_rows for outcome in own), start=ReadRows())
        statuses: Counter[str] = sum((Counter(outcome.statuses) for outcome in own), start=Counter())
        sums = {
            name: sum(getattr(session, name) for session in sessions)
            for name in ("expected", "missing", "restated", "withdrawn")
        }
        rows.append(
            {
                "symbol": code,
                "sessions": statuses.total(),
                "read": read_rows.read,
                "outside": read_rows.outside,
                **sum((outcome.counts for outcome in own), start=RowCounts()).as_dict(),
                "rows": sum(session.actual for session in sessions),
                **sums,
                "changed": sum(session.changed for session in sessions),
                "statuses": dict(statuses),
                "status": describe_statuses(statuses) or "closed",
                "files": [asdict(item) for item in read_rows.files],
                "error": next((outcome.error.what for outcome in own if outcome.error is not None), None),
                "deferred_until": next((outcome.deferred_until for outcome in own if outcome.deferred), None),
            }
        )
    return rows


def print_summary(rows: Sequence[dict[str, Any]]) -> None:
    """Print the records of `sum_by_symbol` as a table."""
    from gb_pipeline.lake.row_counts import RowCounts

    columns = [name for name in _COLUMNS if name not in _SELDOM or any(row[name] for row in rows)]
    headings = [_HEADINGS.get(name, name) for name in columns]
    print_table(headings, [[row[name] for name in columns] for row in rows], styles=_STYLES)
    changed, sessions = sum(row["changed"] for row in rows), sum(row["sessions"] for row in rows)
    total = RowCounts(**{item.name: sum(row[item.name] for row in rows) for item in fields(RowCounts)})
    _print_outside(rows)
    if total.received:
        note(total.sentence)
    note(f"{changed:,} of {sessions:,} sessions changed" if changed else "nothing changed")


def _print_outside(rows: Sequence[dict[str, Any]]) -> None:
    """Rows that were read and not asked for, by file where they come from files."""
    from gb_pipeline.quality.read_rows import FileRows, ReadRows

    read, received, outside = (sum(row[name] for row in rows) for name in ("read", "received", "outside"))
    if not outside:
        return
    files = ReadRows(
        read, received, outside, tuple(FileRows(**item) for row in rows for item in row["files"])
    ).outside_files
    if len(files) != 1:
        note(ReadRows(read, received, outside).sentence)
    for item in files[:_LISTED]:
        note(item.sentence)
    if len(files) > _LISTED:
        note(f"... and {len(files) - _LISTED} more files")


def report_problems(outcomes: Sequence[Outcome]) -> ExitCode:
    """Print every problem once, and choose the exit code."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for what, error in {error.what: error for error in errors}.items():
        print_error(what, error.fix)
    _report_unplaced(outcomes)
    refused = _report_refused(outcomes)
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


def _report_unplaced(outcomes: Sequence[Outcome]) -> None:
    """Rows of no session, also where they are few enough that the rest is stored."""
    found = [(outcome, outcome.unplaced) for outcome in outcomes if outcome.unplaced is not None]
    # Refused answers first.
    for outcome, unplaced in sorted(found, key=lambda item: not item[1].refused)[:_LISTED]:
        what = f"the answer for {outcome.symbol.code} {outcome.start} to {outcome.end} was refused: "
        print_error(
            f"{what if unplaced.refused else f'{outcome.symbol.code}: '}{unplaced.sentence}",
            "" if outcome.advice else unplaced.fix,
        )
    if len(found) > _LISTED:
        print_error(f"... and {len(found) - _LISTED} more answers have rows that belong to no session")


def _advise(reasons: Mapping[str, int]) -> str:
    """What may have to be set, by the reasons of refused rows."""
    if UNREADABLE in reasons:
        return _NUMBERS
    return _WIDER if reasons.keys() & {TOO_PRECISE, TOO_LARGE} else "see docs/quality.md"


def _report_refused(outcomes: Sequence[Outcome]) -> bool:
    """Refused sessions, those of answers that were refused as a whole left out; whether anything was refused."""
    whole = [outcome for outcome in outcomes if outcome.unplaced is not None and outcome.unplaced.refused]
    refused = [
        (outcome.symbol.code, session.session, dict(session.reasons))
        for outcome in outcomes
        for session in outcome.sessions
        if session.status.value == "refused" and outcome not in whole
    ]
    for code, session, reasons in refused[:_LISTED]:
        named = ", ".join(f"{count} x {reason}" for reason, count in reasons.items())
        print_error(
            f"{code} {session} was refused: {named or 'rows that belong to no session may be of it'}",
            f"`gb quarantine list` has its rows; {_advise(reasons)}",
        )
    if len(refused) > _LISTED:
        print_error(f"... and {len(refused) - _LISTED} more sessions were refused")
    return bool(refused or whole)
