"""This module is the spool: journals on a local disk in which everything that was heard waits until it is committed.

A journal is a file of records, each a batch of rows of one table as an Arrow IPC message, compressed, with its length and CRC-32.
What is appended counts once `sync` returns. After a crash a journal ends in a torn record, or has a damaged one: whole records are
read all the same, and the evidence of what was lost is lost with it, so that it is a hole and not a lie.

Segments are numbered from 1, and a spool has an id: both together name what a commit holds, so that nothing is committed twice.
"""

from __future__ import annotations

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
from uuid import uuid4

import polars as pl
import pyarrow as pa

from gb_pipeline.config.private_files import private_folder
from gb_pipeline.errors import LakeError
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.files import sync

_MAGIC = b"GBJ1"
# Magic, CRC-32 of the rest of the record, length of the payload, length before compression, length of the table's name.
_HEADER = struct.Struct("<4sIQQH")
_SCHEMAS = "schemas"
_ID_FILE = "spool.json"
_LOCK_FILE = "lock"
_CODEC = pa.Codec("lz4")


@dataclass(frozen=True, slots=True)
class Segment:
    """One journal that is not written any more."""

    number: int
    path: Path

    def tables(self) -> dict[str, int]:
        """Bytes that wait, by name of their table."""
        sizes: dict[str, int] = {}
        for name, payload, _ in _records(self.path):
            if name != _SCHEMAS:
                sizes[name] = sizes.get(name, 0) + len(payload)
        return sizes

    def read(self, table: str) -> Iterator[pl.DataFrame]:
        """The batches of one table, in the order in which they were appended; damaged records are left out."""
        schemas: dict[str, pa.Schema] = {}
        for name, payload, length in _records(self.path):
            if name == _SCHEMAS:
                schemas |= _parse_schemas(bytes(payload))
            elif name == table and table in schemas:
                message = pa.py_buffer(_CODEC.decompress(payload, length))
                batch = pa.ipc.read_record_batch(message, schemas[table])
                yield pl.DataFrame(pa.Table.from_batches([batch]))

    def damage(self) -> int:
        """Bytes of the journal that are in no whole record."""
        whole = sum(_HEADER.size + len(name.encode()) + len(payload) for name, payload, _ in _records(self.path))
        return self.path.stat().st_size - whole

    def delete(self) -> None:
        """Remove the file: everything in it is committed."""
        self.path.unlink(missing_ok=True)
        sync(self.path.parent)


class Spool:
    """The journals of one collector; one process at a time has them open.

    Args:
        folder: its own, on a local disk.
        schemas: Arrow schemas of the tables that can be appended, by name.

    Raises:
        LakeError: another process has it open, or the folder cannot be written.
    """

    def __init__(self, folder: Path, schemas: Mapping[str, pa.Schema]) -> None:
        """Open it, or make it."""
        self.folder = folder
        self._schemas = dict(schemas)
        self._journal: int | None = None
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
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            spool_id, number = str(known["id"]), int(known["segment"])
        except FileNotFoundError:
            spool_id, number = uuid4().hex[:12], 0
        except (ValueError, KeyError, TypeError):
            # Journals that are there are told apart from all others by a new id; none of them can be committed twice.
            spool_id, number = uuid4().hex[:12], 0
        number = max([number, *(segment.number for segment in self.segments())])
        self._remember(spool_id, number)
        return spool_id, number

    def _remember(self, spool_id: str, number: int) -> None:
        fresh = self.folder / f".{_ID_FILE}.new"
        fresh.write_text(json.dumps({"id": spool_id, "segment": number}), encoding="utf-8")
        sync(fresh)
        fresh.replace(self.folder / _ID_FILE)
        sync(self.folder)

    def segments(self) -> list[Segment]:
        """Journals that wait for their commit, oldest first; the one that is being written is not among them."""
        found = [
            Segment(int(path.stem.removeprefix("segment-")), path) for path in self.folder.glob("segment-*.journal")
        ]
        own = self._number if self._journal is not None else None
        return sorted((item for item in found if item.number != own), key=lambda item: item.number)

    def append(self, batches: Iterable[tuple[str, pl.DataFrame]]) -> int:
        """Add rows to the open journal, and make them durable.

        Args:
            batches: name of the table, and rows with its columns. Evidence comes after what it is about.

        Returns:
            How many rows were added.

        Raises:
            OSError: the disk is full or broken; nothing of this call counts, and it can be made again.
        """
        records = [(name, self._encode(name, frame)) for name, frame in batches if frame.height]
        if not records:
            return 0
        rows = sum(count for _, (_, count) in records)
        journal = self._open()
        start = os.lseek(journal, 0, os.SEEK_END)
        try:
            for _, (record, _) in records:
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
        self._journal = None
        self.rows = self.bytes = 0
        reach("segment_sealed")
        return Segment(self._number, self._path(self._number))

    def close(self) -> None:
        """Let go of the spool; what is in it stays."""
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        os.close(self._lock)

    def waiting_bytes(self) -> int:
        """Of all journals."""
        return sum(path.stat().st_size for path in self.folder.glob("segment-*.journal"))

    def _open(self) -> int:
        if self._journal is None:
            number = self._number + 1
            path = self._path(number)
            self._remember(self.id, number)
            self._number = number
            journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            try:
                _write(journal, _record(_SCHEMAS, _write_schemas(self._schemas)))
                os.fdatasync(journal)
                sync(self.folder)
            except OSError:
                os.close(journal)
                path.unlink(missing_ok=True)
                raise
            self._journal = journal
        return self._journal

    def _path(self, number: int) -> Path:
        return self.folder / f"segment-{number:09d}.journal"

    def _encode(self, name: str, frame: pl.DataFrame) -> tuple[bytes, int]:
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schemas[name]).combine_chunks()
        [batch] = table.to_batches()
        message = batch.serialize()
        return _record(name, message), frame.height


def _record(name: str, message: pa.Buffer | bytes) -> bytes:
    payload = bytes(message) if name == _SCHEMAS else _CODEC.compress(message, asbytes=True)
    text = name.encode()
    header = _HEADER.pack(_MAGIC, 0, len(payload), len(message), len(text))
    rest = header[8:] + text + payload
    return header[:4] + struct.pack("<I", zlib.crc32(rest)) + rest


def _records(path: Path) -> Iterator[tuple[str, memoryview, int]]:
    """Whole records of a journal: the table's name, the payload, its length before compression."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    view, place = memoryview(data), 0
    while (place := data.find(_MAGIC, place)) >= 0 and place + _HEADER.size <= len(data):
        _, check, size, length, name_size = _HEADER.unpack_from(data, place)
        start = place + _HEADER.size
        end = start + name_size + size
        if end > len(data) or zlib.crc32(view[place + 8 : end]) != check:
            place += 1
            continue
        yield bytes(view[start : start + name_size]).decode(), view[start + name_size : end], length
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
