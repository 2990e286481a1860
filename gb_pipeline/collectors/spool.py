"""This module is the spool: journals on a local disk in which everything that was heard waits until it is committed.

A journal is a file of records, each a batch of rows of one table as an Arrow IPC message, compressed, with its length and CRC-32.
What is appended counts once `append` returns. After a crash a journal ends in a torn record: rows come before their evidence, so
that what is torn is a hole and not a lie. Where a record in between is damaged, all whole ones are read all the same, and
`read(..., after_damage=True)` gives what was appended afterwards only, which is all that can still be called complete.

Segments are numbered from 1, and a spool has an id: both together name what a commit holds, so that nothing is committed twice.
Both are in the names of the journals too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import polars as pl
import pyarrow as pa

from gb_pipeline.config.private_files import private_folder
from gb_pipeline.errors import LakeError
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.files import sync

_MAGIC = b"GBJ1"
# Magic, CRC-32 of the rest of the record, number of the call that appended it, length of the payload, length before compression,
# length of the table's name.
_HEADER = struct.Struct("<4sIIQQH")
_SCHEMAS = "schemas"
_ID_FILE = "spool.json"
_LOCK_FILE = "lock"
_CODEC = pa.Codec("lz4")


@dataclass(frozen=True, slots=True)
class Segment:
    """One journal that is not written any more.

    Attributes:
        number: from 1.
        path: of the file.
        spool_id: of the spool that wrote it.
        schemas: of the tables, for a journal whose own are damaged.
    """

    number: int
    path: Path
    spool_id: str
    schemas: Mapping[str, pa.Schema]

    def tables(self) -> dict[str, int]:
        """Bytes that wait, by name of their table."""
        sizes: dict[str, int] = {}
        for record in _records(self.path):
            if record.name != _SCHEMAS:
                sizes[record.name] = sizes.get(record.name, 0) + len(record.payload)
        return sizes

    def read(self, table: str, *, after_damage: bool = False) -> Iterator[pl.DataFrame]:
        """The batches of one table, in the order in which they were appended; damaged records are left out.

        Args:
            table: its name.
            after_damage: only batches of later calls than the last one of which something is damaged in the midst of the journal;
                all where nothing is.
        """
        schemas = dict(self.schemas)
        begin = self._last_damaged_call() if after_damage else -1
        for record in _records(self.path):
            if record.name == _SCHEMAS:
                schemas |= _parse_schemas(bytes(record.payload))
            elif record.name == table and table in schemas and record.call > begin:
                message = pa.py_buffer(_CODEC.decompress(record.payload, record.length))
                batch = pa.ipc.read_record_batch(message, schemas[table])
                yield pl.DataFrame(pa.Table.from_batches([batch]))

    def damage(self) -> int:
        """Bytes of the journal that are in no whole record."""
        return self.path.stat().st_size - sum(record.end - record.start for record in _records(self.path))

    def _last_damaged_call(self) -> int:
        """What lies around a damage may belong to the same call: the first one whose record is whole again is not complete."""
        last, end = -1, 0
        for record in _records(self.path):
            if record.start > end:
                last = record.call
            end = record.end
        return last

    def delete(self) -> None:
        """Remove the file: everything in it is committed."""
        self.path.unlink(missing_ok=True)
        sync(self.path.parent)


class Spool:
    """The journals of one collector; one process at a time has them open.

    Args:
        folder: its own, on a local disk.
        schemas: Arrow schemas of the tables that can be appended, by name.
        limit: bytes of all journals from which on nothing is appended; None: as much as its disk has. It may be changed.

    Raises:
        LakeError: another process has it open, or the folder cannot be written.
    """

    def __init__(self, folder: Path, schemas: Mapping[str, pa.Schema], limit: int | None = None) -> None:
        """Open it, or make it."""
        self.folder, self.limit = folder, limit
        self._schemas = dict(schemas)
        self._journal: int | None = None
        # Number of the journal that is being written or made: it is not to be read, committed or deleted by anybody else.
        self._writing: int | None = None
        self._calls = 0
        self.rows = self.bytes = 0
        try:
            private_folder(folder)
            self._lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unwritable(folder, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise LakeError(
                f"another collector writes the spool {folder}",
                fix="stop it first, or give this one a name of its own: `collect: {collector: ...}` in gb.yaml",
            ) from None
        try:
            self.id, self._number = self._identify()
        except OSError as error:
            self.close()
            raise _unwritable(folder, error) from error

    def _identify(self) -> tuple[str, int]:
        file = self.folder / _ID_FILE
        waiting = self.segments()
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            spool_id, number = str(known["id"]), int(known["segment"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            # Journals are committed in order, so that the newest one tells how far the numbers had come.
            spool_id, number = waiting[-1].spool_id if waiting else uuid4().hex[:12], 0
        number = max([number, *(segment.number for segment in waiting)])
        self._remember(spool_id, number)
        return spool_id, number

    def _remember(self, spool_id: str, number: int) -> None:
        fresh = self.folder / f".{_ID_FILE}.new"
        fresh.write_text(json.dumps({"id": spool_id, "segment": number}), encoding="utf-8")
        sync(fresh)
        fresh.replace(self.folder / _ID_FILE)
        sync(self.folder)

    def segments(self) -> list[Segment]:
        """Journals that wait for their commit, oldest first; the one that is being written is not among them.

        Any thread may ask, also while another one appends or seals.
        """
        found = []
        for path in self.folder.glob("segment-*.journal"):
            _, number, spool_id = path.stem.split("-", 2)
            found.append(Segment(int(number), path, spool_id, self._schemas))
        # Looked up after the files: one that was made in between has its number here already.
        writing = self._writing
        return sorted((item for item in found if item.number != writing), key=lambda item: item.number)

    def append(self, batches: Iterable[tuple[str, pl.DataFrame | pa.RecordBatch]]) -> int:
        """Add rows to the open journal, and make them durable.

        Args:
            batches: name of the table, and rows with its columns; those of a batch of Arrow have its types already. Evidence comes
                after what it is about.

        Returns:
            How many rows were added.

        Raises:
            OSError: the disk is full or broken, or the limit is reached; nothing of this call counts, and it can be made again.
        """
        kept = [(name, frame) for name, frame in batches if len(frame)]
        if not kept:
            return 0
        if self.limit is not None and (waiting := self.waiting_bytes()) >= self.limit:
            text = f"{waiting / 1e6:,.0f} MB wait in it, of {self.limit / 1e6:,.0f} that spool_limit_mb allows"
            raise OSError(errno.EDQUOT, text)
        self._calls += 1
        records = [self._encode(name, frame) for name, frame in kept]
        rows = sum(len(frame) for _, frame in kept)
        journal = self._open()
        start = os.lseek(journal, 0, os.SEEK_END)
        try:
            for record in records:
                _write(journal, record)
            reach("spool_written")
            os.fdatasync(journal)
        except OSError:
            with suppress(OSError):
                os.ftruncate(journal, start)
            raise
        reach("spool_synced")
        self.rows += rows
        self.bytes += os.lseek(journal, 0, os.SEEK_END) - start
        return rows

    def seal(self) -> Segment | None:
        """End the open journal; None where nothing is in one."""
        if self._journal is None:
            return None
        os.close(self._journal)
        self._journal = self._writing = None
        self.rows = self.bytes = 0
        reach("segment_sealed")
        return Segment(self._number, self._path(self._number), self.id, self._schemas)

    def close(self) -> None:
        """Let go of the spool; what is in it stays."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = self._writing = None
        os.close(self._lock)

    def waiting_bytes(self) -> int:
        """Of all journals."""
        return sum(path.stat().st_size for path in self.folder.glob("segment-*.journal"))

    def _open(self) -> int:
        if self._journal is None:
            number = self._number + 1
            path = self._path(number)
            self._remember(self.id, number)
            self._number = self._writing = number
            journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            try:
                _write(journal, _record(_SCHEMAS, 0, _write_schemas(self._schemas)))
                os.fdatasync(journal)
                sync(self.folder)
            except OSError:
                os.close(journal)
                path.unlink(missing_ok=True)
                raise
            self._journal = journal
        return self._journal

    def _path(self, number: int) -> Path:
        return self.folder / f"segment-{number:09d}-{self.id}.journal"

    def _encode(self, name: str, frame: pl.DataFrame | pa.RecordBatch) -> bytes:
        if isinstance(frame, pa.RecordBatch):
            return _record(name, self._calls, frame.serialize())
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schemas[name]).combine_chunks()
        [batch] = table.to_batches()
        return _record(name, self._calls, batch.serialize())


class _Record(NamedTuple):
    """A whole record: where it lies, which call appended it, and its payload with the length before compression."""

    start: int
    end: int
    call: int
    name: str
    payload: memoryview
    length: int


def is_open(folder: Path) -> bool:
    """Whether a process has the spool of a folder open at this moment."""
    try:
        lock = os.open(folder / _LOCK_FILE, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _record(name: str, call: int, message: pa.Buffer | bytes) -> bytes:
    payload = bytes(message) if name == _SCHEMAS else _CODEC.compress(message, asbytes=True)
    text = name.encode()
    header = _HEADER.pack(_MAGIC, 0, call, len(payload), len(message), len(text))
    rest = header[8:] + text + payload
    return header[:4] + struct.pack("<I", zlib.crc32(rest)) + rest


def _records(path: Path) -> Iterator[_Record]:
    """The whole records of a journal."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view, place = memoryview(data), 0
    while (place := data.find(_MAGIC, place)) >= 0 and place + _HEADER.size <= len(data):
        _, check, call, size, length, name_size = _HEADER.unpack_from(data, place)
        start = place + _HEADER.size
        end = start + name_size + size
        if end > len(data) or zlib.crc32(view[place + 8 : end]) != check:
            place += 1
            continue
        name = bytes(view[start : start + name_size]).decode()
        yield _Record(place, end, call, name, view[start + name_size : end], length)
        place = end


def _write_schemas(schemas: Mapping[str, pa.Schema]) -> bytes:
    return json.dumps({name: schema.serialize().to_pybytes().hex() for name, schema in schemas.items()}).encode()


def _parse_schemas(data: bytes) -> dict[str, pa.Schema]:
    written = json.loads(data)
    return {name: pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(text))) for name, text in written.items()}


def _write(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _unwritable(folder: Path, error: OSError) -> LakeError:
    return LakeError(
        f"the spool {folder} could not be written: {error.strerror or error}",
        fix="check free space and permissions, or name another folder: `collect: {spool: ...}` in gb.yaml",
    )
