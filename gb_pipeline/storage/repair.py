"""This module repairs a table: it restores the log from its mirrors, and takes damaged files out of the table in a commit.

Every row group of a damaged file that is whole stays, with its own moments. What is lost is fetched again elsewhere
(`gb_pipeline.lake.mending` says what).
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import parquet
from gb_pipeline.storage.commit import Clock, Draft, commit, unwritable, wall_clock
from gb_pipeline.storage.dataset import IS_CURRENT
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.log import (
    CHECKPOINT_EVERY,
    damaged_log,
    entry_name,
    folder,
    is_foreign,
    is_intact,
    pointer_name,
)
from gb_pipeline.storage.losses import record_losses
from gb_pipeline.storage.scrub import BrokenFile
from gb_pipeline.storage.table import Table


def restore_log(table: Table) -> list[str]:
    """Restore a table's log; what was done, as sentences.

    Raises:
        LakeError: neither the log nor the mirrors know how the table was, or the log cannot be written; run it again then.
    """
    try:
        return _restore_log(table)
    except OSError as error:
        raise unwritable(table, error) from error


def _restore_log(table: Table) -> list[str]:
    repairs = []
    with locked(table.storage.state, table.name):
        for version in table.mirrored_versions():
            mirror = table.mirrored(version) or b""
            if is_intact(table.name, version, _read(table, entry_name(table.name, version))):
                continue
            if is_intact(table.name, version, mirror):
                table.files.put(entry_name(table.name, version), mirror)
                repairs.append(f"entry {version} of {table.name} was restored from its mirror")
        repairs += _set_foreign_aside(table)
        table.forget()
        try:
            table.newest()
        except LakeError:
            repairs += _rebuild_checkpoint(table)
        newest = table.newest().version
        sealed = table.checkpoints.seal()
        if sealed is None and table.checkpoints.any_exist() and newest > 0:
            table.checkpoint()
            repairs.append(f"the checkpoint of {table.name} was made again, as no seal says what it holds")
        oldest = 0 if sealed is None else sealed.version
        for version in range(max(0, min(oldest, newest - CHECKPOINT_EVERY)), newest + 1):
            entry = _read(table, entry_name(table.name, version))
            if is_intact(table.name, version, entry) and table.mirrored(version) != entry:
                table.remirror(version, entry)
                repairs.append(f"the mirror of entry {version} of {table.name} was made again")
        seal = table.checkpoints.seal()
        if seal is not None:
            repairs += _remove_older_damaged(table, seal.version)
            repairs += (
                [f"the seal of the checkpoint of {table.name} was copied again"]
                if table.checkpoints.copy_seal()
                else []
            )
        if seal is not None and _read(table, pointer_name(table.name)) != seal.pointer.encode():
            table.files.put(pointer_name(table.name), seal.pointer.encode())
            repairs.append(f"the pointer to the newest checkpoint of {table.name} was made again")
    return repairs


def remove_damaged(table: Table, broken: list[BrokenFile], *, clock: Clock = wall_clock) -> int:
    """Take damaged files out of a table, keeping every row group that is whole; how many rows were kept.

    The rows keep their moments: what can be read has the history that it had.
    """

    def decide(draft: Draft) -> int:
        paths = [broken_file.row["path"] for broken_file in broken]
        files = draft.base.files.filter(pl.col("path").is_in(paths))
        if files.is_empty():
            return 0
        draft.advances_clock = False
        draft.info = {"operation": "REPAIR", "gb": {"files": paths}}
        draft.remove(files)
        kept_rows, lost_rows = 0, []
        for broken_file in broken:
            rows = _intact_rows(table, broken_file)
            if broken_file.row["path"] in set(files["path"]) and table.dataset.history:
                lost_rows.append({**broken_file.row, "rows": int(broken_file.row["rows"] or 0) - rows.height})
            if rows.height:
                kept_rows += rows.height
                draft.add(rows, current=bool(broken_file.row.get(IS_CURRENT, True)))
        # Before they are gone: a repair that is cut short says too much rather than too little.
        record_losses(table, [row for row in lost_rows if row["rows"]], draft.stamp)
        return kept_rows

    return commit(table, decide, clock=clock)


def _intact_rows(table: Table, broken_file: BrokenFile) -> pl.DataFrame:
    types = table.dataset.polars
    if broken_file.parts is None:
        return pl.DataFrame(schema=types)
    lost_groups = {group for group, *_ in broken_file.parts}
    name = f"{table.storage.table_name(table.name)}/{broken_file.row['path']}"
    try:
        with parquet.open_verified(table.files, name, broken_file.row["size"]) as file:
            groups = [group for group in range(file.num_row_groups) if group not in lost_groups]
            rows = pl.DataFrame(file.read_row_groups(groups)) if groups else None
    except OSError as error:
        if not parquet.means_damage(error):
            raise
        rows = None
    except (parquet.Unreadable, pa.ArrowException):
        rows = None
    if rows is None:
        return pl.DataFrame(schema=types)
    partitions = [pl.lit(broken_file.row[name]).cast(types[name]).alias(name) for name in table.dataset.partitions]
    return rows.with_columns(partitions).select(pl.col(name).cast(kind) for name, kind in types.items())


def _rebuild_checkpoint(table: Table) -> list[str]:
    """Without its checkpoint a log is read from its first entry, where all entries are there."""
    last = max([*table.entry_versions(), *table.mirrored_versions()], default=-1)
    for version in range(last + 1):
        if not is_intact(table.name, version, _read(table, entry_name(table.name, version))):
            raise damaged_log(
                table.name,
                f"its checkpoint cannot be read, neither can entry {version}, and no mirror has what they say",
            )
    for name in table.checkpoints.seal_names:
        table.files.delete(name)
    for name, _, _ in list(table.files.list(folder(table.name))):
        if name.endswith(".checkpoint.parquet") or name.endswith("_last_checkpoint"):
            table.files.delete(name)
    table.forget()
    newest = table.newest().version
    if newest > 0:
        table.checkpoint()
    return [f"the checkpoint of {table.name} was made again from {newest + 1} entries"]


def _set_foreign_aside(table: Table) -> list[str]:
    """Move newest entries that another program wrote out of the log; they are kept beside the mirrors."""
    repairs = []
    for version in reversed(table.entry_versions()):
        data = _read(table, entry_name(table.name, version))
        if not is_foreign(data) or table.mirrored(version) is not None:
            break
        place = f"log/{table.name}/set_aside/{version:020}.json"
        table.files.put(place, data)
        table.files.delete(entry_name(table.name, version))
        repairs.append(f"entry {version} of {table.name}, which another program wrote, was set aside ({place})")
    return repairs


def _remove_older_damaged(table: Table, sealed: int) -> list[str]:
    """Damaged entries from before the checkpoint, of which no mirror is left: nothing needs them any more."""
    repairs = []
    for version in table.entry_versions():
        name = entry_name(table.name, version)
        if version < sealed and not is_intact(table.name, version, _read(table, name)):
            table.files.delete(name)
            repairs.append(
                f"entry {version} of {table.name} was removed: it is damaged, and its checkpoint holds what it said"
            )
    return repairs


def _read(table: Table, name: str) -> bytes:
    try:
        return table.files.read(name)
    except FileNotFoundError:
        return b""
