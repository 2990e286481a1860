"""Columns of a bcolz table on disk, read a chunk at a time.

A column is a folder: `meta/sizes` and `meta/storage` are JSON, and `data/__0.blp`, `__1.blp` and so on hold `chunklen` values each
behind 16 bytes of a bloscpack header. The library bcolz itself is no longer kept; Blosc is.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gb_pipeline.errors import FormatRefused

_MAGIC, _HEADER, _BLOSC_HEADER = b"blpk", 16, 16
_DTYPES = {"uint32", "uint64", "int32", "int64", "float32", "float64"}
# A chunk of zipline has at most some million values; a damaged or hostile header must not ask for all memory.
_MOST_VALUES = 1 << 26


class Table:
    """A folder with a folder for each column.

    Args:
        folder: of the table.
        columns: those that it must have.

    Raises:
        FormatRefused: a column is missing, or they are not equally long.
    """

    def __init__(self, folder: Path, columns: tuple[str, ...]) -> None:
        """Read what the columns say about themselves."""
        self.folder = folder
        self.columns = {name: Column(folder / name) for name in columns}
        lengths = {name: column.length for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise _damaged(folder, f"its columns have {', '.join(f'{n:,} {name}' for name, n in lengths.items())}")
        self.length = next(iter(lengths.values()))

    def read(self, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """Rows `[start, stop)` of every column."""
        return {name: column.read(start, stop) for name, column in self.columns.items()}


class Column:
    """One column; the chunk that was read last is kept."""

    def __init__(self, folder: Path) -> None:
        """Read its size and type."""
        self.folder = folder
        sizes, storage = read_json(folder / "meta" / "sizes"), read_json(folder / "meta" / "storage")
        try:
            self.length, self.chunk = int(sizes["shape"][0]), int(storage["chunklen"])
            name = str(storage["dtype"])
        except (KeyError, IndexError, TypeError, ValueError):
            raise _damaged(folder / "meta", "it does not say how many values of which type there are") from None
        if name not in _DTYPES or self.length < 0 or not 0 < self.chunk <= _MOST_VALUES:
            raise _damaged(
                folder / "meta", f"{self.length} values of {name[:20]} in chunks of {self.chunk} are not believable"
            )
        self.dtype = np.dtype(name).newbyteorder("<")
        self._decoded = lru_cache(maxsize=1)(self._decode)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Values `[start, stop)`."""
        if not 0 <= start <= stop <= self.length:
            raise _damaged(self.folder, f"rows {start:,} to {stop:,} were wanted and there are {self.length:,}")
        if start == stop:
            return np.empty(0, dtype=self.dtype)
        first, last = start // self.chunk, (stop - 1) // self.chunk
        parts = [self._decoded(number) for number in range(first, last + 1)]
        return np.concatenate(parts)[start - first * self.chunk : stop - first * self.chunk]

    def _decode(self, number: int) -> npt.NDArray[Any]:
        from numcodecs.blosc import decompress

        path = self.folder / "data" / f"__{number}.blp"
        try:
            body = path.read_bytes()
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from None
        values = min(self.chunk, self.length - number * self.chunk)
        size = self.dtype.itemsize
        if body[:4] != _MAGIC or len(body) < _HEADER + _BLOSC_HEADER:
            raise _damaged(path, "it does not begin as a bcolz chunk does")
        unpacked, packed = (int.from_bytes(body[at : at + 4], "little") for at in (_HEADER + 4, _HEADER + 12))
        if packed != len(body) - _HEADER:
            raise _damaged(path, f"it has {len(body) - _HEADER:,} bytes of data and says {packed:,}")
        if not values * size <= unpacked <= self.chunk * size:
            raise _damaged(path, f"it unpacks to {unpacked:,} bytes, and {values:,} values of {size} bytes are needed")
        try:
            return np.frombuffer(decompress(body[_HEADER:]), dtype=self.dtype)[:values]
        except (RuntimeError, ValueError) as error:
            raise _damaged(path, str(error)) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        FormatRefused: there is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from None
    except (UnicodeDecodeError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(value, dict):
        raise _damaged(path, "it is no JSON object")
    return value


def _damaged(place: Path, why: str) -> FormatRefused:
    return FormatRefused(f"{place}: {why}", fix="copy the bundle again from where it was made, or ingest it again")
