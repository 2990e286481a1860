"""This module hands out tables as Arrow datasets whose every read is verified, for DuckDB, which scans them.

A dataset covers chosen files with their partition values. It opens a file only after its footer is known to be the one that was
written, and verifies the pages that it decodes. Rows for ourselves are read in `reading`.
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.decoding import damaged_file


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


class VerifiedDataset(ds.FileSystemDataset):  # type: ignore[misc]
    """A dataset whose scans let go of the interpreter while they wait, as the files are opened by Python."""

    def scanner(self, *arguments: Any, **options: Any) -> PatientScanner:
        """A scan, as DuckDB asks for it: `columns` and `filter`."""
        return PatientScanner(super().scanner(*arguments, **options))


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


def verified_dataset(storage: Storage, dataset: Dataset, files: pl.DataFrame) -> tuple[ds.Dataset, VerifiedFiles]:
    """Rows of some files of a table, with all columns of its schema, and what watches over them.

    Args:
        files: rows of `Snapshot.files`.
    """
    handler = VerifiedFiles(storage, dataset, files)
    system = fs.PyFileSystem(handler)
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    parquet_format = ds.ParquetFileFormat(default_fragment_scan_options=options)
    schema = dataset.schema.remove_metadata()
    names = list(dataset.partitions)
    fragments = []
    for row in files.iter_rows(named=True):
        partition_values = None
        for name in names:
            is_value = ds.field(name) == pa.scalar(row[name], type=schema.field(name).type)
            partition_values = is_value if partition_values is None else partition_values & is_value
        fragments.append(
            parquet_format.make_fragment(
                row["path"], system, partition_expression=partition_values, file_size=row["size"]
            )
        )
    return VerifiedDataset(fragments, schema, parquet_format, system), handler
