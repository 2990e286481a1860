"""This module reads rows out of chosen data files, at once or lazily, and verifies every byte that it decodes.

Columns and time ranges are pushed down. Files are chosen in `snapshot` and decoded in `decoding`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gb_pipeline.market.moments import instant_literal, microseconds
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import IS_CURRENT, KNOWN_AT, SUPERSEDED_AT, Dataset
from gb_pipeline.storage.decoding import Between, Stretch, decode, decode_together
from gb_pipeline.storage.numbers import Numbers, read_numbers
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.workers import THREADS, leaf_pool

FILE, ROW = "file", "row"
# So many files of at most so many bytes in the mean are decoded together, at most so many at once.
_MANY, _SMALL_MEAN, _AT_ONCE = 4, 64 << 10, 64


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
    types = numbers.schema(dataset.polars)
    schema = pl.Schema({name: types[name] for name in names})
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

    if numbers is Numbers.DECIMALS or not names:
        together = bool(names) and stretches is None and _worth_decoding_together(rows)
        frame, heights = _read_files(storage, dataset, rows, names, ranges, pieces, together=together)
    else:
        frame, heights, uncut = read_numbers(storage, dataset, rows, names, ranges, pieces, numbers)
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


def _read_files(
    storage: Storage,
    dataset: Dataset,
    rows: list[dict[str, Any]],
    names: list[str],
    ranges: list[Between | None],
    stretches: list[Stretch | None],
    *,
    together: bool,
) -> tuple[pl.DataFrame, list[int]]:
    """Columns of some files, one after the other, and how many rows each has; ranges are only used to read less."""
    read_one = partial(decode, storage, dataset, names, threads=len(rows) == 1)
    frames, heights = [], list[int]()
    for start in range(0, len(rows), _AT_ONCE):
        batch = slice(start, start + _AT_ONCE)
        frame = decode_together(storage, dataset, rows[batch], names) if together else None
        if frame is not None:
            heights += [row["rows"] for row in rows[batch]]
        else:
            run = map if len(rows) == 1 else leaf_pool().map
            tables = list(run(read_one, rows[batch], ranges[batch], stretches[batch]))
            heights += [table.num_rows for table in tables]
            frame = _to_frame(tables, names)
        frames.append(frame)
    return (frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=False)), heights


def _worth_decoding_together(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some files are many and small."""
    return len(rows) >= _MANY and sum(row["size"] for row in rows) <= len(rows) * _SMALL_MEAN


def _to_frame(tables: list[pa.Table], names: list[str]) -> pl.DataFrame:
    if not names:
        return pl.DataFrame(schema={}, height=sum(table.num_rows for table in tables))
    frame = pl.from_arrow(tables[0] if len(tables) == 1 else pa.concat_tables(tables), rechunk=False)
    assert isinstance(frame, pl.DataFrame), "a table becomes a frame"
    return frame
