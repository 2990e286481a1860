"""Mending a table: its log from the mirrors, and files by what can still be read of them.

Belongs here: putting a log together again, and taking damaged files out of a table in a commit, with every row group that is
whole kept under its own moments. Does not belong here: fetching again what is lost (`gb_pipeline.lake.verification` says what).
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
    damaged,
    decode_entry,
    entry_name,
    folder,
    is_foreign,
    pointer_name,
)
from gb_pipeline.storage.losses import remember
from gb_pipeline.storage.scrub import BrokenFile
from gb_pipeline.storage.table import Table


def restore_log(table: Table) -> list[str]:
    """Put a table's log together again; what was done, as sentences.

    Raises:
        LakeError: neither the log nor the mirrors know how the table was, or the log cannot be written; run it again then.
    """
    try:
        return _restore_log(table)
    except OSError as error:
        raise unwritable(table, error) from error


def _restore_log(table: Table) -> list[str]:
    done = []
    with locked(table.storage.state, table.name):
        for version in table.mirrored_versions():
            mirror = table.mirrored(version) or b""
            if _sound(table, version, _read(table, entry_name(table.name, version))):
                continue
            if _sound(table, version, mirror):
                table.files.put(entry_name(table.name, version), mirror)
                done.append(f"entry {version} of {table.name} was restored from its mirror")
        done += _set_aside(table)
        table.forget()
        try:
            table.newest()
        except LakeError:
            done += _from_entries(table)
        newest = table.newest().version
        sealed = table.checkpoints.seal()
        if sealed is None and table.checkpoints.exist() and newest > 0:
            table.checkpoint()
            done.append(f"the checkpoint of {table.name} was made again, as no seal says what it holds")
        oldest = 0 if sealed is None else sealed.version
        for version in range(max(0, min(oldest, newest - CHECKPOINT_EVERY)), newest + 1):
            log = _read(table, entry_name(table.name, version))
            if _sound(table, version, log) and table.mirrored(version) != log:
                table.remirror(version, log)
                done.append(f"the mirror of entry {version} of {table.name} was made again")
        seal = table.checkpoints.seal()
        if seal is not None:
            done += _drop_older(table, seal.version)
            done += (
                [f"the seal of the checkpoint of {table.name} was copied again"]
                if table.checkpoints.copy_seal()
                else []
            )
        if seal is not None and _read(table, pointer_name(table.name)) != seal.pointer.encode():
            table.files.put(pointer_name(table.name), seal.pointer.encode())
            done.append(f"the pointer to the newest checkpoint of {table.name} was made again")
    return done


def take_out(table: Table, broken: list[BrokenFile], *, clock: Clock = wall_clock) -> int:
    """Take damaged files out of a table, keeping every row group that is whole; how many rows were kept.

    The rows keep their moments: what can be read has the history that it had.
    """

    def decide(draft: Draft) -> int:
        paths = [item.row["path"] for item in broken]
        files = draft.base.files.filter(pl.col("path").is_in(paths))
        if files.is_empty():
            return 0
        draft.ticks = False
        draft.info = {"operation": "REPAIR", "gb": {"files": paths}}
        draft.remove(files)
        kept, lost = 0, []
        for item in broken:
            rows = _whole_groups(table, item)
            if item.row["path"] in set(files["path"]) and table.dataset.history:
                lost.append({**item.row, "rows": int(item.row["rows"] or 0) - rows.height})
            if rows.height:
                kept += rows.height
                draft.add(rows, current=bool(item.row.get(IS_CURRENT, True)))
        # Before they are gone: a repair that is cut short says too much rather than too little.
        remember(table, [row for row in lost if row["rows"]], draft.stamp)
        return kept

    return commit(table, decide, clock=clock)


def _whole_groups(table: Table, item: BrokenFile) -> pl.DataFrame:
    types = table.dataset.polars
    if item.parts is None:
        return pl.DataFrame(schema=types)
    lost = {group for group, *_ in item.parts}
    name = f"{table.storage.table_name(table.name)}/{item.row['path']}"
    try:
        with parquet.open_verified(table.files, name, item.row["size"]) as file:
            groups = [group for group in range(file.num_row_groups) if group not in lost]
            rows = pl.DataFrame(file.read_row_groups(groups)) if groups else None
    except OSError as error:
        if not parquet.tells_of_damage(error):
            raise
        rows = None
    except (parquet.Unreadable, pa.ArrowException):
        rows = None
    if rows is None:
        return pl.DataFrame(schema=types)
    partitions = [pl.lit(item.row[name]).cast(types[name]).alias(name) for name in table.dataset.partitions]
    return rows.with_columns(partitions).select(pl.col(name).cast(kind) for name, kind in types.items())


def _from_entries(table: Table) -> list[str]:
    """Without its checkpoint a log is read from its first entry, where all entries are there."""
    last = max([*table.entry_versions(), *table.mirrored_versions()], default=-1)
    for version in range(last + 1):
        if not _sound(table, version, _read(table, entry_name(table.name, version))):
            raise damaged(
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


def _set_aside(table: Table) -> list[str]:
    """Move newest entries that another program wrote out of the log; they are kept beside the mirrors."""
    done = []
    for version in reversed(table.entry_versions()):
        data = _read(table, entry_name(table.name, version))
        if not is_foreign(data) or table.mirrored(version) is not None:
            break
        place = f"log/{table.name}/set_aside/{version:020}.json"
        table.files.put(place, data)
        table.files.delete(entry_name(table.name, version))
        done.append(f"entry {version} of {table.name}, which another program wrote, was set aside ({place})")
    return done


def _drop_older(table: Table, sealed: int) -> list[str]:
    """Damaged entries from before the checkpoint, of which no mirror is left: nothing needs them any more."""
    done = []
    for version in table.entry_versions():
        name = entry_name(table.name, version)
        if version < sealed and not _sound(table, version, _read(table, name)):
            table.files.delete(name)
            done.append(
                f"entry {version} of {table.name} was removed: it is damaged, and its checkpoint holds what it said"
            )
    return done


def _read(table: Table, name: str) -> bytes:
    try:
        return table.files.read(name)
    except FileNotFoundError:
        return b""


def _sound(table: Table, version: int, data: bytes) -> bool:
    try:
        return decode_entry(table.name, version, data).version == version
    except LakeError:
        return False
