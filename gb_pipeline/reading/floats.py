"""Decimals as floats, for backtests: each the float that is nearest to the decimal, lazily, or at once and quickly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.market.schema import Precision

_STANDARD = Precision.STANDARD.decimal
_IN_MEMORY = pa.decimal128(_STANDARD.precision or 18, _STANDARD.scale)
_UNIT = 10.0**_STANDARD.scale
# Integers up to 2**53 are float64 numbers, and dividing one by 1e8 rounds once: to the float nearest to the decimal.
_EXACT_BELOW = 2.0**53 / _UNIT


def to_floats(frame: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Every decimal column as Float64, each value the float that is nearest to the stored decimal."""
    return frame.with_columns(pl.col([name for name, kind in schema.items() if kind.is_decimal()]).cast(pl.Float64))


def as_floats(frame: pl.DataFrame) -> pl.DataFrame:
    """The same at once: stored decimals are 64-bit integers, which are divided once, into memory that Arrow has at hand."""
    return pl.DataFrame([_nearest(column) if column.dtype.is_decimal() else column for column in frame.iter_columns()])


def _nearest(column: pl.Series) -> pl.Series:
    if column.dtype != _STANDARD or column.null_count():
        return column.cast(pl.Float64)
    buffer = pa.allocate_buffer(8 * len(column))
    floats: npt.NDArray[np.float64] = np.frombuffer(buffer, np.float64)
    begin = 0
    for integers in _integers(column):
        end = begin + len(integers)
        # Divided by one number, Polars multiplies with its inverse, which is off in the last bit for every ninth value.
        np.divide(integers, _UNIT, out=floats[begin:end])
        begin = end
    if begin != len(column) or (begin and (floats.max() >= _EXACT_BELOW or floats.min() <= -_EXACT_BELOW)):
        return column.cast(pl.Float64)
    array = pa.Array.from_buffers(pa.float64(), len(column), [None, buffer])
    return pl.Series(_Exported(array)).alias(column.name)


class _Exported:
    """An array as any library has it: without a copy, as of Arrow's, and without PyArrow's functions, as Polars asks for them."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        exported: tuple[object, object] = self._array.__arrow_c_array__(requested_schema)
        return exported


def _integers(column: pl.Series) -> Iterator[npt.NDArray[np.int64]]:
    """Decimals of 128 bits that are known to fit into 64: of each the lower half. Nothing where they lie otherwise."""
    for chunk in column.get_chunks():
        array = chunk.to_arrow()
        if array.type != _IN_MEMORY:
            return
        halves = np.frombuffer(array.buffers()[1], np.int64)
        yield halves[2 * array.offset : 2 * (array.offset + len(array)) : 2]
