"""This module hashes frames so that equal rows of equal types have equal digests, whatever lies around them in memory."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import polars as pl


def frame_digest(frame: pl.DataFrame) -> str:
    """SHA-256 of the names, types and values of all columns, in their order.

    Args:
        frame: columns of numbers, decimals, text, booleans, dates and datetimes. Every NaN is the same, and 0.0 is not -0.0.

    Example:
        >>> frame_digest(pl.DataFrame({"x": [1.0]})) == frame_digest(pl.DataFrame({"x": [1]}))
        False
    """
    digest = hashlib.sha256()
    for column in frame.iter_columns():
        digest.update(f"{column.name}\0{column.dtype}\0{len(column)}\0".encode())
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        for part in _bytes(column):
            digest.update(part)
    return digest.hexdigest()


def _bytes(column: pl.Series) -> list[bytes]:
    if column.dtype == pl.String:
        lengths = column.str.len_bytes().fill_null(0).to_numpy().astype("<i8")
        return [lengths.tobytes(), "".join(column.fill_null("").to_list()).encode()]
    if column.dtype.is_float():
        floats = column.fill_null(0.0).cast(pl.Float64).to_numpy().copy()
        floats[np.isnan(floats)] = np.nan
        return [floats.astype("<f8").tobytes()]
    if isinstance(column.dtype, pl.Decimal):
        words = _decimal_words(column)
        return [words.tobytes()]
    return [column.to_physical().cast(pl.Int64).fill_null(0).to_numpy().astype("<i8").tobytes()]


def _decimal_words(column: pl.Series) -> npt.NDArray[np.int64]:
    """Decimals as pairs of 64-bit words, null as zero."""
    array = column.rechunk().to_arrow()
    words = np.frombuffer(array.buffers()[1], "<i8").reshape(-1, 2)[array.offset : array.offset + len(array)].copy()
    words[column.is_null().to_numpy()] = 0
    return words
