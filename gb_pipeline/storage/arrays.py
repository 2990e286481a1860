"""This module hands arrays of NumPy and Arrow to Polars without a copy, and without what Polars would import for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa


class Exported:
    """An array as any library has it, without PyArrow's functions, as Polars asks for them where it knows that it is Arrow's."""

    def __init__(self, array: pa.Array | pa.RecordBatch) -> None:
        """The array, or a batch of them."""
        self._array = array

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """As the protocol demands."""
        exported: tuple[object, object] = self._array.__arrow_c_array__(requested_schema)
        return exported


def to_series(array: pa.Array, name: str = "") -> pl.Series:
    """An Arrow array as a series."""
    series = pl.Series(Exported(array))
    return series.alias(name) if name else series


def to_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Columns of Arrow as a frame at once, which takes a quarter of what a series for each does."""
    return pl.DataFrame(Exported(batch))


def to_places(places: npt.NDArray[Any]) -> pl.Series:
    """Numbers of rows as Polars takes them: an array of NumPy's makes it import NumPy's masked arrays, 15 ms of a first read."""
    numbers = np.ascontiguousarray(places, np.uint32)
    return to_series(pa.Array.from_buffers(pa.uint32(), len(numbers), [None, pa.py_buffer(numbers)]))


def integers(array: pa.Array) -> npt.NDArray[np.int64]:
    """An Arrow array of 64-bit numbers without a copy; where one is null, it may be any."""
    if not len(array):
        return np.empty(0, np.int64)
    return np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array)]
