"""`gb results purge` and `sweep`: runs that are removed for good, and rows that no run names."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gb_pipeline.cli.confirming import confirm
from gb_pipeline.cli.options import Config, End, LakeFolder, Start, open_lake, parse_moment
from gb_pipeline.cli.output import ExitCode, note
from gb_pipeline.cli.run_conditions import read_conditions
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

Runs = Annotated[
    str, typer.Argument(metavar="RUNS", help="STRATEGY, STRATEGY/VERSION or STRATEGY/VERSION/RUN.", show_default=False)
]


def purge(
    runs: Runs,
    reason: Annotated[str | None, typer.Option(help="Why, for whoever reads it in a year.", show_default=False)] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", help="'metrics.sharpe < 0' and the like; all hold.", show_default=False),
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="That a run has.", show_default=False)] = None,
    state: Annotated[str | None, typer.Option("--state", help="succeeded or failed.", show_default=False)] = None,
    start: Start = None,
    end: End = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; scripts have to say so.")] = False,
    config: Config = None,
    lake: LakeFolder = None,
) -> int:
    """Remove runs for good, with all that belongs to them; retired ones as well.

    Times are when runs began. Killed in between, the same command does what is left. To hide runs and keep them, retire their
    version instead.
    """
    from gb_pipeline.research.results import Results
    from gb_pipeline.research.results.purging import LEFT

    results = Results(open_lake(config, lake))
    filters: dict[str, Any] = {
        **_named(runs), "tag": tag, "state": state, "start": parse_moment(start), "end": parse_moment(end),
        **read_conditions(where or []),
    }  # fmt: skip
    count = results.count(**filters, retired=True)
    if dry_run:
        note(f"{format_count(count, 'run')} of {runs} would be removed; nothing was changed")
        return ExitCode.OK
    if not (reason or "").strip():
        raise ConfigError("a removal needs a reason", fix='say why: --reason "..."')
    if count:
        note(f"a purge cannot be undone; {format_count(count, 'run')} would be removed. It leaves:")
        for item in LEFT:
            note(f"  - {item}")
        confirm(runs, "purge", yes=yes)
    report = results.purge(**filters, reason=str(reason))
    rows = sum(report.rows.values())
    note(f"{format_count(report.runs, 'run')} and {format_count(rows, 'row')} of other tables are removed")
    return ExitCode.OK


def sweep(config: Config = None, lake: LakeFolder = None) -> int:
    """Remove rows that no run names, of saves and purges that were cut off.

    Saves that are under way lose nothing. `gb verify` counts such rows.
    """
    from gb_pipeline.research.results import Results

    report = Results(open_lake(config, lake)).sweep()
    found = {table: rows for table, rows in report.rows.items() if rows}
    for table, rows in found.items():
        note(f"{format_count(rows, 'row')} of {table} {'is' if rows == 1 else 'are'} removed")
    if not found:
        note("every row belongs to a run")
    return ExitCode.OK


def _named(runs: str) -> dict[str, str]:
    names = runs.split("/")
    if len(names) > 3 or not all(names):
        raise ConfigError(
            f"{runs[:80]!r} names no runs", fix="write STRATEGY, STRATEGY/VERSION or STRATEGY/VERSION/RUN"
        )
    return dict(zip(("strategy", "version", "run_id"), names, strict=False))
