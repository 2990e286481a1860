"""This module reads every byte of a table, and finds what is not as it was written: in its log, the mirrors, the checkpoint and
the data files.

What the rows mean is known to `gb_pipeline.lake.verification`; repairs are made in `repair`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import COPY_MARK
from gb_pipeline.storage.decoding import damaged_file
from gb_pipeline.storage.log import Seal, decode_entry, decode_seal, entry_name, pointer_name
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Table


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """A data file that is not what was written.

    Attributes:
        error: names the file, what it holds, and what was seen.
        row: of `Snapshot.files`.
        parts: `(row group, first row, rows, columns)` of what cannot be read; None where nothing of it can.
    """

    error: parquet.DamagedFile
    row: Mapping[str, Any]
    parts: tuple[tuple[int, int, int, tuple[str, ...]], ...] | None


def find_log_problems(table: Table) -> Iterator[str]:
    """Everything that is wrong with a table's log, as sentences."""
    problems = list(_log_problems(table))
    # Its log is copied last, and the entries of it from the newest on.
    in_copy = bool(problems) and table.files.size(COPY_MARK) is not None
    for problem in problems:
        is_cut_off = in_copy and "missing" in problem
        yield f"{problem}, as a copy leaves it that was cut off: copy again" if is_cut_off else problem


def _log_problems(table: Table) -> Iterator[str]:
    try:
        newest = table.newest().version
    except LakeError as error:
        yield error.what
        return
    later_versions = [version for version in table.entry_versions() if version > newest]
    if later_versions:
        yield f"entry {newest + 1} is missing, and {len(later_versions)} entries lie beyond it"
    start = 0
    seal = table.checkpoints.seal()
    if seal is None and table.checkpoints.any_exist():
        yield "the seal of its checkpoint is missing"
    if seal is not None:
        start = seal.version
        yield from _seal_problems(table, seal, one_missing=newest == seal.version)
        yield from _pointer_problems(table, seal)
    # Older entries are what a damaged checkpoint is made again from.
    for version in range(min(table.entry_versions(), default=start), start):
        yield from _entry_problems(table, version, mirror_missing=True)
    for version in range(start, newest + 1):
        # A killed writer may leave out the newest mirror, which the next commit makes.
        yield from _entry_problems(table, version, mirror_missing=version == newest)


def find_broken_files(table: Table, snapshot: Snapshot, files: pl.DataFrame) -> Iterator[BrokenFile]:
    """The files whose bytes are not those that were written; every byte is read."""
    root = table.storage.table_name(table.name)
    for row in files.iter_rows(named=True):
        name = f"{root}/{row['path']}"
        try:
            parquet.verify_bytes(table.files, name, row["size"])
        except parquet.Unreadable as error:
            damage = damaged_file(snapshot.dataset, row, error.reason)
            yield BrokenFile(damage, row, _unreadable_parts(table, name, row["size"]))


def find_missing_files(table: Table, files: pl.DataFrame) -> Iterator[parquet.DamagedFile]:
    """The files that are not there with the size that the log says; no file is opened."""
    root = table.storage.table_name(table.name)
    for row in files.iter_rows(named=True):
        size = table.files.size(f"{root}/{row['path']}")
        if size is None:
            yield damaged_file(table.dataset, row, "it is missing")
        elif size != row["size"]:
            yield damaged_file(table.dataset, row, f"it has {size:,} bytes where {row['size']:,} were written")


def _unreadable_parts(table: Table, path: str, size: int) -> tuple[tuple[int, int, int, tuple[str, ...]], ...] | None:
    """Row groups and columns that cannot be decoded; None where the footer is lost."""
    try:
        file = parquet.open_verified(table.files, path, size)
    except parquet.Unreadable:
        return None
    parts, first_row = [], 0
    with file:
        names = file.schema_arrow.names
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            unreadable = tuple(name for name in names if not _can_decode(file, group, name))
            if unreadable:
                parts.append((group, first_row, rows, unreadable))
            first_row += rows
    return tuple(parts)


def _can_decode(file: Any, group: int, name: str) -> bool:
    try:
        file.read_row_group(group, columns=[name])
    except OSError as error:
        if not parquet.means_damage(error):
            raise
        return False
    except pa.ArrowException:
        return False
    return True


def _entry_problems(table: Table, version: int, *, mirror_missing: bool) -> Iterator[str]:
    try:
        entry = table.files.read(entry_name(table.name, version))
    except FileNotFoundError:
        yield f"entry {version} is missing"
        return
    try:
        decode_entry(table.name, version, entry)
    except LakeError as error:
        yield error.what
        return
    mirror = table.mirrored(version)
    if mirror is None and not mirror_missing:
        yield f"the mirror of entry {version} is missing"
    elif mirror is not None and mirror != entry:
        yield f"the mirror of entry {version} is damaged"


def _seal_problems(table: Table, seal: Seal, *, one_missing: bool) -> Iterator[str]:
    for name in table.checkpoints.seal_names:
        try:
            copy = decode_seal(table.files.read(name))
        except FileNotFoundError:
            # A killed writer may leave one out, which the next commit makes.
            if not one_missing:
                yield f"a copy of the seal of its checkpoint is missing ({name})"
            continue
        older = copy is not None and copy.version < seal.version
        if copy != seal and not (older and one_missing):
            yield f"a copy of the seal of its checkpoint is damaged ({name})"


def _pointer_problems(table: Table, seal: Seal) -> Iterator[str]:
    try:
        pointer = table.files.read(pointer_name(table.name))
    except FileNotFoundError:
        yield "the pointer to the newest checkpoint is missing (other programs start from it)"
        return
    if pointer != seal.pointer.encode():
        yield "the pointer to the newest checkpoint is damaged (other programs start from it)"
