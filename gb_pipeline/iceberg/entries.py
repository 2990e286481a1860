"""This module describes data files of the lake, and files of deletes, as Iceberg's manifests have them.

What a manifest says of a data file comes from the Delta log: its partition, its size, its rows, and the smallest and largest
values, by which engines skip files. No data file is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField, StringType, TimestamptzType

from gb_pipeline.errors import LakeError
from gb_pipeline.iceberg.definition import iceberg_schema, period_number
from gb_pipeline.iceberg.place import Place
from gb_pipeline.market.moments import microseconds
from gb_pipeline.storage.dataset import Dataset

# Numbers that Iceberg's format reserves for the columns of a file of deletes.
DELETED_PATH, DELETED_POSITION = 2147483546, 2147483545


def partition_of(dataset: Dataset, row: Mapping[str, Any]) -> Record:
    """The partition of a data file.

    Args:
        row: of `Snapshot.files`.

    Raises:
        LakeError: the file holds bars of several periods, so that no partition of Iceberg would be true.
    """
    values: list[Any] = [row[name] for name in dataset.partition_by]
    if dataset.period is not None:
        first, last = (period_number(dataset.period, row[f"{edge}.{dataset.time}"]) for edge in ("min", "max"))
        if first != last:
            raise LakeError(
                f"table {dataset.name}: the file {row['path']} reaches over several periods",
                fix="run `gb verify`: files of the lake never do",
            )
        values.append(first)
    return Record(*values)


def bars_files(place: Place, dataset: Dataset, files: Iterable[Mapping[str, Any]]) -> list[DataFile]:
    """Data files of the lake.

    Args:
        files: rows of `Snapshot.files`.
    """
    columns = {field.name: field for field in iceberg_schema(dataset).fields if field.name not in dataset.partition_by}
    return [_bars_file(place, dataset, columns, row) for row in files]


def _bars_file(place: Place, dataset: Dataset, columns: Mapping[str, NestedField], row: Mapping[str, Any]) -> DataFile:
    rows = int(row["rows"])
    return DataFile.from_args(
        _table_format_version=2,
        content=DataFileContent.DATA,
        file_path=place.data_uri(row["path"]),
        file_format=FileFormat.PARQUET,
        partition=partition_of(dataset, row),
        record_count=rows,
        file_size_in_bytes=int(row["size"]),
        column_sizes=None,
        value_counts={field.field_id: rows for field in columns.values()},
        null_value_counts={field.field_id: 0 for field in columns.values() if field.required},
        nan_value_counts=None,
        lower_bounds=_bounds(dataset, columns, row, "min"),
        upper_bounds=_bounds(dataset, columns, row, "max"),
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
        spec_id=0,
    )


def deletes_file(uri: str, data_uri: str, partition: Record, rows: int, size: int) -> DataFile:
    """A file that says which rows of one data file do not count."""
    edge = {DELETED_PATH: data_uri.encode()}
    return DataFile.from_args(
        _table_format_version=2,
        content=DataFileContent.POSITION_DELETES,
        file_path=uri,
        file_format=FileFormat.PARQUET,
        partition=partition,
        record_count=rows,
        file_size_in_bytes=size,
        column_sizes=None,
        value_counts=None,
        null_value_counts=None,
        nan_value_counts=None,
        # Both are the whole path, by which an engine knows that it concerns one data file only.
        lower_bounds=edge,
        upper_bounds=edge,
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
        spec_id=0,
    )


def _bounds(
    dataset: Dataset, columns: Mapping[str, NestedField], row: Mapping[str, Any], edge: str
) -> dict[int, bytes]:
    """The smallest or largest value of each column that the log knows them of."""
    bounds = {}
    for name in dataset.indexed:
        value = row[f"{edge}.{name}"]
        if value is not None:
            number = columns[name].field_id
            is_text = isinstance(value, str)
            bounds[number] = (
                to_bytes(StringType(), value) if is_text else to_bytes(TimestamptzType(), microseconds(value))
            )
    return bounds
