"""This module turns one file of a table into columns, and makes the error that says what a damaged one holds.

Every byte that is decoded is verified. Which files and columns are wanted is known to `reading`, how a file is built to `parquet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import IS_CURRENT, PERIOD, Dataset

Between = tuple[str, Any, Any]
Stretch = tuple[int, int]


def decode(
    storage: Storage,
    dataset: Dataset,
    names: list[str],
    row: Mapping[str, Any],
    needed_range: Between | None,
    stretch: Stretch | None = None,
    *,
    threads: bool = False,
    integers: bool = False,
) -> pa.Table:
    """Columns of one file, of its row groups that may hold a range, as an Arrow table: every byte of it verified.

    All rows that are read of a table come through here, or through `assembly`. What they return depends on nothing but the
    file, whose name no other one ever has (`row["path"]`), the columns and the range, so it may be kept under these.

    Args:
        names: stored columns; none for the rows alone.
        row: of `Snapshot.files`.
        needed_range: a column and its half-open range, where rows outside of it need not be read; they are not filtered.
        stretch: the first row that is wanted and the one after the last, whatever the range; all by default.
        threads: decode columns side by side.
        integers: decimals of up to 18 digits as the 64-bit integers that they are stored as, which takes less.

    Raises:
        DamagedFile: it is missing or not what was written.
    """
    name = f"{storage.table_name(dataset.name)}/{row['path']}"
    try:
        table = parquet.read_columns(
            storage.files,
            name,
            row["size"],
            names,
            between=needed_range if stretch is None else None,
            stretch=stretch,
            threads=threads,
            integers=integers,
        )
        expected = row["rows"] if stretch is None else stretch[1] - stretch[0]
        if not names:
            # Nothing but partition columns is wanted: the log counts the rows.
            table = pa.table({"_": pa.nulls(expected)})
        if (needed_range is None or stretch is not None) and table.num_rows != expected:
            raise parquet.Unreadable(f"it holds {table.num_rows:,} rows where the log counts {expected:,}")
        if names and table.column_names != names:
            table = _complete_columns(dataset, table, names)
    except parquet.Unreadable as error:
        raise damaged_file(dataset, row, error.reason) from None
    return table


def _complete_columns(dataset: Dataset, table: pa.Table, names: list[str]) -> pa.Table:
    """The columns in their order; what a release before this one did not write yet is null."""
    for name in names:
        if name not in table.column_names:
            field = dataset.file_schema.field(name)
            if not field.nullable:
                raise parquet.Unreadable(f"it has no column {name}")
            table = table.append_column(field.remove_metadata(), pa.nulls(table.num_rows, field.type))
    return table.select(names)


def damaged_file(dataset: Dataset, row: Mapping[str, Any], reason: str) -> parquet.DamagedFile:
    """The error for a file that is not what was written: which series and which time it holds."""
    source, symbol = row.get("source"), row.get("symbol")
    details = [str(row[name]) for name in dataset.partition_by if row.get(name) is not None]
    for name in dataset.statistics:
        low, high = row.get(f"min.{name}"), row.get(f"max.{name}")
        if low is not None:
            details.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    if row.get(PERIOD) is not None:
        details.append(f"period {row[PERIOD]}")
    series = f"{source}:{symbol}" if source and symbol else str(source or "")
    contents = ", ".join([*details, f"{row.get('rows')} rows"])
    return parquet.DamagedFile(
        dataset.name, str(row["path"]), contents, reason, series=series, superseded=row.get(IS_CURRENT) is False
    )
