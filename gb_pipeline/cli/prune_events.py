"""`gb prune-events` removes from Dagster's history what grows without use. What may go is decided in `dagster_runtime.pruning`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gb_pipeline.cli.options import Config, Json, load_settings
from gb_pipeline.cli.output import ExitCode, format_size, note, print_json
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.spelling import format_count

if TYPE_CHECKING:
    from gb_pipeline.dagster_runtime.pruning.prune import Pruned


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prune-events")(prune_events)


def prune_events(
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            min=1,
            help="Keep everything of the last days; `history_days` of gb.yaml by default.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and remove nothing.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Remove old events from the history of Dagster.

    The page shows the same afterwards: of each asset and partition the newest event of each kind stays, and so do all runs, and the
    logs of those that are under way or by which a partition is red. The logs of other old runs go. Dagster may be running; then the
    files get no smaller, but what was freed is used again.
    """
    from gb_pipeline.config.settings import DEFAULT_HISTORY_DAYS
    from gb_pipeline.dagster_runtime.home import HOME as NAME
    from gb_pipeline.dagster_runtime.home import HomeLock, has_home
    from gb_pipeline.dagster_runtime.opening import open_home
    from gb_pipeline.dagster_runtime.pruning.prune import prune

    settings = load_settings(config)
    project = settings.path.parent
    if not has_home(project):
        # A project that Dagster never ran in; a timer may ask all the same.
        if as_json:
            print_json({})
        else:
            note(f"Dagster has no history in {project}: there is nothing to prune")
        return ExitCode.OK
    home, lock = project / NAME, HomeLock(project / NAME)
    alone = True
    try:
        lock.acquire("gb prune-events")
    except ConfigError:
        alone = False
    try:
        with open_home(home) as instance:
            days = older_than or settings.history_days or DEFAULT_HISTORY_DAYS
            before = datetime.now(UTC) - timedelta(days=days)
            pruned = prune(instance, before, dry_run=dry_run, finish=_finish(home, alone=alone))
    finally:
        if alone:
            lock.release()
    if as_json:
        print_json(asdict(pruned) | {"before": before, "dry_run": dry_run, "dagster_running": not alone})
    else:
        _describe(pruned, before, dry_run=dry_run, running=not alone)
    return ExitCode.OK


def _finish(home: Path, *, alone: bool) -> Callable[[], None]:
    from gb_pipeline.dagster_runtime.pruning.files import give_back

    return (lambda: give_back(home)) if alone else lambda: None


def _describe(pruned: Pruned, before: datetime, *, dry_run: bool, running: bool) -> None:
    verb = "would be removed" if dry_run else "removed"
    counts = {
        "event": pruned.events,
        "evaluation": pruned.checks,
        "tick": pruned.ticks,
        "log of a run": pruned.run_logs,
        "output of a run": pruned.outputs,
    }
    parts = [f"{number:,} {_plural(name, number)}" for name, number in counts.items() if number]
    note(f"{verb}, of before {before:%Y-%m-%d}: {', '.join(parts) or 'nothing'}")
    if pruned.protected:
        note(
            f"{format_count(pruned.protected, 'run')} of any age kept whole: under way, recent, or a partition is red by it"
        )
    if not dry_run:
        note(f"{format_size(pruned.bytes_before)} before, {format_size(pruned.bytes_after)} now")
    if running and not dry_run:
        note("Dagster is running: what was freed is used again, and files get smaller when this is run without it")


def _plural(name: str, number: int) -> str:
    if number == 1:
        return name
    return name.replace("log of", "logs of").replace("output of", "outputs of") if " of " in name else f"{name}s"
