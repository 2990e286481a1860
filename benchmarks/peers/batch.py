"""Rows on their way between the processes: an Arrow file of whole numbers at 1e-8, and what a write has to know about them.

This runs in the peers' environment as well as in ours, so it knows NumPy and Arrow only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

PRICES = ("open", "high", "low", "close")
NUMBERS = (*PRICES, "volume")
UNIT = 1e8  # a number of 1.0 is stored as this many
# `timestamp` is microseconds of UTC: the bar's open.
SCHEMA = pa.schema(
    [
        ("symbol", pa.dictionary(pa.int32(), pa.string())),
        ("timestamp", pa.int64()),
        *((name, pa.int64()) for name in NUMBERS),
    ]
)


@dataclass(frozen=True)
class Batch:
    """What one write stores: all rows of some symbols in a window.

    Attributes:
        rows: columns of `SCHEMA`, sorted by symbol and timestamp.
        resolution: `1m` or `1d`.
        start, end: the window, half-open, aware.
    """

    rows: pa.Table
    resolution: str
    start: datetime
    end: datetime

    def by_symbol(self) -> dict[str, dict[str, Any]]:
        """Symbol to its columns as NumPy arrays of int64, in the order of the rows."""
        symbols = self.rows["symbol"].combine_chunks()
        codes = symbols.indices.to_numpy()
        starts = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
        columns = {name: self.rows[name].to_numpy() for name in ("timestamp", *NUMBERS)}
        return {
            symbols[int(first)].as_py(): {name: values[first:last] for name, values in columns.items()}
            for first, last in pairwise(starts)
        }


def floats(units: Any) -> Any:
    """The nearest float64 of each whole number at 1e-8."""
    return units / UNIT


def units(values: Any) -> Any:
    """Back to whole numbers at 1e-8: exact for floats of up to 15 digits."""
    return np.rint(np.asarray(values, dtype=np.float64) * UNIT).astype(np.int64)


def table_of(symbols: Any, timestamps: Any, numbers: dict[str, Any]) -> pa.Table:
    """A table of `SCHEMA` from arrays of equal length."""
    coded = pa.array(symbols) if not isinstance(symbols, pa.Array | pa.ChunkedArray) else symbols
    columns = {"symbol": coded, "timestamp": timestamps, **{name: numbers[name] for name in NUMBERS}}
    return pa.table(columns).cast(SCHEMA)


def table_by_symbol(parts: dict[str, dict[str, Any]]) -> pa.Table:
    """The inverse of `Batch.by_symbol`."""
    names = list(parts)
    lengths = [len(part["timestamp"]) for part in parts.values()]
    codes = pa.array(np.repeat(np.arange(len(names), dtype=np.int32), lengths))
    symbols = pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))
    columns = {name: np.concatenate([part[name] for part in parts.values()]) for name in ("timestamp", *NUMBERS)}
    return table_of(symbols, columns["timestamp"], columns)


def save(rows: pa.Table, path: Path) -> None:
    """Write rows as an Arrow file."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(rows.cast(SCHEMA).unify_dictionaries())


def load(path: Path) -> pa.Table:
    """Read such a file into memory."""
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
