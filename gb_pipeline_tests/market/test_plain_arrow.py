"""Streams of strangers: what is not plain is refused, and nothing ends the process or takes memory that its bytes do not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.plain_arrow import NotPlain, read_plain

TABLE = pa.table({"number": pa.array([1, 2, None], pa.int64()), "text": ["a", None, "ccc"]})


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def read(data: bytes, most_values: int = 1_000) -> pa.Table:
    return read_plain(pa.py_buffer(data), lambda schema: None, most_values=most_values)


def test_a_plain_stream_is_read() -> None:
    assert read(stream(TABLE)).equals(TABLE)
    assert read(stream(TABLE[:0])).schema == TABLE.schema
    # A stream may end where its last batch does.
    assert read(stream(TABLE)[:-8]).equals(TABLE)


def file_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def bombs() -> Iterator[tuple[str, bytes]]:
    zeros = pa.table({"number": pa.array([0] * 100_000, pa.int64())})
    for codec in ("zstd", "lz4"):
        yield "compressed", stream(zeros, compression=codec)
    yield "has a dictionary", stream(pa.table({"text": pa.array(["a", "b"]).dictionary_encode()}))
    yield "more than 1,000 values", stream(pa.table({"nothing": pa.nulls(1_001)}))
    yield "more than 1,000 values", stream(pa.table({str(number): pa.nulls(10) for number in range(101)}))
    yield "head of more than", stream(pa.table({str(number) * 20: pa.nulls(1) for number in range(20_000)}))
    yield "nothing is in it", b""
    yield ".", file_of(TABLE)
    yield ".", b"\xff\xff\xff\xff\xff\xff\xff\x7f"


@pytest.mark.parametrize(("reason", "data"), list(bombs()), ids=range(9))
def test_what_is_not_plain_is_refused(reason: str, data: bytes) -> None:
    with pytest.raises(NotPlain, match=reason):
        read(data)


def test_offsets_that_lie_are_refused() -> None:
    data = bytearray(stream(TABLE.select(["text"])))
    [offsets] = [
        place
        for place in range(len(data))
        if data[place : place + 16] == bytes([0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0])
    ]
    data[offsets + 12 : offsets + 16] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(NotPlain):
        read(bytes(data))


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_bytes_that_were_changed_are_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(stream(TABLE))
    for place, value in changes:
        data[place % len(data)] = value
    with suppress(NotPlain):
        read(bytes(data)).validate(full=True)
