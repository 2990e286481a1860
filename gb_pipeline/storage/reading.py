"""Rows out of data files, every byte that is decoded verified.

Belongs here: reading chosen files of a snapshot, at once or lazily, with columns and time ranges pushed down. Does not belong
here: choosing files (`snapshot`), opening one (`parquet`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa

from gb_pipeline.storage import parquet
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, PERIOD, SUPERSEDED_AT, Dataset
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.workers import THREADS, leaves

# Fewer files are read one after the other, each with threads of its own.
_TOGETHER = 2
FILE, ROW = "file", "row"

Between = tuple[str, Any, Any]


def read(
    storage: Storage,
    dataset: Dataset,
    files: pl.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    between: Between | None = None,
    with_file: bool = False,
) -> pl.DataFrame:
    """The rows of some files, file by file in the order given.

    Args:
        files: rows of `Snapshot.files`.
        columns: of the dataset; all by default.
        between: a column and its half-open range; rows outside it are left out.
        with_file: add `file` (UInt32), the position of the row's file in `files`, and `row` (UInt32), its place in the answer.

    Raises:
        DamagedFile: a file is missing or not what was written.
    """
    names = dataset.schema.names if columns is None else list(columns)
    types = dataset.polars
    wanted = pl.Schema({name: types[name] for name in names})
    if with_file:
        wanted[FILE] = pl.UInt32()
    if files.is_empty():
        return pl.DataFrame(schema={**wanted, **({ROW: pl.UInt32()} if with_file else {})})
    rows = files.rows(named=True)

    def one(position: int) -> pl.DataFrame:
        return _one(storage, dataset, rows[position], wanted, between, position, threads=len(rows) == 1)

    if len(rows) < _TOGETHER:
        frames = [one(position) for position in range(len(rows))]
    else:
        frames = list(leaves().map(one, range(len(rows))))
    frame = pl.concat(frames, rechunk=False) if len(frames) > 1 else frames[0]
    return frame.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32()).alias(ROW)) if with_file else frame


def scan(
    storage: Storage,
    dataset: Dataset,
    files: pl.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    between: Between | None = None,
) -> pl.LazyFrame:
    """The same lazily: only the columns that a query needs are decoded, and its filters run file by file."""
    from polars.io.plugins import register_io_source

    names = dataset.schema.names if columns is None else list(columns)
    types = dataset.polars
    schema = pl.Schema({name: types[name] for name in names})
    if files.is_empty():
        return pl.LazyFrame(schema=schema)

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        chosen = names if with_columns is None else [name for name in names if name in with_columns]
        left = n_rows
        for start in range(0, files.height, THREADS * 2):
            frame = read(storage, dataset, files.slice(start, THREADS * 2), chosen, between=between)
            if predicate is not None:
                frame = frame.filter(predicate)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            yield frame
            if left is not None and left <= 0:
                return

    return register_io_source(batches, schema=schema, validate_schema=False)


def current(snapshot: Snapshot, files: pl.DataFrame | None = None) -> pl.DataFrame:
    """Of a snapshot's files, or of some of them, those that hold the newest versions of rows."""
    chosen = snapshot.files if files is None else files
    return chosen.filter(IS_CURRENT) if snapshot.dataset.history else chosen


def known_by(files: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Of some files, those that may hold rows which held at a moment."""
    held = pl.col(f"min.{KNOWN_AT}") <= moment
    if f"max.{SUPERSEDED_AT}" in files.columns:
        held = held & (pl.col(IS_CURRENT) | (pl.col(f"max.{SUPERSEDED_AT}") > moment))
    return files.filter(held)


def held_at(moment: datetime, *, history: bool) -> pl.Expr:
    """Whether a row held at a moment."""
    known = pl.col(KNOWN_AT) <= moment
    if not history:
        return known
    return known & (pl.col(SUPERSEDED_AT).is_null() | (pl.col(SUPERSEDED_AT) > moment))


def damaged(dataset: Dataset, row: Mapping[str, Any], reason: str) -> parquet.DamagedFile:
    """The error for a file that is not what was written: which series and which time it holds."""
    source, symbol = row.get("source"), row.get("symbol")
    said = [str(row[name]) for name in dataset.partition_by if row.get(name) is not None]
    for name in dataset.statistics:
        low, high = row.get(f"min.{name}"), row.get(f"max.{name}")
        if low is not None:
            said.append(f"{name} {low}" if low == high else f"{name} {low} to {high}")
    if row.get(PERIOD) is not None:
        said.append(f"period {row[PERIOD]}")
    series = f"{source}:{symbol}" if source and symbol else str(source or "")
    holds = ", ".join([*said, f"{row.get('rows')} rows"])
    return parquet.DamagedFile(dataset.name, str(row["path"]), holds, reason, series=series)


def _one(
    storage: Storage,
    dataset: Dataset,
    row: Mapping[str, Any],
    wanted: pl.Schema,
    between: Between | None,
    position: int,
    *,
    threads: bool,
) -> pl.DataFrame:
    stored = set(dataset.file_schema.names)
    names = [name for name in wanted if name in stored]
    cut = between
    if between is not None:
        low, high = row.get(f"min.{between[0]}"), row.get(f"max.{between[0]}")
        cut = None if low is not None and high is not None and low >= between[1] and high < between[2] else between
    read_names = names if cut is None or cut[0] in names else [*names, cut[0]]
    path = f"{storage.table(dataset.name)}/{row['path']}"
    try:
        table = parquet.read_columns(path, row["size"], read_names, between=cut, threads=threads)
        if not read_names:
            # Nothing but partition columns is wanted: the log counts the rows.
            table = table.append_column("_", pa.nulls(row["rows"]))
        if cut is None and table.num_rows != row["rows"]:
            raise parquet.Unreadable(f"it holds {table.num_rows:,} rows where the log counts {row['rows']:,}")
    except parquet.Unreadable as error:
        raise damaged(dataset, row, error.reason) from None
    frame = pl.DataFrame(table)
    if cut is not None:
        frame = frame.filter((pl.col(cut[0]) >= cut[1]) & (pl.col(cut[0]) < cut[2]))
    values = [
        pl.lit(position, pl.UInt32()).alias(FILE)
        if name == FILE
        else pl.col(name).cast(kind)
        if name in stored
        else pl.lit(row[name]).cast(kind).alias(name)
        for name, kind in wanted.items()
    ]
    return frame.select(values) if frame.width else frame
