"""A PNG with a palette, from rows of bytes: a heat map of thousands of cells is a few kilobytes, and needs no library to draw."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_COLOURS = 3


def encode_png(rows: Sequence[bytes], palette: Sequence[str], *, scale: int = 1) -> bytes:
    """A picture of cells.

    Args:
        rows: from top to bottom; all of the same length, each byte a place in the palette.
        palette: colours such as `#1a7f5a`.
        scale: pixels of a cell, in both directions.

    Example:
        >>> encode_png([bytes([0, 1])], ["#ffffff", "#000000"])[1:4]
        b'PNG'
    """
    width, height = len(rows[0]) * scale, len(rows) * scale
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE_COLOURS, 0, 0, 0)
    colours = b"".join(bytes.fromhex(colour.removeprefix("#")) for colour in palette)
    wide = [bytes(cell for cell in row for _ in range(scale)) for row in rows]
    # Each line begins with its filter, which is none.
    lines = b"".join((b"\0" + line) * scale for line in wide)
    body = [(b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
