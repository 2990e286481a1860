"""This module hands out tables as Arrow datasets whose every read is verified, for DuckDB, which scans them.

A scan covers the files that `file_pruning` chooses for its filter, with their partition values. It opens a file only after its
footer is known to be the one that was written, and verifies the pages that it decodes. Rows for ourselves are read in `reading`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.decoding import damaged_file
from gb_pipeline.storage.file_pruning import FilePruner


class VerifiedFiles(fs.FileSystemHandler):  # type: ignore[misc]
    """A file system of one table that hands out files after looking at their size and footer.

    Attributes:
        damage: what was found damaged, in order; engines wrap errors of files in errors of their own.
    """

    def __init__(self, storage: Storage, dataset: Dataset, files: pl.DataFrame) -> None:
        """Nothing is opened."""
        self._files, self._root = storage.files, storage.table_name(dataset.name)
        self._dataset = dataset
        self._rows = {row["path"]: row for row in files.iter_rows(named=True)}
        self.damage: list[LakeError] = []
        self._opened: dict[str, None] = {}

    @property
    def opened(self) -> list[str]:
        """The files that were opened, each once."""
        return list(self._opened)

    def look_for_damage(self) -> list[LakeError]:
        """What is damaged, after an error of an engine that does not name the file of a page that it could not read."""
        for path in [] if self.damage else self._opened:
            row = self._rows[path]
            try:
                parquet.verify_bytes(self._files, f"{self._root}/{path}", row["size"])
            except parquet.Unreadable as error:
                self.damage.append(damaged_file(self._dataset, row, error.reason))
            except LakeError as error:
                self.damage.append(error)
        return self.damage

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file of the table, verified as far as its footer; in the place of a damaged one something that Arrow refuses.

        Nothing is raised here: while Arrow writes an error of Python into its trace, it waits for the interpreter and holds a lock
        that a thread with the interpreter may be waiting for.
        """
        row = self._rows[path]
        name = f"{self._root}/{path}"
        self._opened[path] = None
        try:
            return parquet.verified_source(self._files, name, row["size"])[0]
        except parquet.Unreadable as error:
            self.damage.append(damaged_file(self._dataset, row, error.reason))
        except LakeError as error:
            self.damage.append(error)
        return pa.BufferReader(b"damaged")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """The same."""
        return self.open_input_file(path)

    def get_type_name(self) -> str:
        """A name of its own."""
        return "verified"

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        """What the log says."""
        return [fs.FileInfo(path, fs.FileType.File, size=self._rows[path]["size"]) for path in paths]

    def normalize_path(self, path: str) -> str:
        """Paths are as the log has them."""
        return path

    def __eq__(self, other: object) -> bool:
        """Only the same object is the same."""
        return self is other

    def __hash__(self) -> int:
        """By identity."""
        return id(self)

    def _refuse(self, *_: Any) -> Any:
        raise OSError("a lake's files are read, never changed")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse


class PatientScanner:
    """A scan of some columns and rows of a dataset.

    pyarrow's own `Scanner.to_reader` starts to scan with the interpreter held. A thread of Arrow that opens a file then waits
    for the interpreter, holding a lock for which this one waits: neither ever goes on (seen with pyarrow 26).
    """

    def __init__(self, scanner: ds.Scanner) -> None:
        """Nothing is read."""
        self._scanner = scanner

    @property
    def projected_schema(self) -> pa.Schema:
        """The columns of the scan."""
        return self._scanner.projected_schema

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as a stream; `to_batches` waits without the interpreter."""
        return pa.RecordBatchReader.from_batches(self._scanner.projected_schema, self._scanner.to_batches())


@dataclass(frozen=True, slots=True)
class TableScan:
    """What an engine asked of a table: the columns, and the files that may hold what it asked for.

    Attributes:
        columns: that it reads.
        files: rows of `Snapshot.files`.
        watch: what watches over their bytes.
    """

    columns: tuple[str, ...]
    files: pl.DataFrame
    watch: VerifiedFiles


class VerifiedDataset(ds.FileSystemDataset):  # type: ignore[misc]
    """Rows of some files of a table, of which a scan opens those that may hold what its filter is after.

    A dataset of Arrow has an object for every file, whoever asks for which rows. This one has none before it is scanned. Its scans
    let go of the interpreter while they wait, as the files are opened by Python.

    Attributes:
        scans: what was asked so far, in order.
    """

    def __init__(self, storage: Storage, pruner: FilePruner, *, only_asked: bool = False) -> None:
        """Nothing is opened.

        Args:
            storage: where the files are.
            pruner: the files, and what chooses among them.
            only_asked: return no row, but note what is asked.
        """
        schema = pruner.dataset.schema.remove_metadata()
        super().__init__([], schema, ds.ParquetFileFormat(), fs.LocalFileSystem())
        self._storage, self._pruner, self._only_asked = storage, pruner, only_asked
        self.scans: list[TableScan] = []

    @property
    def pruner(self) -> FilePruner:
        """The files, and what chooses among them."""
        return self._pruner

    def scanner(
        self, columns: Sequence[str] | None = None, filter: ds.Expression | None = None, **options: Any
    ) -> PatientScanner:
        """A scan of some columns and rows, as DuckDB asks for it."""
        names = self.schema.names if columns is None else list(columns)
        chosen = self._pruner.select(filter)
        watch = VerifiedFiles(self._storage, self._pruner.dataset, chosen)
        self.scans.append(TableScan(tuple(names), chosen, watch))
        dataset = _arrow_dataset(self._pruner.dataset, chosen.clear() if self._only_asked else chosen, watch)
        return PatientScanner(dataset.scanner(columns=names, filter=filter, **options))


def _arrow_dataset(declared: Dataset, files: pl.DataFrame, watch: VerifiedFiles) -> ds.Dataset:
    """All columns of a table, and the rows of some files, each with its partition values."""
    system = fs.PyFileSystem(watch)
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    parquet_format = ds.ParquetFileFormat(default_fragment_scan_options=options)
    schema = declared.schema.remove_metadata()
    # The values of a partition are written as an expression once, however many files have them.
    written: dict[tuple[Any, ...], ds.Expression] = {}
    fragments = []
    for path, size, *values in files.select("path", "size", *declared.partitions).iter_rows():
        key = tuple(values)
        if key not in written:
            equalities = (
                ds.field(name) == pa.scalar(value, type=schema.field(name).type)
                for name, value in zip(declared.partitions, values, strict=True)
            )
            written[key] = reduce(and_, equalities, pc.scalar(True))
        fragments.append(parquet_format.make_fragment(path, system, partition_expression=written[key], file_size=size))
    return ds.FileSystemDataset(fragments, schema, parquet_format, system)
