"""This module keeps what a table's log says of its files as one Arrow file per version, so that a log of many files opens quickly.

The index is derived and belongs to this machine (`state/index/<table>`): it may be removed at any time, and one that is damaged, of
another table or of another format is as good as none. It counts only while the log has the very entry that it was made at, and
whoever starts from it follows the log from there. `table` decides when that is.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.files import LocalFiles
from gb_pipeline.storage.snapshot import Snapshot

# Raised when what an index says changes its meaning.
_FORMAT = 1
# A table with fewer files is opened as quickly from its log.
WORTH_AN_INDEX = 1_000
_KEY = b"gb_pipeline"


@dataclass(frozen=True, slots=True)
class Indexed:
    """A version of a table, and the checksum of the log's entry that made it."""

    snapshot: Snapshot
    entry: int


class FileIndex:
    """The index of one table of a lake on this machine."""

    def __init__(self, storage: Storage, dataset: Dataset) -> None:
        """Nothing is opened or created."""
        self._dataset, self._place = dataset, str(storage.root)
        self._files = LocalFiles(storage.state)
        self._folder = f"index/{dataset.name}"

    def read(self) -> Indexed | None:
        """The newest version that is kept; None where nothing usable is."""
        for name in sorted(self._names(), reverse=True):
            with suppress(OSError, ValueError, KeyError, TypeError, pa.ArrowException, pl.exceptions.PolarsError):
                data = self._files.read_buffer(name)
                if f"{zlib.crc32(data):08x}.arrow" == name.rpartition("-")[2]:
                    return self._decode(data)
        return None

    @staticmethod
    def is_worth_it(snapshot: Snapshot) -> bool:
        """Whether a table has so many files that its log takes long to read."""
        return snapshot.files.height >= WORTH_AN_INDEX

    def write(self, indexed: Indexed) -> None:
        """Keep a version in place of older ones; where that cannot be, the log is read as before.

        Any number of processes may do so at once: a file appears as a whole, under a name that its bytes demand.
        """
        with suppress(OSError):
            data = self._encode(indexed)
            name = f"{self._folder}/{indexed.snapshot.version:020}-{zlib.crc32(data):08x}.arrow"
            self._files.replace(name, data)
            for other in self._names(leftovers=True):
                if other < name:
                    self._files.delete(other)

    def _names(self, *, leftovers: bool = False) -> Iterator[str]:
        with suppress(OSError):
            for path in Path(self._files.path(self._folder)).iterdir():
                # What a killed writer left has a dot in front.
                if path.suffix == ".arrow" or leftovers:
                    yield f"{self._folder}/{path.name}"

    def _encode(self, indexed: Indexed) -> bytes:
        snapshot = indexed.snapshot
        about = {
            "format": _FORMAT,
            "lake": self._place,
            "table": self._dataset.name,
            "version": snapshot.version,
            "entry": indexed.entry,
            "metadata": snapshot.metadata,
            "transactions": dict(snapshot.transactions),
        }
        table = snapshot.files.to_arrow()
        sink = pa.BufferOutputStream()
        schema = table.schema.with_metadata({_KEY: json.dumps(about).encode()})
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(table.combine_chunks())
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def _decode(self, data: pa.Buffer) -> Indexed | None:
        table = pa.ipc.open_file(data).read_all()
        about = json.loads(table.schema.metadata[_KEY])
        identity = (about["format"], about["lake"], about["table"])
        files = pl.from_arrow(table.replace_schema_metadata(None))
        if identity != (_FORMAT, self._place, self._dataset.name) or not isinstance(files, pl.DataFrame):
            return None
        if files.schema != self._dataset.no_files.schema:
            # A release that indexes other columns made it.
            return None
        snapshot = Snapshot(self._dataset, about["version"], about["metadata"], files, about["transactions"])
        return Indexed(snapshot, about["entry"])
