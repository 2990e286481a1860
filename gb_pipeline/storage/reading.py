"""This module reads rows out of chosen data files, at once or lazily, and verifies every byte that it decodes.

Columns and time ranges are pushed down. Files are chosen in `snapshot` and decoded in `numbers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from gb_pipeline.market.moments import instant_literal, microseconds
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, SUPERSEDED_AT, Dataset
from gb_pipeline.storage.decoding import Between, Stretch
from gb_pipeline.storage.numbers import Numbers, read_numbers
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.workers import THREADS

FILE, ROW = "file", "row"


def read(
    storage: Storage,
    dataset: Dataset,
    files: pl.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    between: Between | None = None,
    with_file: bool = False,
    contiguous: bool = True,
    numbers: Numbers = Numbers.DECIMALS,
    stretches: Sequence[Stretch] | None = None,
) -> pl.DataFrame:
    """The rows of some files, file by file in the order given.

    Args:
        files: rows of `Snapshot.files`.
        columns: of the dataset; all by default.
        between: a column and its half-open range; rows outside it are left out.
        contiguous: each column as one piece of memory, which costs a copy; else as many as there were files.
        with_file: add `file` (UInt32), the position of the row's file in `files`, and `row` (UInt32), its position in the result.
        numbers: as what decimals of up to 18 digits are read.
        stretches: of each file the first row to read and the one after the last; all by default.

    Raises:
        DamagedFile: a file is missing or not what was written.
    """
    names = dataset.schema.names if columns is None else list(columns)
    types = {name: numbers.kind(dataset.polars[name]) for name in names}
    schema = pl.Schema(types)
    if with_file:
        schema[FILE] = pl.UInt32()
    if files.is_empty():
        no_rows = pl.DataFrame(schema=schema)
        return no_rows.hstack([pl.Series(ROW, [], pl.UInt32())]) if with_file else no_rows
    rows = files.rows(named=True)
    stored = set(dataset.file_schema.names)
    names = [name for name in schema if name in stored]
    ranges = [_needed_range(row, between) for row in rows]
    pieces: list[Stretch | None] = [None] * len(rows) if stretches is None else list(stretches)
    uncut = between is not None and any(ranges)
    if between is not None and uncut and between[0] not in names:
        names.append(between[0])

    if names:
        frame, heights, uncut = read_numbers(storage, dataset, rows, names, ranges, pieces, numbers)
    else:
        # Nothing but partition columns is wanted: the log counts the rows.
        heights = [
            row["rows"] if piece is None else piece[1] - piece[0] for row, piece in zip(rows, pieces, strict=True)
        ]
        frame = pl.DataFrame(height=sum(heights))
    if contiguous:
        frame = frame.rechunk()
    derived = [name for name in schema if name not in stored]
    if derived:
        file_numbers = np.repeat(np.arange(len(rows), dtype=np.uint32), heights)
        positions = pl.Series(FILE, file_numbers)
        frame = frame.hstack(
            [
                positions if name == FILE else _spread(name, [row[name] for row in rows], positions, types[name])
                for name in derived
            ]
        )
    if between is not None and uncut:
        frame = _rows_between(frame, *between)
    if frame.schema != schema:
        frame = frame.select(pl.col(name).cast(kind) for name, kind in schema.items())
    return frame.hstack([pl.Series(ROW, np.arange(frame.height, dtype=np.uint32))]) if with_file else frame


def read_in_order(
    storage: Storage,
    dataset: Dataset,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    between: Between,
    numbers: Numbers,
) -> tuple[pl.DataFrame, list[int]] | None:
    """Stored columns of files in a range, and how many rows each file gave.

    Args:
        rows: of `Snapshot.files`.
        columns: stored ones, that of the range among them.

    Returns:
        None where a file is not in the order of the range, so that rows have to be left out one by one.

    Raises:
        DamagedFile: a file is missing or not what was written.
    """
    ranges = [_needed_range(row, between) for row in rows]
    frame, heights, uncut = read_numbers(storage, dataset, rows, list(columns), ranges, [None] * len(rows), numbers)
    return None if uncut else (frame, heights)


def read_last(
    storage: Storage, dataset: Dataset, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], numbers: Numbers
) -> pl.DataFrame:
    """Stored columns of the last row of each of some files.

    Raises:
        DamagedFile: a file is missing or not what was written.
    """
    ends = [(row["rows"] - 1, row["rows"]) for row in rows]
    return read_numbers(storage, dataset, rows, list(columns), [None] * len(rows), ends, numbers)[0]


def _rows_between(frame: pl.DataFrame, name: str, start: Any, end: Any) -> pl.DataFrame:
    """The rows whose value lies in a half-open range."""
    column = frame[name]
    if isinstance(start, datetime) and not column.null_count() and column.is_sorted():
        # Written in the order of time: two places are found instead of every row compared.
        stamps = column.cast(pl.Int64).to_numpy()
        first, last = np.searchsorted(stamps, [microseconds(start), microseconds(end)]).tolist()
        # A few rows of many are copied, so that they do not keep the memory of all.
        return frame.slice(first, last - first) if 2 * (last - first) > frame.height else frame[np.arange(first, last)]
    return frame.filter((pl.col(name) >= start) & (pl.col(name) < end))


def _spread(name: str, values: list[Any], positions: pl.Series, kind: pl.DataType) -> pl.Series:
    """The value of a partition column for each row."""
    column = pl.Series(name, values, dtype=kind)
    if len(set(values)) == 1:
        return column.head(1).new_from_index(0, len(positions))
    return column.gather(positions)


def _needed_range(row: Mapping[str, Any], between: Between | None) -> Between | None:
    """The range where a file may hold rows outside it."""
    if between is None:
        return None
    low, high = row.get(f"min.{between[0]}"), row.get(f"max.{between[0]}")
    inside = low is not None and high is not None and low >= between[1] and high < between[2]
    return None if inside else between


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
        remaining = n_rows
        for start in range(0, files.height, THREADS * 2):
            frame = read(storage, dataset, files.slice(start, THREADS * 2), chosen, between=between)
            if predicate is not None:
                frame = frame.filter(predicate)
            if remaining is not None:
                frame = frame.head(remaining)
                remaining -= frame.height
            yield frame
            if remaining is not None and remaining <= 0:
                return

    return register_io_source(batches, schema=schema, validate_schema=False)


def current_files(snapshot: Snapshot, files: pl.DataFrame | None = None) -> pl.DataFrame:
    """Of a snapshot's files, or of some of them, those that hold the newest versions of rows."""
    chosen = snapshot.files if files is None else files
    return chosen.filter(chosen[IS_CURRENT]) if snapshot.dataset.history and chosen.height else chosen


def files_valid_at(files: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Of some files, those that may hold rows that were valid at a moment."""
    literal = instant_literal(moment)
    may_be_valid = pl.col(f"min.{KNOWN_AT}") <= literal
    if f"max.{SUPERSEDED_AT}" in files.columns:
        may_be_valid = may_be_valid & (pl.col(IS_CURRENT) | (pl.col(f"max.{SUPERSEDED_AT}") > literal))
    return files.filter(may_be_valid)


def valid_at(moment: datetime, *, history: bool) -> pl.Expr:
    """Whether a row was valid at a moment."""
    literal = instant_literal(moment)
    is_known = pl.col(KNOWN_AT) <= literal
    if not history:
        return is_known
    return is_known & (pl.col(SUPERSEDED_AT).is_null() | (pl.col(SUPERSEDED_AT) > literal))
