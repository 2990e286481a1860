"""This module reads Arrow streams of strangers that are what they seem: without compression and dictionaries, none takes more
memory than it has bytes, and nothing in it points elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa

# Of a schema, or of the head of a batch.
_MOST_HEAD = 1 << 20


class NotPlain(ValueError):
    """A stream that is not read; the text says why."""


def read_plain(data: pa.Buffer, allow: Callable[[pa.Schema], None], *, most_values: int) -> pa.Table:
    """A stream, each batch of it validated in full. It lies in the memory of its bytes.

    Args:
        data: the stream.
        allow: raises `NotPlain` for a schema that is not wanted; called before any batch is looked at.
        most_values: rows times columns of all batches; a column of nulls has rows without a byte.

    Raises:
        NotPlain: it is no such stream, or is broken.

    Example:
        >>> sink = io.BytesIO()
        >>> pl.DataFrame({"x": [1]}).write_ipc_stream(sink)
        >>> read_plain(pa.py_buffer(sink.getvalue()), lambda schema: None, most_values=1).num_rows
        1
    """
    try:
        messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(data))
        schema = pa.ipc.read_schema(_next(messages, "schema"))
        allow(schema)
        batches: list[pa.RecordBatch] = []
        values = 0
        while (message := _next(messages, "record batch")) is not None:
            if _is_compressed(message.metadata.to_pybytes()):
                raise NotPlain("its batches are compressed")
            batch = pa.ipc.read_record_batch(message, schema)
            values += batch.num_rows * max(1, batch.num_columns)
            if values > most_values:
                raise NotPlain(f"it has more than {most_values:,} values")
            batch.validate(full=True)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema)
    except NotPlain:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, struct.error) as error:
        raise NotPlain(" ".join(str(error).split())[:200]) from None


def _next(messages: Any, kind: str) -> Any:
    """The next message, which has to be of a kind; None at the end, where the stream may end."""
    try:
        message = messages.read_next_message()
    except StopIteration:
        if kind == "schema":
            raise NotPlain("nothing is in it") from None
        return None
    if message.type != kind:
        raise NotPlain(f"it has a {message.type} where a {kind} should be")
    if message.metadata.size > _MOST_HEAD:
        raise NotPlain(f"it has a head of more than {_MOST_HEAD:,} bytes")
    return message


def _is_compressed(head: bytes) -> bool:
    """Whether the head of a batch names a codec, which PyArrow does not tell: `Message.header`, then `RecordBatch.compression`."""
    [root] = struct.unpack_from("<I", head)
    header = _field(head, root, 2)
    if header is None:
        return False
    [batch] = struct.unpack_from("<I", head, header)
    return _field(head, header + batch, 3) is not None


def _field(head: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffer's table lies; None where it is absent."""
    layout = table - struct.unpack_from("<i", head, table)[0]
    [size] = struct.unpack_from("<H", head, layout)
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", head, layout + entry)[0] if entry + 2 <= size else 0
    return table + offset if offset else None
