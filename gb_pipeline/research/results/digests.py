"""This module hashes frames so that equal rows of equal types have equal digests, whatever lies around them in memory."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_WIDTHS = {1: "<i1", 2: "<i2", 4: "<i4", 8: "<i8"}


def frame_digest(frame: pl.DataFrame) -> str:
    """SHA-256 of the names, types and values of all columns, in their order.

    Args:
        frame: columns of numbers, decimals, text, dates and datetimes. Every NaN is the same, and 0.0 is not -0.0.

    Example:
        >>> frame_digest(pl.DataFrame({"x": [1.0]})) == frame_digest(pl.DataFrame({"x": [1]}))
        False
    """
    digest = hashlib.sha256()
    for column in frame.iter_columns():
        nulls, length = column.null_count(), len(column)
        digest.update(f"{column.name}\0{column.dtype}\0{length}\0{nulls}\0".encode())
        missing = np.zeros(0, bool)
        if nulls:
            missing = column.is_null().to_numpy() if nulls < length else np.ones(length, bool)
            digest.update(np.packbits(missing).tobytes())
        if nulls == length and isinstance(column.dtype, pl.Decimal | pl.Float64):
            # One half of most numbers: nothing is there to be converted.
            digest.update(bytes(length * (16 if isinstance(column.dtype, pl.Decimal) else 8)))
            continue
        array = column.rechunk().to_arrow()
        if (
            pa.types.is_large_string(array.type)
            or pa.types.is_string_view(array.type)
            or pa.types.is_string(array.type)
        ):
            _update_text(digest, array)
        elif len(array):
            digest.update(_words(array, missing))
    return digest.hexdigest()


def _update_text(digest: hashlib._Hash, array: pa.Array) -> None:
    texts = [text or "" for text in array.to_pylist()]
    digest.update(np.array([len(text.encode()) for text in texts], "<i8").tobytes())
    digest.update("".join(texts).encode())


def _words(array: pa.Array, missing: npt.NDArray[np.bool_]) -> bytes:
    """Values of a fixed width, those that are missing as zero."""
    width = array.type.bit_width // 8
    words = max(1, width // 8)
    values = np.frombuffer(array.buffers()[1], _WIDTHS[min(width, 8)])[
        array.offset * words : (array.offset + len(array)) * words
    ]
    values = values.reshape(-1, words)
    if pa.types.is_floating(array.type):
        numbers = values.view(f"<f{width}").copy()
        numbers[np.isnan(numbers)] = np.nan
        values = numbers.view(values.dtype)
    if len(missing):
        values = values.copy()
        values[missing] = 0
    return values.tobytes()
