"""`gb verify` checks that every byte of the tables is as it was written, and every bar as it was recorded.

This module prints the damage it is told of and puts the steps of a repair in order. `lake.verification` finds damage,
`lake.mending` repairs tables, and `ingest` fetches again what was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gb_pipeline.cli.names import Names, select_stored
from gb_pipeline.cli.options import Config, Json, LakeFolder, load_settings, open_lake_if_any, project_of, split_series
from gb_pipeline.cli.output import ExitCode, format_size, format_value, note, print_error, print_json, print_table
from gb_pipeline.cli.progress import progress
from gb_pipeline.errors import ConfigError, GbError, LakeError, TransientVendorError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.ingest.job import Outcome
    from gb_pipeline.lake.damages import Damage
    from gb_pipeline.lake.mending import LostSessions
    from gb_pipeline.lake.store import LakeStore
    from gb_pipeline.lake.verification import VerifyReport
    from gb_pipeline.reading.lake import Lake

# A ledger that is put together again shows what bars lack, which is fetched then.
_ROUNDS = 3
_MOST_DAMAGES = 20
_MOST_SYMBOLS = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    names: Names = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Rebuild logs, remove damaged files, and fetch what they held again.")
    ] = False,
    config: Config = None,
    lake: LakeFolder = None,
    as_json: Json = False,
) -> int:
    """Compare every table with what was written.

    Reads all files, or those that hold the named series, and compares every session with its recorded fingerprint. Reports which
    file, series, sessions and rows each problem affects. With --repair, logs are rebuilt from their mirrors, damaged files are
    removed once everything readable in them is kept elsewhere, and exactly the lost sessions are fetched again. Exits with 0 when
    everything is as it was written (or is so again), with 1 when it is not, and with 3 when a vendor could not be reached.
    """
    from gb_pipeline.lake.verification import verify as verify_store

    opened_lake = open_lake_if_any(config, lake)
    if opened_lake is None:
        return _report_empty(as_json=as_json)
    source, symbols = _parse_series(opened_lake, names or [], config)
    with progress("files", quiet=as_json) as bar:
        bar.add_task("reading", total=None)
        report = verify_store(opened_lake.store, source, symbols)
    if source is None:
        _remember(opened_lake.store, report)
    if not as_json:
        _print_report(report)
    if report.ok or not repair:
        if as_json:
            print_json(_report_to_dict(report))
        elif not report.ok:
            note("`gb verify --repair` mends what can be mended")
        return ExitCode.OK if report.ok else ExitCode.FAILED
    repaired = _run_repair(opened_lake.store, report, (source, symbols), config, quiet=as_json)
    if source is None:
        _remember(opened_lake.store, repaired.after)
    if as_json:
        print_json(_report_to_dict(report) | {"repair": _repair_to_dict(repaired)})
    return _report_repair(repaired)


def _remember(store: LakeStore, report: VerifyReport) -> None:
    """Of a verification of everything, what was found, for `gb health`."""
    from gb_pipeline.lake.verify_record import record_verification

    record_verification(store.storage, report, store.clock())


@dataclass
class Repair:
    """What a repair came to.

    Attributes:
        after: what the verification after it found.
        mended: sentences about what was mended.
        sessions: how many sessions were fetched again.
        lost_for_good: sentences about rows that no vendor can serve again.
        fetch_errors: why something could not be fetched.
    """

    after: VerifyReport
    mended: list[str] = field(default_factory=list)
    sessions: int = 0
    lost_for_good: list[str] = field(default_factory=list)
    fetch_errors: list[GbError] = field(default_factory=list)


def _parse_series(lake: Lake, names: list[str], config: Path | None) -> tuple[str | None, list[str] | None]:
    """The source and the symbols whose files are read; everything without names.

    Raises:
        UnknownSeries: the lake has nothing of a name.
        ConfigError: the names are of several sources.
    """
    if not names:
        return None, None
    try:
        chosen = select_stored(lake, names, project_of(lake, config))
    except LakeError:
        # A ledger that cannot be read is one of the problems that verification reports.
        chosen = {}
        for name in names:
            source, symbol = split_series(name)
            chosen.setdefault(source, []).append(symbol)
    if len(chosen) > 1:
        raise ConfigError(
            f"{', '.join(names)} are of several sources: {', '.join(chosen)}",
            fix="verify one source at a time, or everything without a name",
        )
    return next(iter(chosen.items()))


def _run_repair(
    store: LakeStore,
    report: VerifyReport,
    series: tuple[str | None, list[str] | None],
    config: Path | None,
    *,
    quiet: bool,
) -> Repair:
    from gb_pipeline.catalog.projection import refresh_catalog
    from gb_pipeline.lake.mending import mend
    from gb_pipeline.lake.verification import verify as verify_store

    repair = Repair(report)
    for _ in range(_ROUNDS):
        before = repair.after
        mended, lost = mend(store, before)
        repair.mended += mended
        repair.lost_for_good += _describe_lost(before.damages)
        _fetch_lost(store, lost, before.damages, config, repair, quiet=quiet)
        repair.after = verify_store(store, *series)
        if repair.after.ok or repair.fetch_errors or repair.after.damages == before.damages:
            break
    refresh_catalog(store)
    return repair


def _fetch_lost(
    store: LakeStore,
    lost: Sequence[LostSessions],
    damages: Sequence[Damage],
    config: Path | None,
    repair: Repair,
    *,
    quiet: bool,
) -> None:
    from gb_pipeline.ingest.fetch_actions import ingest_actions
    from gb_pipeline.ingest.lost_sessions import fetch_again
    from gb_pipeline.lake.datasets import CORPORATE_ACTIONS

    action_sources = [
        damage.source
        for damage in damages
        if damage.table == CORPORATE_ACTIONS.name and damage.current and damage.source
    ]
    if not lost and not action_sources:
        return
    sources = _load_sources(config, repair)
    with progress("jobs", quiet=quiet) as bar:
        task = bar.add_task("fetching again", total=None)
        outcomes, errors = fetch_again(store, sources, lost, on_outcome=lambda _: bar.advance(task))
    repair.fetch_errors += [*errors, *_fetch_errors(outcomes)]
    repair.sessions += sum(
        session.status.value in {"complete", "partial", "empty"} for outcome in outcomes for session in outcome.sessions
    )
    for name in dict.fromkeys(action_sources):
        if name in sources:
            repair.fetch_errors += [
                outcome.error for outcome in ingest_actions(store, sources[name]) if outcome.error is not None
            ]
        else:
            repair.fetch_errors.append(
                ConfigError(f"gb.yaml has no source {name}", fix=f"write it, then `gb actions fetch {name}`")
            )


def _load_sources(config: Path | None, repair: Repair) -> dict[str, SourceSettings]:
    try:
        return dict(load_settings(config).sources)
    except ConfigError as error:
        repair.fetch_errors.append(error)
        return {}


def _fetch_errors(outcomes: Sequence[Outcome]) -> Iterator[GbError]:
    for outcome in outcomes:
        if outcome.error is not None:
            yield outcome.error
        elif outcome.deferred is not None:
            yield outcome.deferred


def _describe_lost(damages: Sequence[Damage]) -> Iterator[str]:
    """What no vendor can serve again: superseded versions, and rows of ledgers."""
    from gb_pipeline.lake.datasets import CORPORATE_ACTIONS, parse_bar_table

    for damage in damages:
        if damage.broken is None:
            continue
        parts = damage.broken.parts
        rows = damage.broken.row["rows"] if parts is None else sum(number for _, _, number, _ in parts)
        refetchable = damage.current and (
            parse_bar_table(damage.table) is not None or damage.table == CORPORATE_ACTIONS.name
        )
        if rows and not refetchable:
            lost_rows = format_count(rows, "row" if damage.current else "superseded version")
            yield f"lost for good: {lost_rows} of {damage.table}, which cannot be fetched again ({damage.file})"


def _report_repair(repair: Repair) -> ExitCode:
    for sentence in repair.mended:
        note(sentence)
    if repair.sessions:
        note(f"{format_count(repair.sessions, 'session')} fetched again")
    for sentence in repair.lost_for_good:
        print_error(sentence, "restore the lake from a backup if you need it")
    for what, error in {error.what: error for error in repair.fetch_errors}.items():
        print_error(what, error.fix)
    remaining = len(repair.after.damages)
    if remaining:
        print_error(
            f"{format_count(remaining, 'problem')} left", "`gb verify` lists them; `gb verify --repair` tries again"
        )
    else:
        note(_intact_sentence(repair.after))
    if any(not isinstance(error, TransientVendorError) for error in repair.fetch_errors):
        return ExitCode.FAILED
    if repair.fetch_errors:
        return ExitCode.TRANSIENT
    return ExitCode.FAILED if remaining or repair.lost_for_good else ExitCode.OK


def _report_empty(*, as_json: bool) -> ExitCode:
    from gb_pipeline.lake.verification import VerifyReport

    if as_json:
        print_json(_report_to_dict(VerifyReport(0, 0, 0, 0, ())))
    else:
        note("nothing is stored yet")
    return ExitCode.OK


def _print_report(report: VerifyReport) -> None:
    summary = f"{format_count(report.files, 'file')} of {format_count(report.tables, 'table')} read, {format_size(report.bytes)}"
    summary += f"; {format_count(report.sessions, 'session')} of bars compared with the ledger"
    if report.damages:
        lines = [line for damage in report.damages[:_MOST_DAMAGES] for line in _damage_lines(damage)]
        print_table(("table", "what", "is"), lines)
    note(summary)
    if len(report.damages) > _MOST_DAMAGES:
        note(f"{len(report.damages) - _MOST_DAMAGES:,} problems are not shown (--json)")
    for table, rows in report.left_over.items():
        note(f"{format_count(rows, 'row')} of {table} belong to no run: `gb results sweep` removes what was cut off")
    for sentence in report.lost:
        note(f"lost for good, by an earlier repair: {sentence}")
    note(_intact_sentence(report) if report.ok else format_count(len(report.damages), "problem"))


def _intact_sentence(report: VerifyReport) -> str:
    return "everything that is there is as it was written" if report.lost else "everything is as it was written"


def _damage_lines(damage: Damage) -> Iterator[tuple[str, str, str]]:
    yield damage.table, "problem", damage.problem
    if damage.symbols or damage.source:
        yield "", "series", _series_name(damage)
    if damage.sessions:
        first, last = damage.sessions[0], damage.sessions[-1]
        yield "", "sessions", format_value(first) if first == last else f"{first} to {last} ({len(damage.sessions):,})"
    if damage.rows:
        yield "", "rows", damage.rows
    if damage.file:
        folder, _, name = damage.file.rpartition("/")
        yield "", "file", name
        yield "", "in", folder


def _series_name(damage: Damage) -> str:
    resolution = f" {damage.resolution}" if damage.resolution is not None else ""
    if not damage.symbols:
        return f"{damage.source}{resolution}"
    more = len(damage.symbols) - _MOST_SYMBOLS
    codes = ", ".join(damage.symbols[:_MOST_SYMBOLS]) + (f" and {more:,} more" if more > 0 else "")
    return f"{damage.source}:{codes}{resolution}"


def _report_to_dict(report: VerifyReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "tables": report.tables,
        "files": report.files,
        "bytes": report.bytes,
        "sessions": report.sessions,
        "lost": list(report.lost),
        "left_over": dict(report.left_over),
        "damages": [
            {
                "table": damage.table,
                "problem": damage.problem,
                "file": damage.file,
                "source": damage.source,
                "symbols": damage.symbols,
                "resolution": damage.resolution,
                "sessions": damage.sessions,
                "rows": damage.rows,
            }
            for damage in report.damages
        ],
    }


def _repair_to_dict(repair: Repair) -> dict[str, Any]:
    return {
        "ok": repair.after.ok,
        "done": repair.mended,
        "sessions": repair.sessions,
        "gone": repair.lost_for_good,
        "errors": [error.what for error in repair.fetch_errors],
        "damages": _report_to_dict(repair.after)["damages"],
    }
