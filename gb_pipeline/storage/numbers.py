"""This module reads columns of several files into memory that is one piece per column, decimals as they are, as floats or as units.

The rows of a range are cut out of files that lie in its order. Every float is the one that is
nearest to the stored decimal. Which files and rows are wanted is known to `reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.market.moments import microseconds
from gb_pipeline.quality.runs import expand
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.arrays import integers, to_frame, to_series, to_views
from gb_pipeline.storage.assembly import Assembled, assemble
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.decoding import Between, Stretch, decode
from gb_pipeline.storage.layouts import known_layout
from gb_pipeline.storage.workers import leaf_pool

# Integers up to 2**53 are float64 numbers, and dividing one by a power of ten rounds once: to the float nearest to the decimal.
_EXACT_BELOW = 2.0**53
_DIGITS = 18
_NONE = np.empty(0, np.int64)
# Of files with more rows, those in a range are found first; from so many rows on, columns are shared between threads.
_LARGE, _WORTH_THREADS = 8_192, 200_000


class Numbers(Enum):
    """As what decimals of up to 18 digits are read: as they are, as the nearest floats, or as counts of the last digit (Int64)."""

    DECIMALS = "decimals"
    FLOATS = "floats"
    UNITS = "units"

    def schema(self, types: Mapping[str, pl.DataType]) -> pl.Schema:
        """The types of columns that are read so."""
        return pl.Schema({name: self.kind(kind) for name, kind in types.items()})

    def kind(self, kind: pl.DataType) -> pl.DataType:
        """The type of a column that is read so."""
        if not isinstance(kind, pl.Decimal) or self is Numbers.DECIMALS:
            return kind
        if self is Numbers.FLOATS:
            return pl.Float64()
        return pl.Int64() if kind.precision <= _DIGITS else kind


def read_numbers(
    storage: Storage,
    dataset: Dataset,
    rows: Sequence[Mapping[str, Any]],
    names: list[str],
    ranges: Sequence[Between | None],
    stretches: Sequence[Stretch | None],
    form: Numbers,
) -> tuple[pl.DataFrame, list[int], bool]:
    """Columns of some files, one after the other.

    Args:
        rows: of `Snapshot.files`.
        names: stored columns, at least one.
        ranges: of each file, where rows outside of it are not wanted.
        stretches: of each file, the rows that are wanted; None for all.
        form: of decimals.

    Returns:
        The rows, how many each file gave, and whether rows outside of the ranges are among them: those of files that are not in
        the order of the column.

    Raises:
        DamagedFile: a file is missing or not what was written.
    """
    stretches = list(stretches)
    exact = form is Numbers.DECIMALS
    texts = [
        name for name in names
        if pa.types.is_string(dataset.file_schema.field(name).type) and name not in dataset.distinct
    ]  # fmt: skip
    folder = storage.table_name(dataset.name)
    assembled = partial(assemble, storage.files, folder, integers=not exact, texts=texts)
    for place, (row, needed) in enumerate(zip(rows, ranges, strict=True)):
        if needed is not None and stretches[place] is None and row["rows"] > _LARGE and len(names) > 1:
            stretches[place] = _rows_within(assembled, storage, dataset, row, needed)
    together = assembled(rows, names, stretches)
    if together is not None:
        pieces = _pieces(together)
    else:
        decode_one = partial(decode, storage, dataset, names, threads=len(rows) == 1, integers=not exact)
        run = map if len(rows) == 1 else leaf_pool().map
        pieces = [_Piece(table, 0, table.num_rows) for table in run(decode_one, rows, ranges, stretches)]
    heights, uncut, runs = list[int](), False, list[_Piece]()
    for piece, needed in zip(pieces, ranges, strict=True):
        first, count, mixed = _cut(piece, needed)
        heights.append(count)
        uncut |= mixed
        runs.append(_Piece(piece.table, first, count))
    parts = [_Rows.of(list(group)) for _, group in groupby(runs, key=lambda run: id(run.table))]
    total = sum(heights)

    def convert(name: str) -> pa.Array:
        return _array(parts, name, dataset.file_schema.field(name).type, form, total)

    many = map if total < _WORTH_THREADS else leaf_pool().map
    return to_frame(pa.RecordBatch.from_arrays(list(many(convert, names)), names)), heights, uncut


def _rows_within(
    assembled: Callable[..., list[Assembled] | None],
    storage: Storage,
    dataset: Dataset,
    row: Mapping[str, Any],
    needed: Between,
) -> Stretch | None:
    """Rows of a large file among which are all of a range; None where it is not in the order of that, or not known to be.

    The times of all rows are read once in a process, and of everything else the rows that these tell.
    """
    name, start, end = needed
    if not isinstance(start, datetime):
        return None
    path = f"{storage.table_name(dataset.name)}/{row['path']}"
    layout = known_layout(path)
    edges = microseconds(start), microseconds(end)
    found = None if layout is None else layout.within(name, *edges)
    if found is None and (times := assembled([row], [name], [None])) is not None:
        table = times[0].table
        stamps = _sorted_stamps(table[name])
        layout = known_layout(path)
        if stamps is not None and layout is not None:
            layout.learn_order(name, stamps)
            found = layout.within(name, *edges)
    return found


class _Piece(NamedTuple):
    """Rows of a table: the first one, and how many."""

    table: pa.Table
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a table: a stretch, or their places."""

    table: pa.Table
    places: slice | npt.NDArray[np.int64]

    @classmethod
    def of(cls, runs: Sequence[_Piece]) -> Self:
        """Runs of rows of one table, behind each other."""
        table, first, _ = runs[0]
        if all(before.first + before.rows == run.first for before, run in pairwise(runs)):
            return cls(table, slice(first, runs[-1].first + runs[-1].rows))
        return cls(table, expand(np.array([run.first for run in runs]), np.array([run.rows for run in runs])))

    def array(self, name: str) -> pa.Array:
        """A column."""
        column = self.table[name]
        if pa.types.is_dictionary(column.type):
            column = column.unify_dictionaries()
        whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(self.places, slice):
            return whole.slice(self.places.start, self.places.stop - self.places.start)
        return whole.take(pa.array(self.places))

    def numbers(self, name: str) -> npt.NDArray[np.int64] | None:
        """The same of one whose numbers have 64 bits each and are all there; None of others."""
        column = self.table[name]
        if column.null_count or not (pa.types.is_int64(column.type) or pa.types.is_timestamp(column.type)):
            return None
        chunks = [integers(chunk) for chunk in column.chunks]
        return (chunks[0] if len(chunks) == 1 else np.concatenate([_NONE, *chunks]))[self.places]

    def is_most(self, name: str) -> bool:
        """Whether these rows are most of what lies in one piece of memory, which they may keep therefore."""
        column = self.table[name]
        if not isinstance(self.places, slice) or column.num_chunks != 1:
            return False
        size: int = column.chunk(0).buffers()[1].size
        return bool(16 * (self.places.stop - self.places.start) > size)


def _array(parts: Sequence[_Rows], name: str, kind: pa.DataType, form: Numbers, rows: int) -> pa.Array:
    """One column of all parts, behind each other."""
    narrow = form is not Numbers.DECIMALS and pa.types.is_decimal(kind) and kind.precision <= _DIGITS
    scale = kind.scale if form is Numbers.FLOATS and pa.types.is_decimal(kind) else None
    found = [part.numbers(name) for part in parts]
    units = [numbers for numbers in found if numbers is not None]
    if not units or len(units) < len(found):
        pieces = [_converted_array(part.array(name), scale, narrow=narrow) for part in parts]
        if pa.types.is_string(kind) and any(pa.types.is_dictionary(piece.type) for piece in pieces):
            return to_views(pieces[0]) if len(pieces) == 1 else pa.concat_arrays([piece.cast(kind) for piece in pieces])
        return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)
    if scale is None and len(parts) == 1 and parts[0].is_most(name):
        return parts[0].array(name)
    # A new piece of memory of Arrow's takes a third of what NumPy's does.
    buffer, begin = pa.allocate_buffer(8 * rows), 0
    for numbers in units:
        end = begin + len(numbers)
        if scale is None:
            np.frombuffer(buffer, np.int64)[begin:end] = numbers
        else:
            _divide(numbers, scale, np.frombuffer(buffer, np.float64)[begin:end])
        begin = end
    stored = pa.int64() if narrow else kind
    return pa.Array.from_buffers(stored if scale is None else pa.float64(), rows, [None, buffer])


def _converted_array(array: pa.Array, scale: int | None, *, narrow: bool) -> pa.Array:
    """A column that has nulls, or decimals of 128 bits, or no numbers."""
    if scale is not None and pa.types.is_int64(array.type):
        buffer = pa.allocate_buffer(8 * (array.offset + len(array)))
        _divide(integers(array), scale, np.frombuffer(buffer, np.float64)[array.offset :])
        return pa.Array.from_buffers(pa.float64(), len(array), [array.buffers()[0], buffer], offset=array.offset)
    if scale is not None:
        return to_series(array).cast(pl.Float64).to_arrow()
    return (
        to_series(array).to_physical().cast(pl.Int64).to_arrow()
        if narrow and pa.types.is_decimal(array.type)
        else array
    )


def _pieces(parts: Sequence[Assembled]) -> list[_Piece]:
    """What was decoded together, file by file."""
    return [_Piece(part.table, first, count) for part in parts for first, count in part.slices]


def _cut(piece: _Piece, needed: Between | None) -> tuple[int, int, bool]:
    """The rows of a range where they lie in its order, else all: the first, how many, and whether others are among them."""
    table, first, count = piece
    if needed is None or not count:
        return first, count, False
    name, start, end = needed
    stamps = _sorted_stamps(table[name].slice(first, count)) if isinstance(start, datetime) else None
    if stamps is None:
        return first, count, True
    low, high = stamps.searchsorted([microseconds(start), microseconds(end)]).tolist()
    return first + low, high - low, False


def _sorted_stamps(column: pa.ChunkedArray) -> npt.NDArray[np.int64] | None:
    """Timestamps as numbers, if they never fall and none is missing."""
    if not pa.types.is_timestamp(column.type) or column.null_count or not len(column):
        return None
    chunks = [integers(chunk) for chunk in column.chunks if len(chunk)]
    stamps = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    return None if (stamps[1:] < stamps[:-1]).any() else stamps


def _divide(units: npt.NDArray[np.int64], scale: int, floats: npt.NDArray[np.float64]) -> None:
    """Put the floats that are nearest to decimals, of which there are counts of the last digit, into memory of theirs."""
    if not len(units):
        return
    # Divided by one number, Polars multiplies with its inverse, which is off in the last bit for every ninth value.
    np.divide(units, 10.0**scale, out=floats)
    limit = _EXACT_BELOW / 10.0**scale
    if floats.max() >= limit or floats.min() <= -limit:
        large = np.flatnonzero(np.abs(floats) >= limit)
        floats[large] = _to_decimals(units[large], scale).cast(pl.Float64).to_numpy()


def decimals_of(units: pl.Series, kind: pl.Decimal) -> pl.Series:
    """The decimals of which a series has counts of the last digit, none of them null."""
    return _to_decimals(units.to_numpy(), kind.scale).alias(units.name)


def _to_decimals(units: npt.NDArray[np.int64], scale: int) -> pl.Series:
    """Decimals of 128 bits, of which the upper half is the sign."""
    words = np.empty((len(units), 2), np.int64)
    words[:, 0] = units
    words[:, 1] = units >> 63
    return to_series(pa.Array.from_buffers(pa.decimal128(_DIGITS, scale), len(units), [None, pa.py_buffer(words)]))


def converted(frame: pl.DataFrame, form: Numbers) -> pl.DataFrame:
    """The same of rows whose decimals were read already."""
    kinds = form.schema(frame.schema)
    if kinds == frame.schema:
        return frame
    return pl.DataFrame([_converted(column, kinds[column.name]) for column in frame.iter_columns()])


def _converted(column: pl.Series, kind: pl.DataType) -> pl.Series:
    if column.dtype == kind:
        return column
    if isinstance(kind, pl.Int64):
        return column.to_physical().cast(pl.Int64)
    scale, precision = column.dtype.scale, column.dtype.precision  # type: ignore[attr-defined]
    if precision > _DIGITS or column.null_count():
        return column.cast(pl.Float64)
    buffer = pa.allocate_buffer(8 * len(column))
    floats: npt.NDArray[np.float64] = np.frombuffer(buffer, np.float64)
    begin = 0
    for chunk in column.get_chunks():
        array = chunk.to_arrow()
        if array.type != pa.decimal128(precision, scale):
            return column.cast(pl.Float64)
        # Decimals of 128 bits that are known to fit into 64: of each the lower half.
        halves = np.frombuffer(array.buffers()[1], np.int64)[2 * array.offset : 2 * (array.offset + len(array)) : 2]
        _divide(halves, scale, floats[begin : begin + len(array)])
        begin += len(array)
    return to_series(pa.Array.from_buffers(pa.float64(), len(column), [None, buffer]), column.name)
