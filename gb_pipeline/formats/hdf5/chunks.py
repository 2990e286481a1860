"""Rows of an HDF5 array, also of one that PyTables compressed with Blosc, which HDF5's own library does not know."""

from __future__ import annotations

from typing import Any

import numpy as np

from gb_pipeline.errors import FormatRefused

# Numbers under which filters are registered with the HDF Group.
_BLOSC = 32001
_OWN = {1: "zlib", 2: "shuffle", 3: "fletcher32", 6: "scaleoffset"}
_OTHERS = {305: "LZO", 307: "bzip2", 32000: "LZF", 32015: "Zstandard", 32026: "Blosc2"}


def read_rows(dataset: Any, start: int, stop: int, place: object) -> Any:
    """Rows `[start, stop)`, or as many as there are.

    Raises:
        FormatRefused: it is compressed by something that is not read, or a chunk is damaged.
    """
    stop = min(stop, dataset.shape[0])
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    if all(number in _OWN for number in filters):
        return dataset[start:stop]
    if filters != [_BLOSC] or any(a != b for a, b in zip(dataset.chunks[1:], dataset.shape[1:], strict=True)):
        names = ", ".join(_OTHERS.get(number, f"filter {number}") for number in filters if number not in _OWN)
        raise FormatRefused(
            f"{place}: it is compressed by {names}, which is not read",
            fix='write it again with complib="blosc" or "zlib"',
        )
    length = dataset.chunks[0]
    first = start // length * length
    parts = [_decode(dataset, row, place) for row in range(first, max(stop, first + 1), length)]
    return np.concatenate(parts)[start - first : stop - first]


def _decode(dataset: Any, row: int, place: object) -> Any:
    from numcodecs.blosc import decompress

    mask, body = dataset.id.read_direct_chunk((row, *[0] * (len(dataset.shape) - 1)))
    size = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
    try:
        if (
            mask == 0
            and int.from_bytes(body[4:8], "little") == size
            and int.from_bytes(body[12:16], "little") == len(body)
        ):
            body = decompress(body)
        return np.frombuffer(body, dtype=dataset.dtype).reshape(dataset.chunks)
    except (RuntimeError, ValueError) as error:
        raise FormatRefused(
            f"{place}: the chunk of row {row:,} is damaged: {error}", fix="get the file again"
        ) from None
