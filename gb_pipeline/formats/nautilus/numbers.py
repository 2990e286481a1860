"""Prices and quantities as NautilusTrader's catalogs have them, exactly.

Fixed-size binary of 8 bytes counts 10^-9, of 16 bytes 10^-16, both little-endian; newer catalogs write `Decimal128(38,16)`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.numbers import divide_exactly, narrow

_DECIMALS = {8: 9, 16: 16}


def read_column(column: pa.Array, place: str) -> pl.Series:
    """Decimals of a column.

    Raises:
        FormatRefused: it is of none of the known types.
    """
    kind = column.type
    if pa.types.is_decimal(kind):
        return narrow(pl.Series(pl.from_arrow(column)))
    if not pa.types.is_fixed_size_binary(kind) or kind.byte_width not in _DECIMALS or column.null_count:
        raise FormatRefused(f"{place} is {kind}, no price of a catalog", fix="write it again with NautilusTrader")
    width = kind.byte_width
    body = memoryview(column.buffers()[1])[column.offset * width : (column.offset + len(column)) * width]
    if width == 8:
        return divide_exactly(np.frombuffer(body, dtype="<i8"), _DECIMALS[width])
    whole = pa.Array.from_buffers(pa.decimal128(38, _DECIMALS[width]), len(column), [None, pa.py_buffer(body)])
    return narrow(pl.Series(pl.from_arrow(whole)))
