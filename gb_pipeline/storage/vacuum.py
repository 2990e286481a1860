"""This module removes files that no version which anybody may still read needs.

These are data files that were replaced, or that no commit ever named, as left by killed writers; log entries, checkpoints and
mirrors from before the newest checkpoint; temporary files. A file is only removed when it has been of no use for the retention:
readers that opened an older version, and writers that are about to commit, keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import unquote

from gb_pipeline.errors import ConfigError
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.commit import wall_clock
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.log import folder
from gb_pipeline.storage.table import Table, Tables

RETENTION = timedelta(days=7)
# Entries are kept longer than files: a checkpoint that is damaged is made again from them.
LOG_RETENTION = timedelta(days=30)
SHORTEST = timedelta(hours=1)


@dataclass(frozen=True)
class Needed:
    """What tables need of each other, which no vacuum may remove.

    Attributes:
        entries: by table, the first version whose entry somebody has yet to read.
        files: by table, paths of data files that entries of other tables name.
    """

    entries: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What was removed of one table, or would be.

    Attributes:
        table: its name.
        names: of the files, relative to the lake's root.
        bytes: of all of them.
        deleted: False for a dry run.
        waiting: files that were replaced, or never belonged to a version, and are younger than the retention.
        waiting_bytes: of all of them.
    """

    table: str
    names: tuple[str, ...]
    bytes: int
    deleted: bool
    waiting: int = 0
    waiting_bytes: int = 0

    @property
    def files(self) -> int:
        """How many files."""
        return len(self.names)


def vacuum(
    tables: Tables,
    needed: Needed,
    *,
    retention: timedelta = RETENTION,
    dry_run: bool = True,
    now: datetime | None = None,
) -> list[VacuumReport]:
    """Remove what has been of no use for the retention, of every table.

    Args:
        needed: what is kept besides.
        retention: how long a replaced file stays for those who read an older version.
        dry_run: only say what would be removed.
        now: the present, as the file system has it.

    Raises:
        ConfigError: the retention is shorter than an hour: writers that are under way would lose their files.
        DamagedLog: what a table needs is not known; nothing of it is removed.

    Example:
        >>> [(report.table, report.files) for report in vacuum(store.tables, Needed())]
        [('bars_1m', 12), ('sessions', 3)]
    """
    if retention < SHORTEST:
        raise ConfigError(
            f"a retention of {retention} is shorter than {SHORTEST}", fix="keep files for an hour at least"
        )
    moment = now or wall_clock()
    return [
        _vacuum_table(tables[snapshot.dataset.name], needed, moment, retention, dry_run=dry_run)
        for snapshot in list(tables.existing())
    ]


def _vacuum_table(table: Table, needed: Needed, now: datetime, retention: timedelta, *, dry_run: bool) -> VacuumReport:
    # A dry run needs no lock, so it works in a folder that cannot be written.
    with nullcontext() if dry_run else locked(table.storage.state, table.name):
        files, waiting = _unneeded_data_files(table, needed.files.get(table.name, frozenset()), now - retention)
        entries = _removable_log_files(table, needed.entries.get(table.name), now - max(retention, LOG_RETENTION))
        # The oldest entries first: who is killed in between leaves a log without holes.
        removable = [*files, *sorted(entries)]
        if not dry_run:
            for name, _ in removable:
                reach("vacuum_deleting")
                table.files.delete(name)
    return VacuumReport(
        table.name,
        tuple(name for name, _ in removable),
        sum(size for _, size in removable),
        deleted=not dry_run,
        waiting=len(waiting),
        waiting_bytes=sum(size for _, size in waiting),
    )


def _unneeded_data_files(
    table: Table, named_elsewhere: frozenset[str], before: datetime
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Files that no version needs any more: those that may go, and those that a reader or a writer may still use."""
    root = f"{Storage.table_name(table.name)}/"
    needed_paths = set(table.newest().files["path"]) | named_elsewhere
    replaced_lately = _removed_since(table, before)
    removable: list[tuple[str, int]] = []
    waiting: list[tuple[str, int]] = []
    for name, size, modified_at in list(table.files.list(Storage.table_name(table.name))):
        path = name.removeprefix(root)
        if path.startswith("_") or path in needed_paths:
            continue
        still_used = path in replaced_lately or modified_at >= before.timestamp()
        (waiting if still_used else removable).append((name, size))
    return removable, waiting


def _removed_since(table: Table, before: datetime) -> set[str]:
    """Files of versions that somebody may be reading."""
    limit, removed_paths = before.timestamp() * 1000, set()
    for version in range(table.newest().version, -1, -1):
        entry = table.entry(version)
        if entry is None or int(entry.info.get("timestamp", 0)) < limit:
            break
        removed_paths |= {unquote(action["path"]) for action in entry.removes}
    return removed_paths


def _removable_log_files(table: Table, first_needed: int | None, before: datetime) -> Iterator[tuple[str, int]]:
    seal = table.checkpoints.seal()
    # Entries from the newest checkpoint on are needed to open the table.
    first = 0 if seal is None else seal.version
    if first_needed is not None:
        first = min(first, first_needed)
    for place in (folder(table.name), f"log/{table.name}"):
        for name, size, modified_at in list(table.files.list(place)):
            file_name = name.rsplit("/", 1)[-1]
            number = file_name.split(".", 1)[0]
            older = seal is not None and number.isdigit() and int(number) < first
            if (older or file_name.endswith(".tmp")) and modified_at < before.timestamp():
                yield name, size
