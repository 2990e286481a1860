"""This module prunes the history of an instance: its order, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from gb_pipeline.dagster_runtime.private import SqlEventLogStorage
from gb_pipeline.dagster_runtime.pruning.events import list_assets, prune_checks, prune_events
from gb_pipeline.dagster_runtime.pruning.files import measure, prune_output, prune_run_files
from gb_pipeline.dagster_runtime.pruning.protected import find_protected_runs
from gb_pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        events: of assets and runs, in the tables that all runs share.
        run_logs: files of whole runs; SQLite alone has them.
        checks: evaluations of checks.
        ticks: of schedules and sensors.
        outputs: runs whose printed output was kept.
        protected: runs that stay with all their events.
        bytes_before, bytes_after: of the whole history.
    """

    events: int
    run_logs: int
    checks: int
    ticks: int
    outputs: int
    protected: int
    bytes_before: int
    bytes_after: int


def prune(
    instance: dg.DagsterInstance,
    before: datetime,
    *,
    dry_run: bool = False,
    finish: Callable[[], None] = lambda: None,
) -> Pruned:
    """Remove what is older than a moment and what no page is made of; Dagster may be running.

    Of each asset and partition the latest event of each kind stays, runs that are under way stay, and those by which a partition
    is red; so do runs themselves. No partition changes its state, and no asset its newest metadata.

    Args:
        instance: with its event log in SQLite or PostgreSQL.
        before: with a time zone; it should lie behind whatever may be under way.
        dry_run: count, and remove nothing.
        finish: done before the size is measured again, such as giving space back to the disk.

    Raises:
        ConfigError: its event log is another kind.
    """
    log = instance.event_log_storage
    if not isinstance(log, SqlEventLogStorage):
        raise ConfigError(
            f"the event log is a {type(log).__name__}, whose tables are not known",
            fix="prune it by the means of what keeps it",
        )
    size = measure(instance)
    keys = list_assets(log)
    # Before those that are protected: a run that begins in between would be known, and not be seen to be under way.
    known = set(instance.get_run_ids())
    protected = find_protected_runs(instance, log, keys, before)

    def is_old(run_id: str, written: float) -> bool:
        # Of a run that is not recorded, only its file can tell; looking at a run writes to the file of one that is.
        return run_id not in protected and (run_id in known or written < before.timestamp())

    counts = {
        "events": prune_events(log, keys, protected, before, dry_run=dry_run),
        "checks": prune_checks(log, protected, before, dry_run=dry_run),
        "run_logs": prune_run_files(log, is_old, before, dry_run=dry_run),
        "ticks": _prune_ticks(instance, before, dry_run=dry_run),
        "outputs": prune_output(instance, is_old, dry_run=dry_run),
    }
    if not dry_run:
        finish()
    return Pruned(**counts, protected=len(protected), bytes_before=size, bytes_after=measure(instance))


def _prune_ticks(instance: dg.DagsterInstance, before: datetime, *, dry_run: bool) -> int:
    """The latest tick of each stays: from it a schedule goes on, however seldom it fires."""
    removed = 0
    for state in instance.all_instigator_state():
        who = (state.instigator_origin_id, state.selector_id)
        newest = instance.get_ticks(*who, limit=1)
        if not newest:
            continue
        until = min(before.timestamp(), newest[0].timestamp)
        removed += len(instance.get_ticks(*who, before=until))
        if not dry_run:
            instance.purge_ticks(*who, before=until)
    return removed
