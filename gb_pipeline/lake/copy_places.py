"""This module decides whether a lake may be copied to a place: not into itself, nor over anything that no copy of it put there.

What is copied is planned in `backup`.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from gb_pipeline.config.bucket import same_place
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import ledger, verify_record
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.address import COPY_MARK, RESTORING
from gb_pipeline.storage.copying import CopyRefused
from gb_pipeline.storage.dataset import KNOWN_AT
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

# When a backup was restored last, and what was found (`restore_test`).
RESTORE_RECORD = "restored.json"
# What is copied beside the tables: kept responses, universes, pins, bundles, artifacts of runs.
BESIDE = ("raw", "universe", "pins", "bundles", "artifacts")
# Where a bucket has something under one of these names, it is not empty.
_OWN = ("lake", "log", "tables", *BESIDE)


def refuse_overlap(source: LakeStore, destination: LakeStore) -> None:
    """Raise CopyRefused where two places are one, or lie in one another."""
    here, there = source.storage.root, destination.storage.root
    if isinstance(here, Path) != isinstance(there, Path):
        return
    if same_place(here, there):
        raise CopyRefused(f"{here} cannot be copied onto itself", fix="name another place")
    if f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/"):
        raise CopyRefused(f"{here} and {there} lie in one another", fix="name a place beside the lake")


def refuse_foreign(destination: LakeStore) -> None:
    """Let a place pass that copies were made to, and an empty one; CopyRefused for any other."""
    storage = destination.storage
    if storage.files.size(COPY_MARK) is not None:
        if storage.files.read(COPY_MARK) == RESTORING:
            raise CopyRefused(
                f"a restore to {storage.root} was begun and is not done",
                fix="end it first: the same `gb restore` goes on",
            )
        return
    if isinstance(storage.root, Path):
        names = [item.name for item in storage.root.iterdir()] if storage.root.is_dir() else []
        strange = sorted(name for name in names if not name.startswith(".") and name not in {"state", "lost+found"})
    else:
        strange = [name for name in _OWN if next(iter(storage.files.list(name)), None) is not None]
    if strange:
        is_lake = any(True for _ in destination.tables.existing(damaged=[]))
        what = "is a lake that others write to" if is_lake else f"is not empty (there is {strange[0]})"
        raise CopyRefused(
            f"{storage.root} {what}, and no copy",
            fix="name an empty place, or one that was copied to before"
            + ("; `gb restore` writes to a lake" if is_lake else ""),
        )


def claim(destination: LakeStore) -> bytes:
    """Leave the mark of a copy; it names no place, as either lake may be moved, but says which of several copies began last."""
    mark = json.dumps({"copy": secrets.token_hex(8)}).encode() + b"\n"
    try:
        destination.storage.files.put(COPY_MARK, mark)
    except OSError as error:
        raise LakeError(
            f"{destination.storage.root} cannot be written: {error.strerror or error}",
            fix="name another place, let this user write there, or make room",
        ) from error
    return mark


def begin_restore(destination: LakeStore) -> None:
    """Keep others from writing until a restore is done: what they wrote would be ahead of the rest of it."""
    files = destination.storage.files
    if files.size(COPY_MARK) is None:
        files.put(COPY_MARK, RESTORING)


def end_restore(destination: LakeStore) -> None:
    """Let others write."""
    files = destination.storage.files
    if files.size(COPY_MARK) is not None and files.read(COPY_MARK) == RESTORING:
        # What was verified there before is not what is there now.
        files.delete(verify_record.NAME)
        files.delete(RESTORE_RECORD)
        files.delete(COPY_MARK)


def refuse_strangers(destination: LakeStore, snapshots: tuple[Snapshot, ...]) -> None:
    """Raise CopyRefused where the destination has tables of another lake."""
    known = {snapshot.dataset.name: snapshot.table_id for snapshot in snapshots}
    for found in destination.tables.existing(damaged=[]):
        name = found.dataset.name
        if name not in known:
            raise CopyRefused(
                f"the destination has a table {name}, which this lake has not",
                fix="it holds another lake, or a newer state of this one: name an empty place, or copy from there",
            )
        if found.table_id != known[name]:
            raise CopyRefused(
                f"the destination holds another table {name}",
                fix="name an empty place, or the one that this lake was copied to before",
            )


def refuse_diverged(source: Tables, destination: LakeStore) -> None:
    """Raise CopyRefused where the destination recorded sessions that the source never had: it went on in another way.

    Where logs still have an entry in common, that is compared instead.
    """
    there = destination.tables.view()
    names = [*ledger.KEYS, KNOWN_AT, "fingerprint"]
    recorded = ledger.scan(source, columns=names)
    own = ledger.scan(there, columns=names).join(recorded, on=names, how="anti", nulls_equal=True).collect()
    if own.height:
        row = own.sort(KNOWN_AT).row(-1, named=True)
        series = f"{row['source']}:{row['symbol']} {row['resolution']}"
        raise CopyRefused(
            f"the destination knows of {own.height:,} sessions what this lake does not, such as {series} of {row['session']}",
            fix="it went on by itself since it was copied: name an empty place",
        )
