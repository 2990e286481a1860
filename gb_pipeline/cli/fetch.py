"""`gb fetch` fetches, validates and stores bars without Dagster.

This module turns arguments into jobs and prints what became of them. The fetching is in `ingest`, the code that Dagster's
assets run as well.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.options import Config, Json, load_settings, open_store, parse_day
from gb_pipeline.cli.output import ExitCode, note, print_error, print_json, print_table, progress
from gb_pipeline.cli.symbols import advise_adding_symbols
from gb_pipeline.errors import ConfigError, TransientVendorError

if TYPE_CHECKING:
    from datetime import date

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Job, Outcome
    from gb_pipeline.market.resolution import Resolution

_STYLES = {
    "complete": "green", "unchanged": "green", "partial": "yellow", "deferred": "yellow", "refused": "red", "failed": "red",
}  # fmt: skip
# The worst state of any session is the state of the series.
_BY_GRAVITY = ("failed", "refused", "deferred", "partial", "empty", "complete", "not_listed", "closed")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fetch")(fetch)


def fetch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a source in gb.yaml.", show_default=False)],
    symbols: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SYMBOL", help="Canonical codes; all symbols of the source by default.", show_default=False
        ),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option("--resolution", "-r", help="Resolution, such as 1m; the source's first by default.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First session, such as 2024-01-02; yesterday (UTC) by default.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="End date (exclusive); the day after --start by default.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Fetch bars into the lake, without Dagster.

    Runs the same code as Dagster's assets, and refreshes the catalog afterwards. Fetching again is harmless: what is stored is
    compared, and only differences are written. Exits with 1 when a session was rejected or the vendor refuses permanently, and with
    3 after a temporary failure or when the vendor's daily quota is used up: the rest is deferred, and the same command continues
    with it another day.
    """
    from gb_pipeline.catalog.projection import refresh_catalog, table_versions
    from gb_pipeline.ingest.bars import ingest

    settings = load_settings(config)
    source_settings = settings.source(source)
    bar_resolution = parse_resolution(source_settings, resolution)
    jobs = parse_jobs(source_settings, symbols or [], start, end)
    store = open_store(settings)
    if not jobs:
        note(f"{source} has no symbols yet: {advise_adding_symbols(source_settings)}")
    with progress(quiet=as_json) as bar:
        task = bar.add_task(f"{source} {bar_resolution}", total=len(jobs))
        outcomes = ingest(store, source_settings, bar_resolution, jobs, on_outcome=lambda _: bar.advance(task))
    if table_versions(store):
        refresh_catalog(store, settings.sources)
    rows = _sum_by_symbol(outcomes)
    if as_json:
        print_json({"source": source, "resolution": bar_resolution, "symbols": rows})
    else:
        _print_summary(rows)
    return _report_problems(outcomes)


def parse_resolution(source: SourceSettings, text: str | None) -> Resolution:
    """What `--resolution` names; the source's first one by default.

    Raises:
        InvalidResolution: it names none.
    """
    from gb_pipeline.market.resolution import Resolution

    if text is None:
        return source.resolutions[0]
    return Resolution.parse(text)


def parse_jobs(source: SourceSettings, symbols: list[str], start: str | None, end: str | None) -> list[Job]:
    """What SYMBOL..., `--start` and `--end` name, month by month.

    Raises:
        ConfigError: a day that is none or has not begun, or the wrong order.
        InvalidSymbol: a code that cannot be one.
    """
    from gb_pipeline.ingest.job import Job
    from gb_pipeline.market.symbol import Symbol

    today = datetime.now(UTC).date()
    first = parse_day(start, "--start") if start else today - timedelta(days=1)
    last = parse_day(end, "--end") if end else first + timedelta(days=1)
    if last <= first:
        raise ConfigError(f"--end {last} is not after --start {first}", fix="--end is exclusive")
    if first > today:
        raise ConfigError(f"--start {first} has not begun yet", fix=f"today is {today} (UTC)")
    configured = {symbol.code: symbol for symbol in source.instruments}
    requested = [Symbol.of(text, source.asset_class) for text in symbols]
    chosen = {symbol.code: configured.get(symbol.code, symbol) for symbol in requested} or configured
    # Months are steps of the progress bar, and what a crash can take away.
    return [Job(symbol, begin, stop) for begin, stop in _month_steps(first, last) for symbol in chosen.values()]


def _month_steps(first: date, last: date) -> list[tuple[date, date]]:
    edges = [first]
    while edges[-1] < last:
        month = (edges[-1].replace(day=1) + timedelta(days=32)).replace(day=1)
        edges.append(min(month, last))
    return list(pairwise(edges))


def _sum_by_symbol(outcomes: list[Outcome]) -> list[dict[str, Any]]:
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


def _print_summary(rows: list[dict[str, Any]]) -> None:
    columns = ("symbol", "sessions", "rows", "missing", "quarantined", "restated", "status")
    print_table(columns, [[row[name] for name in columns] for row in rows], styles=_STYLES)
    changed, sessions = sum(row["changed"] for row in rows), sum(row["sessions"] for row in rows)
    note(f"{changed:,} of {sessions:,} sessions changed" if changed else "nothing changed")


def _report_problems(outcomes: list[Outcome]) -> ExitCode:
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
    deferred = [outcome for outcome in outcomes if outcome.deferred is not None]
    if deferred and (deferral := deferred[0].deferred) is not None:
        count = sum(session.status.value == "deferred" for outcome in deferred for session in outcome.sessions)
        print_error(
            f"{count:,} sessions are deferred until {deferral.until:%Y-%m-%d %H:%M}Z: {deferral.what}", deferral.fix
        )
    if refused or any(not isinstance(error, TransientVendorError) for error in errors):
        return ExitCode.FAILED
    return ExitCode.TRANSIENT if errors or deferred else ExitCode.OK
