"""This module hands arrays of NumPy and Arrow to Polars without a copy, and without what Polars would import for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

# Bytes of a view; of texts, so many lie in it, and of longer ones the first.
_VIEW, _INLINE, _PREFIX = 16, 12, 4


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


def to_views(array: pa.DictionaryArray) -> pa.Array:
    """Text of a dictionary written out, as views: 16 bytes a row are copied, and no text."""
    values = array.dictionary
    data = values.buffers()[2] or pa.py_buffer(b"")
    text, sizes = memoryview(data), [len(value.as_buffer()) if value.is_valid else 0 for value in values]
    views = np.zeros((len(values) + 1, _VIEW), np.uint8)
    ends = np.frombuffer(values.buffers()[1], np.int32)[values.offset : values.offset + len(values) + 1].tolist()
    for place, (begin, size) in enumerate(zip(ends, sizes, strict=False)):
        kept = min(size, _INLINE if size <= _INLINE else _PREFIX)
        views[place, :4] = np.array([size], "<i4").view(np.uint8)
        views[place, 4 : 4 + kept] = np.frombuffer(text[begin : begin + kept], np.uint8)
        if size > _INLINE:
            views[place, 8:] = np.array([0, begin], "<i4").view(np.uint8)
    codes = np.frombuffer(array.indices.buffers()[1], np.int32)[array.offset : array.offset + len(array)]
    valid = None
    if array.null_count:
        valid = array.is_valid()
        codes = np.where(valid.to_numpy(zero_copy_only=False), codes, len(values))
    rows = views.view(np.complex128).ravel()[codes]
    buffers = [None if valid is None else valid.buffers()[1], pa.py_buffer(rows), data]
    return pa.Array.from_buffers(pa.string_view(), len(array), buffers)


def integers(array: pa.Array) -> npt.NDArray[np.int64]:
    """An Arrow array of 64-bit numbers without a copy; where one is null, it may be any."""
    if not len(array):
        return np.empty(0, np.int64)
    return np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array)]
