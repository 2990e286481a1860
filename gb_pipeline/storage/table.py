"""This module opens tables at their newest version, or raises an error that says why their contents are not known.

It follows the log, and notices a table that went backwards or vanished: each entry is mirrored under `log/<table>` of the
lake, and a table that lacks an entry that its mirror has is refused until it is repaired. Checkpoints are written in
`checkpoints`, commits are decided in `commit`, and rows are read in `reading`.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import snapshot
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.checkpoints import Checkpoints
from gb_pipeline.storage.dataset import Dataset, Datasets
from gb_pipeline.storage.evolution import evolved_metadata
from gb_pipeline.storage.file_index import FileIndex, Indexed
from gb_pipeline.storage.log import (
    CHECKPOINT_EVERY,
    Entry,
    damaged_log,
    decode_entry,
    entry_name,
    folder,
    is_intact,
)
from gb_pipeline.storage.snapshot import Snapshot

# This many of the newest entries are kept in memory.
_RECENT = 64


class Table:
    """One table of a lake. Safe to share between threads."""

    def __init__(self, storage: Storage, dataset: Dataset) -> None:
        """Nothing is opened before it is needed."""
        self.storage, self.dataset = storage, dataset
        self.files = storage.files
        self._newest = snapshot.empty_snapshot(dataset)
        self._guard = threading.RLock()
        self._compared = False
        self._recent: dict[int, Entry] = {}
        # The version of the newest checkpoint that this process knows of.
        self._sealed = 0
        self._seal_copied = False
        # What was found of a schema in the log: what the next commit has to say of it.
        self._evolved: tuple[str, dict[str, Any] | None] = "", None
        self.checkpoints = Checkpoints(storage, dataset)
        self._index = FileIndex(storage, dataset)
        self._index_counts = True

    @property
    def name(self) -> str:
        """The table's name."""
        return self.dataset.name

    def newest(self) -> Snapshot:
        """The table at its newest version; version -1 where there is none.

        Raises:
            DamagedLog: an entry is damaged, or the table went backwards or vanished.
            LakeError: this process cannot read the log.
        """
        with self._guard:
            try:
                self._follow()
            except OSError as error:
                raise LakeError(
                    f"table {self.name} under {self.storage.root} cannot be read: {error.strerror or error}",
                    fix="check permissions, the disk and the limits of this process (`gb doctor`)",
                ) from error
            return self._newest

    def _follow(self) -> None:
        if self._newest.version < 0 and not (self.storage.is_readable and self.storage.has_table(self.name)):
            return
        self._refuse_moved()
        if self._newest.version < 0:
            self._open()
        self._read_on()
        self._refuse_backwards()

    def _open(self) -> None:
        """Start from the newest version that is known without reading the log from its beginning."""
        seal = self.checkpoints.seal()
        indexed = self._index.read() if self._index_counts else None
        if indexed is not None and self._is_of_this_log(indexed):
            self._newest = indexed.snapshot
            self._read_on()
            if seal is None or seal.version <= self._newest.version:
                if self._newest.version - indexed.snapshot.version >= CHECKPOINT_EVERY:
                    self._keep_index()
                return
            # An entry after it is lost, and the checkpoint is of a later one.
            self.forget()
        if seal is not None:
            # What delta-rs notes beside a checkpoint is for other programs.
            self._newest = self.checkpoints.read(seal)
        self._read_on()
        self._keep_index()

    def _is_of_this_log(self, indexed: Indexed) -> bool:
        data = self._read(entry_name(self.name, indexed.snapshot.version))
        return data is not None and zlib.crc32(data) == indexed.entry

    def _keep_index(self) -> None:
        """Keep an index of the newest version, if its entry is known and the table has many files."""
        if not self._index.is_worth_it(self._newest):
            return
        entry = self._recent.get(self._newest.version) or self.entry(self._newest.version)
        if entry is not None:
            self._index.write(Indexed(self._newest, entry.digest))

    def _read_on(self) -> None:
        entries: list[Entry] = []
        try:
            while (entry := self.entry(self._newest.version + 1 + len(entries))) is not None:
                entries.append(entry)
        finally:
            # Those before a damaged one count.
            self._apply(entries)

    def accept(self, entry: Entry, data: bytes) -> None:
        """Take over an entry that this process has just written, mirror it, and checkpoint when it is time.

        The entry counts whatever happens here: what cannot be done now, such as for want of space, the next commit does.
        """
        with self._guard:
            # A thread that reads may have followed the log to it, or past it, since it was made.
            if entry.version == self._newest.version + 1:
                self._apply([entry])
            with suppress(OSError):
                self._complete_previous(entry.version)
                self._mirror(entry.version, data)
            if entry.version - self._sealed >= CHECKPOINT_EVERY:
                self._checkpoint_if_due()

    def entries(self, first: int, last: int) -> list[Entry]:
        """The entries of some versions, `last` included; those that were read lately are not read again.

        Raises:
            DamagedLog: one is missing or damaged.
        """
        entries = []
        for version in range(max(first, 0), last + 1):
            entry = self._recent.get(version) or self.entry(version)
            if entry is None:
                raise damaged_log(self.name, f"entry {version} is missing")
            entries.append(entry)
        return entries

    def _apply(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        self._newest = self._newest.after(*entries)
        for entry in entries:
            self._recent[entry.version] = entry
            self._recent.pop(entry.version - _RECENT, None)

    def entry(self, version: int) -> Entry | None:
        """The entry of a version, verified; None where there is none (yet).

        Raises:
            DamagedLog: its bytes are not those that were written.
        """
        data = self._read(entry_name(self.name, version))
        return None if data is None else decode_entry(self.name, version, data)

    def mirrored(self, version: int) -> bytes | None:
        """The mirror of an entry; None where there is none."""
        return self._read(self._mirror_name(version))

    def remirror(self, version: int, data: bytes) -> None:
        """Make the mirror of an entry again."""
        self._mirror(version, data)

    def mirrored_versions(self) -> list[int]:
        """The versions that have a mirror, in order."""
        return self._versions(f"log/{self.name}")

    def entry_versions(self) -> list[int]:
        """The versions that have an entry in the log, in order; looks into its folder."""
        return self._versions(folder(self.name))

    def _versions(self, place: str) -> list[int]:
        names = (name.rsplit("/", 1)[-1] for name, _, _ in self.files.list(place))
        return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())

    def forget(self) -> None:
        """Open the log anew the next time, after a repair, without its index."""
        with self._guard:
            self._index_counts = False
            self._newest, self._compared = snapshot.empty_snapshot(self.dataset), False
            self._recent.clear()

    def checkpoint(self) -> None:
        """Write a checkpoint of the newest version, so that opening stays fast, and forget mirrors that are older.

        Raises:
            DamagedLog: the checkpoint is not what this table holds, as its entries on disk are damaged; it does not count.
            LakeError: it cannot be written.
        """
        version = self._newest.version
        if not self.checkpoints.write(self._newest):
            return
        self._sealed = version
        self._keep_index()
        for older in self.mirrored_versions():
            if older < version - CHECKPOINT_EVERY:
                self.files.delete(self._mirror_name(older))

    def _checkpoint_if_due(self) -> None:
        """Write a checkpoint unless another process has; where it fails, the next commit tries again."""
        with suppress(OSError, LakeError):
            seal = self.checkpoints.seal()
            self._sealed = 0 if seal is None else seal.version
            if self._newest.version - self._sealed >= CHECKPOINT_EVERY:
                self.checkpoint()

    def _complete_previous(self, version: int) -> None:
        """Add what a killed writer left out: the mirror of the previous entry, and, once in a process, a copy of the seal."""
        if version and self.files.size(self._mirror_name(version - 1)) is None:
            self._mirror(version - 1, self.files.read(entry_name(self.name, version - 1)))
        if not self._seal_copied:
            self._seal_copied = True
            with suppress(LakeError):
                self.checkpoints.copy_seal()

    def _read(self, name: str) -> bytes | None:
        try:
            return self.files.read(name)
        except FileNotFoundError:
            return None

    def confirm(self) -> None:
        """Look once more, before a commit, that the newest entry is the one that this process has read.

        Raises:
            DamagedLog: it is another one: the lake was replaced.
        """
        version = self._newest.version
        newest_entry = self._recent.get(version)
        if newest_entry is None:
            return
        data = self._read(entry_name(self.name, version))
        if data is None or zlib.crc32(data) != newest_entry.digest:
            if data is not None:
                decode_entry(self.name, version, data)  # raises where it is damaged
            raise damaged_log(
                self.name, f"entry {version} is not the one that this process has read: the lake was replaced"
            )

    def evolved_metadata(self, base: Snapshot) -> dict[str, Any] | None:
        """What a commit on top of a version has to say of the schema; None where nothing is new, or the table is.

        Raises:
            LakeError: the table is not one of this declaration.
        """
        if base.version < 0:
            return None
        text = base.metadata["schemaString"]
        if self._evolved[0] != text:
            self._evolved = text, evolved_metadata(self.dataset, base.metadata)
        return self._evolved[1]

    def _refuse_moved(self) -> None:
        """Refuse a table without the entry that this process has read: it was moved, or replaced by an older copy."""
        version = self._newest.version
        if version < 0 or self.files.size(entry_name(self.name, version)) is not None:
            return
        seal = self.checkpoints.seal()
        if seal is not None and seal.version > version:
            # A vacuum has removed it since; the checkpoint holds what it said.
            self.forget()
            return
        raise damaged_log(
            self.name,
            f"entry {version}, which this process has read, is gone: the lake was moved, or replaced by an older copy",
        )

    def _refuse_backwards(self) -> None:
        """Refuse a table that lost an entry, as its mirror has a later one, or that was replaced, as the mirror is of another."""
        version = self._newest.version
        if self._compared and self.storage.in_bucket:
            # A store that has acknowledged an entry does not lose it, and every look is a request.
            return
        if self.files.size(self._mirror_name(version + 1)) is not None:
            if self.entry(version + 1) is not None:
                # Somebody committed between the two looks.
                self.newest()
                return
            if is_intact(self.name, version + 1, self.mirrored(version + 1)):
                later_versions = [number for number in self.entry_versions() if number > version]
                problem = (
                    f"entry {version + 1} is missing"
                    if later_versions
                    else f"the newest entries are lost from {version + 1} on"
                )
                raise damaged_log(self.name, problem)
        if version < 0 and not self.storage.in_bucket and (self.mirrored_versions() or self.entry_versions()):
            if self.entry(0) is not None:
                # Somebody made the table between the two looks.
                self.newest()
                return
            raise damaged_log(self.name, "entry 0 is missing" if self.entry_versions() else "the table vanished")
        if not self._compared and version >= 0:
            mirror = self.mirrored(version)
            if is_intact(self.name, version, mirror) and mirror != self.files.read(entry_name(self.name, version)):
                raise damaged_log(self.name, f"entry {version} is not the one that was written: the table was replaced")
            self._compared = True

    def _mirror(self, version: int, data: bytes) -> None:
        # Without waiting for the disk: the log itself is durable, and a torn mirror does not count.
        self.files.replace(self._mirror_name(version), data)

    def _mirror_name(self, version: int) -> str:
        return f"log/{self.name}/{version:020}.json"


class Tables:
    """The tables under one root, by name. Safe to share between threads; every process has its own."""

    def __init__(self, storage: Storage, datasets: Datasets) -> None:
        """Nothing is opened or created before it is needed."""
        self.storage, self.datasets = storage, datasets
        self._tables: dict[str, Table] = {}
        self._guard = threading.Lock()

    def __getitem__(self, name: str) -> Table:
        """A table, whether it exists yet or not.

        Raises:
            LakeError: no dataset of the lake is called so.
        """
        with self._guard:
            if name not in self._tables:
                self._tables[name] = Table(self.storage, self.datasets[name])
            return self._tables[name]

    def newest(self, name: str) -> Snapshot:
        """The newest version of a table."""
        return self[name].newest()

    def view(self, *seen: Snapshot) -> Tables:
        """The same tables, each staying at the version at which it is looked at first, or has been seen already.

        What is read of several tables through one view belongs together, and no log is looked at twice.
        """
        return _View(self, seen)

    def possible(self) -> list[Dataset]:
        """The declarations of tables that may exist, in their order: all, but where looking for each would take a request."""
        return [self.datasets[name] for name in self.storage.possible_tables(item.name for item in self.datasets)]

    def existing(self, damaged: list[LakeError] | None = None) -> Iterator[Snapshot]:
        """The newest versions of all tables that exist, in the order of their declaration.

        Args:
            damaged: takes the errors of tables whose contents are not known, which are left out; without it they raise.
        """
        for dataset in self.possible():
            try:
                newest = self.newest(dataset.name)
            except LakeError as error:
                if damaged is None:
                    raise
                damaged.append(error)
                continue
            if newest.version >= 0:
                yield newest


class _View(Tables):
    """See `Tables.view`."""

    def __init__(self, tables: Tables, seen: Iterable[Snapshot]) -> None:
        """Share the opened tables."""
        super().__init__(tables.storage, tables.datasets)
        self._tables, self._guard = tables._tables, tables._guard
        self._seen = {snapshot.dataset.name: snapshot for snapshot in seen}

    def view(self, *seen: Snapshot) -> Tables:
        """This one, which has seen more."""
        self._seen.update((snapshot.dataset.name, snapshot) for snapshot in seen)
        return self

    def newest(self, name: str) -> Snapshot:
        """The version of a table that this view has seen."""
        if name not in self._seen:
            self._seen[name] = super().newest(name)
        return self._seen[name]
