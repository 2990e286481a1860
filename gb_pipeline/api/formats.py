"""Frames as bodies of answers: Arrow IPC streams, Parquet, CSV, and JSON for small ones, piece by piece.

A piece is encoded when the one before it has been taken, so that no more of a large answer is held than two pieces. Arrow's own
memory is what is sent: nothing of it is copied here. A stream that breaks off in the middle has no end: whoever reads it notices.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from typing import Any

import polars as pl
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from gb_pipeline.api.problems import Problem

# Smaller parts are put together, and larger ones cut: each part costs a round through the event loop, and the server copies it
# once to frame it, which is cheap while it fits into the processor's cache.
_LEAST_PART = 1 << 16
_MOST_PART = 1 << 18
Part = bytes | memoryview


class Format(StrEnum):
    """How an answer is written."""

    JSON = "json"
    ARROW = "arrow"
    PARQUET = "parquet"
    CSV = "csv"


MEDIA_TYPES = {
    Format.JSON: "application/json",
    Format.ARROW: "application/vnd.apache.arrow.stream",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.CSV: "text/csv",
}
_BY_MEDIA_TYPE = {media: format for format, media in MEDIA_TYPES.items()}
_ANY = {"*/*", "application/*", ""}


def choose_format(request: Request, given: Format | None) -> Format:
    """What the question says, else the first known type of `Accept`, else JSON.

    Raises:
        Problem: 406, none of the types is known.
    """
    if given is not None:
        return given
    accepted = [part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    for media in accepted:
        if media in _BY_MEDIA_TYPE:
            return _BY_MEDIA_TYPE[media]
        if media in _ANY:
            return Format.JSON
    known = ", ".join(MEDIA_TYPES.values())
    raise Problem(406, "none of the accepted types can be written", f"accept one of {known}", "NotAcceptable")


def respond(
    frames: Iterable[pl.DataFrame],
    format: Format,
    *,
    most_json_rows: int,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer of frames with one schema. In Arrow each is one batch.

    Args:
        frames: at least one; the first is made before anything is sent, so that its error is an answer of its own.
        format: how they are written.
        most_json_rows: of an answer in JSON.
        status, headers: of an answer in another format.

    Raises:
        Problem: 413, too many rows for JSON; 406, it has values that this format has no form for.
    """
    pieces = iter(frames)
    first = next(pieces)
    try:
        if format is Format.JSON:
            return Response(_to_json(_chain(first, pieces), most_json_rows), media_type=MEDIA_TYPES[format])
        body = _ENCODERS[format](first, _chain(first, pieces))
        # Once something is sent, an error can only break the answer off.
        begun = next(body)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        what = str(error).splitlines()[0]
        fix = "ask for another format: ?format=arrow or parquet; or make text of the column"
        raise Problem(406, f"the answer cannot be written as {format}: {what}", fix, "NotAcceptable") from error
    return _PiecesResponse(chain([begun], body), media_type=MEDIA_TYPES[format], status_code=status, headers=headers)


class _PiecesResponse(StreamingResponse):
    """A body in lists of parts. A thread is asked for a list, not for each part."""

    def __init__(self, pieces: Iterator[list[Part]], **options: Any) -> None:
        super().__init__(pieces, **options)  # type: ignore[arg-type]

    async def stream_response(self, send: Send) -> None:
        """Send the headers, every part, and the end."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for parts in self.body_iterator:
            for part in even(parts):  # type: ignore[arg-type]
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _chain(first: pl.DataFrame, rest: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    yield first
    # The generator that called holds the first piece no longer than this one does.
    del first
    yield from rest


def even(parts: Iterable[Part]) -> Iterator[Part]:
    """The same bytes in parts that are neither small, but the last and those before a large one, nor large.

    Args:
        parts: of any size.

    Example:
        >>> [len(part) for part in even([b"a", b"b", bytes(1 << 21)])]
        [2, 1048576, 1048576]
    """
    small: list[Part] = []
    held = 0
    for part in parts:
        if len(part) < _LEAST_PART:
            small.append(part)
            held += len(part)
        if held and (held >= _LEAST_PART or len(part) >= _LEAST_PART):
            yield b"".join(small)
            small, held = [], 0
        if len(part) >= _LEAST_PART:
            view = memoryview(part)
            for begin in range(0, len(view), _MOST_PART):
                yield view[begin : begin + _MOST_PART]
    if held:
        yield b"".join(small)


class _Sink(io.RawIOBase):
    """What a writer wrote since it was last asked. Arrow's buffers are kept as they are."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = memoryview(data).cast("B") if isinstance(data, pa.Buffer) else bytes(data)
        if part:
            self._parts.append(part)
            self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def take(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return parts


def _write_arrow(first: pl.DataFrame, frames: Iterator[pl.DataFrame]) -> Iterator[list[Part]]:
    sink = _Sink()
    with pa.ipc.new_stream(sink, _portable(first).schema) as writer:
        for frame in frames:
            table = _portable(frame).combine_chunks()
            for batch in table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]:
                writer.write_batch(batch)
            yield sink.take()
    yield sink.take()


def _write_parquet(first: pl.DataFrame, frames: Iterator[pl.DataFrame]) -> Iterator[list[Part]]:
    import pyarrow.parquet as pq

    sink = _Sink()
    with pq.ParquetWriter(sink, _portable(first).schema, compression="zstd", write_page_checksum=True) as writer:
        for frame in frames:
            writer.write_table(_portable(frame))
            yield sink.take()
    yield sink.take()


def _write_csv(_: pl.DataFrame, frames: Iterator[pl.DataFrame]) -> Iterator[list[Part]]:
    for number, frame in enumerate(frames):
        text = _flat(frame).write_csv(None, include_header=number == 0, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
        yield [text.encode()]


_ENCODERS: dict[Format, Callable[[pl.DataFrame, Iterator[pl.DataFrame]], Iterator[list[Part]]]] = {
    Format.ARROW: _write_arrow,
    Format.PARQUET: _write_parquet,
    Format.CSV: _write_csv,
}


def _portable(frame: pl.DataFrame) -> pa.Table:
    # Types that every reader of Arrow knows.
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON, for a cell of CSV has no parts; bytes and durations as in JSON."""
    frame = frame.with_columns(
        pl.col(pl.Binary).bin.encode("hex"), pl.col(pl.Duration).dt.total_microseconds() / 1_000_000
    )
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    return frame.with_columns(
        pl.when(pl.col(name).is_not_null())
        .then(pl.struct(pl.col(name).alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}"))
        .alias(name)
        for name in nested
    )


def _to_json(frames: Iterator[pl.DataFrame], most: int) -> bytes:
    rows: list[dict[str, Any]] = []
    schema: dict[str, str] = {}
    for frame in frames:
        schema = {name: str(kind) for name, kind in frame.schema.items()}
        if len(rows) + frame.height > most:
            fix = "ask for less, or for another format: ?format=arrow, parquet or csv"
            raise Problem(413, f"the answer has more than {most:,} rows, too many for JSON", fix, "TooManyRows")
        floats = [name for name, kind in frame.schema.items() if kind.is_float()]
        finite = (pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats)
        found = frame.with_columns(finite).to_dicts()
        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        rows += [row | {name: _finite(row[name]) for name in nested} for row in found] if nested else found
    document = {"columns": schema, "count": len(rows), "rows": rows}
    return json.dumps(document, separators=(",", ":"), allow_nan=False, default=plain).encode()


def _finite(value: Any) -> Any:
    """A value within a list or a struct: numbers that JSON does not have are null there too."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """What JSON has for a value: decimals as text, so that no digit is lost; moments in ISO 8601; bytes as hexadecimal digits."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.hex() if isinstance(value, bytes) else str(value)
