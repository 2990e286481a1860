"""This module removes the files of old runs, measures what the history takes, and gives back to the disk what SQLite has free."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from gb_pipeline.dagster_runtime.event_log import KeptEventLog
from gb_pipeline.dagster_runtime.private import INDEX_SHARD_NAME, SqlEventLogStorage, SqliteEventLogStorage
from gb_pipeline.dagster_runtime.pruning.events import delete_run_events

# Events that belong to no run.
RUNLESS = ""
_SIDE_FILES = ("", "-wal", "-shm")
# Less is used again by the next events soon enough.
_WORTHWHILE = 0.1


def prune_run_files(
    log: SqlEventLogStorage, old: Callable[[str, float], bool], before: datetime, *, dry_run: bool
) -> int:
    """Remove the files in which SQLite has the logs of old runs; the number of files.

    What the pages show of assets is in the file that all runs share.

    Args:
        old: whether a run is, by its id and the moment at which its file was written last.
    """
    if not isinstance(log, SqliteEventLogStorage):
        return 0
    removed = 0
    for run_id in log.get_all_run_ids():
        path = Path(log.path_for_shard(run_id))
        if run_id != RUNLESS and old(run_id, _newest(path)):
            removed += 1
            if not dry_run:
                if isinstance(log, KeptEventLog):
                    log.forget(run_id)
                for end in _SIDE_FILES:
                    path.with_name(path.name + end).unlink(missing_ok=True)
    if not dry_run and Path(log.path_for_shard(RUNLESS)).exists():
        with log.run_connection(RUNLESS) as connection:
            delete_run_events(connection, before)
    return removed


def prune_output(instance: dg.DagsterInstance, old: Callable[[str, float], bool], *, dry_run: bool) -> int:
    """Remove what the processes of old runs printed, where that is kept in the home; the number of runs."""
    removed = 0
    for folder in Path(instance.storage_directory()).glob("*/compute_logs"):
        if old(folder.parent.name, max(map(_newest, (folder, *folder.iterdir())))):
            removed += 1
            if not dry_run:
                shutil.rmtree(folder.parent, ignore_errors=True)
    return removed


def measure(instance: dg.DagsterInstance) -> int:
    """Bytes of the whole history: of the home's databases and printed output, and of the database that PostgreSQL has."""
    log = instance.event_log_storage
    size = sum(_size(path) for path in Path(instance.root_directory).rglob("*") if path.is_file())
    if isinstance(log, SqlEventLogStorage) and not isinstance(log, SqliteEventLogStorage):
        with log.index_connection() as connection:
            size += int(connection.execute(sa.text("select pg_database_size(current_database())")).scalar() or 0)
    return size


def give_back(home: Path) -> None:
    """Have SQLite rewrite the databases of a home that are a tenth empty or more; nobody writes meanwhile.

    What is deleted is used again by what comes; only this makes the files smaller.
    """
    for path in _databases(home):
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
            free, pages = (
                connection.execute(f"pragma {what}").fetchone()[0] for what in ("freelist_count", "page_count")
            )
            if free >= _WORTHWHILE * pages:
                connection.execute("vacuum")
            connection.execute("pragma wal_checkpoint(truncate)")


def _databases(home: Path) -> Iterator[Path]:
    shared = {f"{INDEX_SHARD_NAME}.db", f"{RUNLESS}.db", "runs.db", "schedules.db"}
    yield from (path for path in home.rglob("*.db") if path.name in shared)


def _newest(path: Path) -> float:
    found = [0.0]
    for end in _SIDE_FILES:
        with suppress(OSError):
            found.append(path.with_name(path.name + end).stat().st_mtime)
    return max(found)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
