"""Numbers of other tools' files in exact types: integers of a fraction, and floats as the shortest text that reads back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.market.schema import Precision

_STANDARD = Precision.STANDARD
_LARGEST = 10 ** _STANDARD.digits[0]


def divide_exactly(integers: npt.NDArray[Any], decimals: int, *, missing: int | None = None) -> pl.Series:
    """Integers of `10 ** -decimals` as decimals.

    Args:
        integers: of any type of 64 bits and less.
        decimals: 3 where 12345 means 12.345.
        missing: the integer that stands for no number.

    Returns:
        `Decimal(18,8)` where every number has one, which needs no further reading; else `Decimal(38,decimals)`. Null where missing.

    Example:
        >>> divide_exactly(np.array([12345, 7]), 3).to_list()
        [Decimal('12.34500000'), Decimal('0.00700000')]
    """
    absent = np.zeros(len(integers), dtype=bool) if missing is None else integers == missing
    values = np.where(absent, 0, integers)
    scale = _STANDARD.digits[1]
    if values.dtype == np.uint64 and values.size and int(values.max()) > np.iinfo(np.int64).max:
        # An absurd number stays what it is, so that it is refused as such.
        return pl.Series(
            [None if gone else str(int(n)) for gone, n in zip(absent, integers, strict=True)], dtype=pl.String
        )
    values = values.astype(np.int64)
    largest = max(int(values.max()), -int(values.min())) if values.size else 0
    if decimals <= scale and largest * 10 ** (scale - decimals) < _LARGEST:
        decimal = from_integers(values * 10 ** (scale - decimals), _STANDARD.digits)
    elif decimals > scale and largest < _LARGEST and not (values % 10 ** (decimals - scale)).any():
        decimal = from_integers(values // 10 ** (decimals - scale), _STANDARD.digits)
    else:
        decimal = from_integers(values, (38, decimals))
    if not absent.any():
        return decimal
    return pl.DataFrame({"n": decimal, "is_there": ~absent}).select(pl.when("is_there").then("n")).to_series()


def from_integers(integers: npt.NDArray[np.int64], digits: tuple[int, int]) -> pl.Series:
    """Unscaled integers as decimals of this precision and scale."""
    pairs = np.empty((len(integers), 2), dtype="<i8")
    pairs[:, 0] = integers
    pairs[:, 1] = np.where(integers < 0, -1, 0)
    return from_halves(pairs.tobytes(), len(integers), digits)


def from_halves(body: bytes, count: int, digits: tuple[int, int]) -> pl.Series:
    """Unscaled little-endian integers of 128 bits as decimals."""
    array = pa.Array.from_buffers(pa.decimal128(*digits), count, [None, pa.py_buffer(body)])
    return pl.Series(pl.from_arrow(array))


def narrow(decimals: pl.Series) -> pl.Series:
    """The same numbers as `Decimal(18,8)` where every one of them has such a form; else unchanged."""
    narrowed = decimals.cast(_STANDARD.decimal, strict=False)
    same = narrowed.null_count() == decimals.null_count() and (narrowed.cast(decimals.dtype) == decimals).all()
    return narrowed if same else decimals


def shortest_text(floats: pl.Series) -> pl.Series:
    """Floats as the shortest text that reads back as the same float; null for what is no number.

    Example:
        >>> shortest_text(pl.Series([0.1, float("nan")])).to_list()
        ['0.1', None]
    """
    return floats.fill_nan(None).cast(pl.String)
