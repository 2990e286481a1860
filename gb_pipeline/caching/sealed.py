"""Frames as bytes that can be checked: an uncompressed Arrow file, and behind it the key that it is kept under and a checksum.

What is read back lies where the bytes do, such as in a mapped file, and is not copied.
"""

from __future__ import annotations

import struct
import zlib

import polars as pl
import pyarrow as pa

from gb_pipeline.caching.key import Key

_MAGIC = b"GBCACHE1"
# Length of the Arrow file, digest of the key, magic number, and the checksum of all of it.
_END = struct.Struct("<Q16s8sI")


def seal(key: Key, frame: pl.DataFrame) -> list[memoryview]:
    """The bytes of a frame, in pieces that follow each other."""
    # Texts as Polars has them, which are not copied when they are read.
    table = frame.to_arrow(compat_level=pl.CompatLevel.newest())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content = memoryview(sink.getvalue())
    head = _END.pack(len(content), bytes.fromhex(key.digest), _MAGIC, 0)[:-4]
    checksum = zlib.crc32(head, zlib.crc32(content))
    return [content, memoryview(head + checksum.to_bytes(4, "little"))]


def unseal(key: Key, data: pa.Buffer) -> pl.DataFrame | None:
    """The frame, None where the bytes are not those that were written for this key."""
    if len(data) < _END.size:
        return None
    length = len(data) - _END.size
    end = data.slice(length).to_pybytes()
    said, digest, magic, checksum = _END.unpack(end)
    if (said, digest, magic) != (length, bytes.fromhex(key.digest), _MAGIC):
        return None
    content = data.slice(0, length)
    if zlib.crc32(end[:-4], zlib.crc32(content)) != checksum:
        return None
    try:
        frame = pl.from_arrow(pa.ipc.open_file(pa.BufferReader(content)).read_all(), rechunk=False)
    except (pa.ArrowException, pl.exceptions.PolarsError):
        return None
    return frame if isinstance(frame, pl.DataFrame) else None
