"""This module reads columns of several files into memory that is one piece per column, decimals as floats or as whole numbers.

A file's numbers are put into their place as soon as they are decoded, while they are still at hand. Every float is the one that is
nearest to the stored decimal. Which files and rows are wanted is known to `reading`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.market.moments import microseconds
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.arrays import integers, to_series
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.decoding import Between, Stretch, decode
from gb_pipeline.storage.workers import leaf_pool

# Integers up to 2**53 are float64 numbers, and dividing one by a power of ten rounds once: to the float nearest to the decimal.
_EXACT_BELOW = 2.0**53
_DIGITS = 18


class Numbers(Enum):
    """As what decimals of up to 18 digits are read: as they are, as the nearest floats, or as counts of the last digit (Int64)."""

    DECIMALS = "decimals"
    FLOATS = "floats"
    UNITS = "units"

    def schema(self, types: Mapping[str, pl.DataType]) -> pl.Schema:
        """The types of columns that are read so."""
        return pl.Schema({name: self._kind(kind) for name, kind in types.items()})

    def _kind(self, kind: pl.DataType) -> pl.DataType:
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
        form: floats or units.

    Returns:
        The rows, how many each file gave, and whether rows outside of the ranges are among them: those of files that are not in
        the order of the column.

    Raises:
        DamagedFile: a file is missing or not what was written.
    """
    decode_one = partial(decode, storage, dataset, names, threads=len(rows) == 1, integers=True)
    run = map if len(rows) == 1 else leaf_pool().map

    def cut_one(place: int) -> tuple[pa.Table, bool]:
        return _cut(decode_one(rows[place], ranges[place], stretches[place]), ranges[place])

    # How many rows these give is known afterwards only.
    to_cut = [place for place, needed in enumerate(ranges) if needed is not None]
    cut = dict(zip(to_cut, run(cut_one, to_cut), strict=True))
    heights = [
        cut[place][0].num_rows if place in cut else _count(rows[place], stretches[place]) for place in range(len(rows))
    ]
    begins = [0, *accumulate(heights)]
    columns = [_Column(name, dataset.file_schema.field(name).type, begins, form) for name in names]

    def fill(place: int) -> None:
        table = cut[place][0] if place in cut else decode_one(rows[place], None, stretches[place])
        for column in columns:
            column.put(place, table[column.name])

    for _ in run(fill, range(len(rows))):
        pass
    return pl.DataFrame([column.series() for column in columns]), heights, any(uncut for _, uncut in cut.values())


def _count(row: Mapping[str, Any], stretch: Stretch | None) -> int:
    return int(row["rows"]) if stretch is None else stretch[1] - stretch[0]


def _cut(table: pa.Table, needed: Between | None) -> tuple[pa.Table, bool]:
    """The rows of a range where they lie in its order, else all; and whether others are among them."""
    if needed is None:
        return table, False
    if not table.num_rows:
        return table, False
    name, start, end = needed
    column = table[name]
    if not (pa.types.is_timestamp(column.type) and isinstance(start, datetime)) or column.null_count:
        return table, True
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    stamps = np.concatenate([integers(chunk) for chunk in chunks]) if len(chunks) != 1 else integers(chunks[0])
    if len(stamps) > 1 and (stamps[1:] < stamps[:-1]).any():
        return table, True
    first, last = np.searchsorted(stamps, [microseconds(start), microseconds(end)]).tolist()
    return table.slice(first, last - first), False


class _Column:
    """One column of all files: numbers of 64 bits lie in one piece, whatever cannot is kept by file."""

    def __init__(self, name: str, kind: pa.DataType, begins: Sequence[int], form: Numbers) -> None:
        """Memory for all rows is taken at once; a new one of Arrow's takes a third of what NumPy's does."""
        self.name = name
        self._begins = begins
        self._scale = kind.scale if form is Numbers.FLOATS and pa.types.is_decimal(kind) else None
        in_place = pa.types.is_timestamp(kind) or pa.types.is_int64(kind)
        if pa.types.is_decimal(kind) and kind.precision <= _DIGITS:
            in_place, kind = True, pa.int64()
        self._kind = kind if self._scale is None else pa.float64()
        self._buffer = pa.allocate_buffer(8 * begins[-1]) if in_place else None
        self._pieces: dict[int, pl.Series] = {}

    def put(self, place: int, column: pa.ChunkedArray) -> None:
        """Take what one file has of it."""
        if self._buffer is None or column.null_count or pa.types.is_decimal(column.type):
            self._pieces[place] = self._piece(column)
            return
        begin = self._begins[place]
        for chunk in column.chunks:
            if len(chunk):
                units, end = integers(chunk), begin + len(chunk)
                if self._scale is None:
                    np.frombuffer(self._buffer, np.int64)[begin:end] = units
                else:
                    _divide(units, self._scale, np.frombuffer(self._buffer, np.float64)[begin:end])
                begin = end

    def _piece(self, column: pa.ChunkedArray) -> pl.Series:
        array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if self._scale is not None and pa.types.is_int64(array.type):
            buffer = pa.allocate_buffer(8 * (array.offset + len(array)))
            _divide(integers(array), self._scale, np.frombuffer(buffer, np.float64)[array.offset :])
            return to_series(
                pa.Array.from_buffers(pa.float64(), len(array), [array.buffers()[0], buffer], offset=array.offset)
            )
        series = to_series(array)
        if self._scale is not None:
            return series.cast(pl.Float64)
        if pa.types.is_int64(self._kind) and series.dtype.is_decimal():
            return series.to_physical().cast(pl.Int64)
        return series

    def series(self) -> pl.Series:
        """All of it, in the order of the files."""
        if self._buffer is not None and not self._pieces:
            return to_series(self._stored(), self.name)
        pieces = [
            self._pieces[place] if place in self._pieces else to_series(self._stored().slice(begin, end - begin))
            for place, (begin, end) in enumerate(pairwise(self._begins))
        ]
        return pl.concat(pieces, rechunk=False).alias(self.name)

    def _stored(self) -> pa.Array:
        return pa.Array.from_buffers(self._kind, self._begins[-1], [None, self._buffer])


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
