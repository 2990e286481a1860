"""This module writes and reads a table's checkpoints: what it held at one version, so that the log need not be read from its
beginning.

delta-rs writes them, as other programs read them too. A checkpoint counts only once it is sealed: it was read back, it agreed with
the table, and its checksum was recorded in two places. The log is followed from there in `table`.
"""

from __future__ import annotations

import zlib

import pyarrow as pa
import pyarrow.parquet as pq

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import snapshot
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.log import Seal, damaged_log, decode_seal, encode_seal, folder, pointer_name
from gb_pipeline.storage.snapshot import Snapshot


class Checkpoints:
    """The checkpoints of one table, of which the newest sealed one counts."""

    def __init__(self, storage: Storage, dataset: Dataset) -> None:
        """Nothing is opened before it is needed."""
        self.storage, self.dataset, self.name = storage, dataset, dataset.name
        self.files = storage.files

    @property
    def seal_names(self) -> tuple[str, str]:
        """The seal's file, and that of its copy."""
        return f"log/{self.name}/checkpoint.json", f"{folder(self.name)}/_checkpoint.seal"

    def seal(self) -> Seal | None:
        """What is known of the newest checkpoint that was written to its end; it is kept in two places.

        Raises:
            DamagedLog: what says so is damaged in both.
        """
        copies = [copy for copy in map(self._read, self.seal_names) if copy is not None]
        seals = [seal for seal in map(decode_seal, copies) if seal is not None]
        if copies and not seals:
            raise damaged_log(self.name, f"the seal of its checkpoint is damaged ({self.seal_names[0]})")
        return max(seals, key=lambda seal: seal.version, default=None)

    def any_exist(self) -> bool:
        """Whether there is a checkpoint of any version, sealed or not."""
        return any(name.endswith(".checkpoint.parquet") for name, _, _ in self.files.list(folder(self.name)))

    def read(self, seal: Seal) -> Snapshot:
        """The table as a sealed checkpoint holds it.

        Raises:
            DamagedLog: the checkpoint is missing, or not the one that was sealed.
        """
        data = self._read(self._file(seal.version))
        if data is None:
            raise damaged_log(self.name, f"the checkpoint of version {seal.version} is missing")
        if zlib.crc32(data) != seal.checksum:
            raise damaged_log(self.name, f"the checkpoint of version {seal.version} is damaged")
        return self._decode(seal.version, data)

    def write(self, newest: Snapshot) -> bool:
        """Write and seal a checkpoint of a version; whether there was none of it.

        Raises:
            DamagedLog: the checkpoint is not what this process holds, as entries on disk are damaged; it does not count.
            LakeError: it cannot be written.
        """
        version = newest.version
        seal = self.seal()
        if seal is not None and seal.version == version:
            return False
        self._create(version)
        reach("checkpoint_written")
        data = self.files.read(self._file(version))
        try:
            matches = _same_contents(self._decode(version, data), newest)
        except (pa.ArrowException, KeyError, TypeError, ValueError, StopIteration):
            matches = False
        if not matches:
            raise damaged_log(self.name, f"the entries before version {version} are damaged")
        pointer = self.files.read(pointer_name(self.name)).decode()
        for name in self.seal_names:
            self.files.put(name, encode_seal(Seal(version, zlib.crc32(data), pointer)))
            reach("checkpoint_sealed")
        return True

    def copy_seal(self) -> bool:
        """Make copies of the seal that are missing, older or damaged; whether there were any."""
        seal = self.seal()
        if seal is None:
            return False
        outdated = [name for name in self.seal_names if decode_seal(self._read(name) or b"") != seal]
        for name in outdated:
            self.files.put(name, encode_seal(seal))
        return bool(outdated)

    def _create(self, version: int) -> None:
        """Have delta-rs write a checkpoint, with the pointer to it."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        pointer = self._read(pointer_name(self.name)) or b""
        try:
            if f'"version":{version},'.encode() not in pointer:
                # One that was cut off lacks its pointer, and would be left as it is.
                self.files.delete(self._file(version))
            options = self.storage.delta_options()
            DeltaTable(self.storage.table(self.name), version=version, storage_options=options).create_checkpoint()
        except (OSError, DeltaError) as error:
            raise LakeError(
                f"no checkpoint of table {self.name} could be written: {str(error).splitlines()[0]}",
                fix="check free space and permissions (`gb doctor`); the table is whole without it",
            ) from error

    def _decode(self, version: int, data: bytes) -> Snapshot:
        rows = pq.read_table(pa.BufferReader(data)).to_pylist()
        adds = [
            {**row["add"], "partitionValues": dict(row["add"]["partitionValues"])} for row in rows if row.get("add")
        ]
        transactions = {row["txn"]["appId"]: int(row["txn"]["version"]) for row in rows if row.get("txn")}
        metadata = next(row["metaData"] for row in rows if row.get("metaData"))
        metadata = {
            **metadata,
            "format": {"provider": metadata["format"]["provider"], "options": {}},
            "configuration": dict(metadata["configuration"] or ()),
        }
        return Snapshot(self.dataset, version, metadata, snapshot.index_files(self.dataset, adds), transactions)

    def _read(self, name: str) -> bytes | None:
        try:
            return self.files.read(name)
        except FileNotFoundError:
            return None

    def _file(self, version: int) -> str:
        return f"{folder(self.name)}/{version:020}.checkpoint.parquet"


def _same_contents(one: Snapshot, other: Snapshot) -> bool:
    """Whether two snapshots say the same of a table; statistics may be cut to milliseconds."""
    names = ["path", "size", "rows", *one.dataset.partitions]
    files = (compared.files.select(names).sort("path") for compared in (one, other))
    return (
        one.table_id == other.table_id
        and dict(one.transactions) == dict(other.transactions)
        and next(files).equals(next(files))
    )
