"""This module makes commits: decided on the newest version, stamped within the attempt, durable before they are acknowledged.

`commit(table, decide)` brings the table up to date, hands `decide` a `Draft` on exactly that version, writes what the draft
holds as files, flushes them, and adds one entry to the log. Somebody else's entry under the same number makes it start anew,
with a later stamp. Stamps grow in the order of the log, so what was known at a moment up to a version's clock never changes.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.market.moments import INSTANT, MICROSECOND, from_microseconds, microseconds
from gb_pipeline.market.repeated import repeated
from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, SUPERSEDED_AT
from gb_pipeline.storage.evolution import first_actions
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.locks import locked
from gb_pipeline.storage.log import decode_entry, encode_entry, entry_name
from gb_pipeline.storage.pieces import Piece, cut_into_pieces, single_piece
from gb_pipeline.storage.snapshot import CLOCK, Snapshot
from gb_pipeline.storage.table import Table
from gb_pipeline.storage.workers import leaf_pool

# A write gives up after others were faster this often; the lock of a local lake prevents it.
ATTEMPTS = 200

Clock = Callable[[], datetime]
T = TypeVar("T")


class Conflict(Exception):
    """Somebody else made the entry first."""


def wall_clock() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


@dataclass
class Draft:
    """What one attempt is going to commit on top of one version.

    Attributes:
        table: the one that is written to.
        base: the version that was read.
        stamp: `known_at` of everything new, later than anything the table holds.
        info: what the write says about itself, kept in the entry.
        data_changes: False for a rewrite that changes no row.
        advances_clock: False for a rewrite that leaves all moments as they are.
        is_committed: whether the entry is there.
    """

    table: Table
    base: Snapshot
    stamp: datetime
    info: dict[str, Any] = field(default_factory=dict)
    data_changes: bool = True
    advances_clock: bool = True
    is_committed: bool = False
    _pieces: list[Piece] = field(default_factory=list)
    _removed: list[pl.DataFrame] = field(default_factory=list)
    _transactions: dict[str, int] = field(default_factory=dict)
    _carries: bool = False
    _adds: list[dict[str, Any]] = field(default_factory=list)
    _written: list[str] = field(default_factory=list)

    def add(self, rows: pl.DataFrame, *, current: bool = True) -> None:
        """Rows with the columns of the file schema and of the content's partitions; the period is derived here.

        An optional column that the writer does not know is null. Rows are cut into one piece per partition, and keep their order
        within it.
        """
        if rows.is_empty():
            return
        if missing := self.table.dataset.optional.keys() - set(rows.columns):
            optional = self.table.dataset.optional
            rows = rows.hstack([repeated(name, None, optional[name], rows.height) for name in sorted(missing)])
        fixed_partitions = {IS_CURRENT: str(current).lower()} if self.table.dataset.history else {}
        self._pieces += cut_into_pieces(self.table.dataset, rows, fixed_partitions)

    def add_file(self, action: Mapping[str, Any]) -> None:
        """A file that is written and durable already, as an add action."""
        self._adds.append(dict(action))

    def remove(self, files: pl.DataFrame) -> None:
        """Files of the base, as rows of `Snapshot.files`; they stay on disk until they are vacuumed."""
        if files.height:
            self._removed.append(files)

    def set_transaction(self, name: str, version: int) -> None:
        """An application transaction."""
        self._transactions[name] = version

    def carry(self, note: Mapping[str, Any]) -> None:
        """What the entry says besides, which is worth an entry by itself; nothing where the note is empty."""
        self.info.update(note)
        self._carries = self._carries or bool(note)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self._pieces or self._removed or self._adds or self._transactions or self._carries)

    def write(self) -> list[dict[str, Any]]:
        """Write the pieces as files and flush them; their add actions. Nobody knows them before the entry is made."""
        reach("before_files")
        pieces, self._pieces = self._pieces, []
        if len(pieces) > 1:
            tasks = [leaf_pool().submit(self._write_piece, piece) for piece in pieces]
            # All of them, even if one fails: a file that is still being written could not be discarded.
            wait(tasks)
            actions = [task.result() for task in tasks]
        else:
            actions = [self._write_piece(piece) for piece in pieces]
        reach("file_written")
        self.flush(actions)
        return actions

    def write_partition(self, values: Mapping[str, Any], rows: pl.DataFrame) -> dict[str, Any]:
        """Write rows of one partition, in the file schema, as a file that is to be flushed; its add action."""
        texts = {name: _partition_text(value) or "" for name, value in values.items()}
        return self._write_piece(single_piece(self.table.dataset, texts, rows))

    def flush(self, actions: list[dict[str, Any]]) -> None:
        """Make written files durable, and part of the draft."""
        self.table.files.flush([f"{Storage.table_name(self.table.name)}/{action['path']}" for action in actions])
        reach("files_synced")
        self._adds += actions

    def _write_piece(self, piece: Piece) -> dict[str, Any]:
        encoded = parquet.encode(self.table.dataset, piece.table(self.table.dataset))
        folder = "".join(f"{name}={quote(value, safe='')}/" for name, value in piece.partition.items())
        name = f"{Storage.table_name(self.table.name)}/{folder}{encoded.name}"
        self._written.append(name)
        self.table.files.write(name, encoded.data)
        return {
            # The log escapes paths as a URL does: a folder that is escaped already is escaped again.
            "path": quote(f"{folder}{encoded.name}", safe="/=:"),
            "partitionValues": dict(piece.partition),
            "size": len(encoded.data),
            "modificationTime": int(time.time() * 1000),
            "dataChange": self.data_changes,
            "stats": json.dumps(piece.statistics, separators=(",", ":")),
        }

    def finish(self) -> None:
        """Make the entry.

        Raises:
            Conflict: somebody else made it first; nothing of this draft counts.
        """
        if self._pieces:
            self.write()
        version = self.base.version + 1
        if self.advances_clock:
            self._transactions[CLOCK] = microseconds(self.stamp)
        now = int(time.time() * 1000)
        actions: list[dict[str, Any]] = first_actions(self.table.dataset) if version == 0 else []
        if (metadata := self.table.evolved_metadata(self.base)) is not None:
            actions.append({"metaData": metadata})
        actions += [
            {"txn": {"appId": name, "version": number, "lastUpdated": now}}
            for name, number in self._transactions.items()
        ]
        partitions = self.table.dataset.partitions
        for files in self._removed:
            actions += [
                {
                    "remove": {
                        "path": quote(row["path"], safe="/=:"),
                        "deletionTimestamp": now,
                        "dataChange": self.data_changes,
                        "extendedFileMetadata": True,
                        "partitionValues": {name: _partition_text(row[name]) for name in partitions},
                        "size": row["size"],
                    }
                }
                for row in files.unique("path", maintain_order=True).iter_rows(named=True)
            ]
        actions += [{"add": action} for action in self._adds]
        info = {"timestamp": now, "operation": "WRITE", "operationParameters": {}, **self.info}
        data = encode_entry(self.table.name, version, actions, info)
        reach("entry_written")
        if version == 0:
            self.table.storage.announce_table(self.table.name)
        if not self._put_entry(entry_name(self.table.name, version), data):
            raise Conflict
        reach("committed")
        self.table.accept(decode_entry(self.table.name, version, data), data)

    def _put_entry(self, name: str, data: bytes) -> bool:
        """Make the entry; whatever cuts this short, files that an entry names are not discarded."""
        written, self._written = self._written, []
        try:
            self.is_committed = self.table.files.put_if_absent(name, data)
        except BaseException:
            self.is_committed = self._entry_exists(name, data)
            self._written = [] if self.is_committed else written
            raise
        if not self.is_committed:
            self._written = written
        return self.is_committed

    def _entry_exists(self, name: str, data: bytes) -> bool:
        try:
            return self.table.files.read(name) == data
        except FileNotFoundError:
            return False
        except OSError:
            # It is not known: surplus files can be vacuumed, lost ones cannot be made again.
            return True

    def discard(self) -> None:
        """Remove the files of an attempt that did not become a commit."""
        for name in self._written:
            self.table.files.delete(name)
        self._written.clear()


def commit(
    table: Table,
    decide: Callable[[Draft], T],
    *,
    clock: Clock = wall_clock,
    afterwards: Callable[[Draft], None] | None = None,
) -> T:
    """Decide and commit on the newest version; nothing is committed where the draft stays empty.

    Args:
        table: it is made where it does not exist and something is to be committed.
        decide: fills the draft from what `draft.base` holds; it is called again where somebody else was faster.
        clock: the present.
        afterwards: called after the entry is made, while the table is still locked.

    Raises:
        LakeError: the table cannot be written or is damaged, or others were faster every time.
    """
    _refuse_copy(table)
    for attempt in range(ATTEMPTS):
        try:
            with locked(table.storage.state, table.name):
                return _attempt(table, decide, clock, afterwards)
        except Conflict:
            time.sleep(random.uniform(0, min(1.0, 0.005 * 2 ** min(attempt, 8))))
        except OSError as error:
            raise unwritable(table, error) from error
    raise LakeError(
        f"other writers changed table {table.name} {ATTEMPTS} times in a row", fix="run it again when they are done"
    )


def _refuse_copy(table: Table) -> None:
    try:
        _ = table.storage.is_writable
    except OSError as error:
        raise unwritable(table, error) from error


def _attempt(table: Table, decide: Callable[[Draft], T], clock: Clock, afterwards: Callable[[Draft], None] | None) -> T:
    draft = _new_draft(table, clock)
    try:
        result = decide(draft)
        if draft.is_empty:
            return result
        draft.finish()
    except OSError as error:
        if draft.is_committed:
            raise LakeError(
                f"table {table.name} under {table.storage.root} was written, but perhaps not for good:"
                f" {error.strerror or error}",
                fix="check the disk (`gb doctor`), then run it again: what is there already is left alone",
            ) from error
        draft.discard()
        raise
    except LakeError:
        draft.discard()
        if not draft.is_committed and table.newest().version > draft.base.version:
            # Where no lock keeps others away, what was read of other tables may already belong to their commit.
            raise Conflict from None
        raise
    except BaseException:
        draft.discard()
        raise
    if afterwards is not None:
        afterwards(draft)
    return result


def _new_draft(table: Table, clock: Clock) -> Draft:
    base = table.newest()
    table.confirm()
    # What cannot be written to this table is said before a file is.
    table.evolved_metadata(base)
    return Draft(table, base, max(clock(), from_microseconds(base.clock) + MICROSECOND))


def unwritable(table: Table, error: OSError) -> LakeError:
    """The error for a disk that is full or a folder that cannot be written."""
    return LakeError(
        f"table {table.name} under {table.storage.root} could not be written: {error.strerror or error}",
        fix="nothing was committed; check "
        + ("bucket, endpoint and credentials" if table.storage.in_bucket else "free space and permissions")
        + " (`gb doctor`), then run it again",
    )


def with_known_at(rows: pl.DataFrame, stamp: datetime, *, history: bool) -> pl.DataFrame:
    """Rows as the newest version: known since the stamp, superseded by nothing."""
    moments = {KNOWN_AT: stamp, **({SUPERSEDED_AT: None} if history else {})}
    return rows.hstack([repeated(name, moment, INSTANT, rows.height) for name, moment in moments.items()])


def _partition_text(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
