"""The answers of contenders as rows that can be compared: whole numbers at 1e-8 from whatever a library returns.

This runs in the peers' environment as well as in ours, so it knows NumPy and Arrow only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.peers.batch import units


def whole(values: Any) -> pa.Array:
    """Numbers at 1e-8 of floats."""
    return pa.array(units(values))


def rows(symbols: Any, stamps: Any, numbers: Mapping[str, Any]) -> pa.Table:
    """Rows of all symbols; `stamps` are datetimes of NumPy, or microseconds."""
    when = np.asarray(stamps)
    when = when.astype("datetime64[us]").astype(np.int64) if when.dtype.kind == "M" else when.astype(np.int64)
    if isinstance(symbols, str):
        symbols = [symbols] * len(when)
    return pa.table(
        {"symbol": pa.array(symbols, pa.string()), "timestamp": when}
        | {name: whole(values) for name, values in numbers.items()}
    )


def extents(symbols: Sequence[str], bars: Any, first: Any, last: Any) -> pa.Table:
    """How many bars each symbol has, and its first and last timestamp."""
    edges = {name: np.asarray(value).astype("datetime64[us]").astype(np.int64) for name, value in
             (("first", first), ("last", last))}  # fmt: skip
    return pa.table({"symbol": list(symbols), "bars": np.asarray(bars, dtype=np.int64), **edges})
