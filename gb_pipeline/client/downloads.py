"""`Download` takes in a table as it streams in, and goes on after the last whole piece where a connection broke."""

from __future__ import annotations

import http.client
import io
from typing import Any

import polars as pl
import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"


class Download:
    """One table of a server, over as many connections as it takes. Each piece of the server is one batch of Arrow's stream."""

    def __init__(self) -> None:
        """Nothing has arrived."""
        self._batches: list[pa.RecordBatch] = []
        self._schema: pa.Schema | None = None
        self._tag, self._count = "", 0

    @property
    def pieces(self) -> int:
        """How many have arrived."""
        return len(self._batches)

    def headers(self) -> dict[str, str]:
        """Of the next request: for the whole table, or for what is left of it if that has not changed."""
        if self._count and self.pieces >= self._count:
            # Only the end of the stream is missing, of which there is no piece.
            self._batches.pop()
        rest = {"range": f"pieces={self.pieces}-", "if-range": self._tag} if self._tag and self._batches else {}
        return {"accept": ARROW, "content-type": "application/json", **rest}

    def read(self, response: http.client.HTTPResponse) -> pl.DataFrame:
        """The table, once all of it has arrived.

        Raises:
            OSError, http.client.HTTPException, pa.ArrowException: the answer is not whole, or is of another table.
        """
        told = response.getheader("content-range", "")
        if response.status != 206 or not told.startswith(f"pieces {self.pieces}-"):
            self._forget()
        if response.status == 206 and not self._batches:
            raise http.client.HTTPException("another part was sent than the one that was asked for")
        self._tag, self._count = response.getheader("etag", ""), int(response.getheader("x-pieces", "0"))
        with pa.ipc.open_stream(pa.PythonFile(_Body(response), mode="r")) as reader:
            if self._batches and reader.schema != self._schema:
                self._forget()
                raise http.client.HTTPException("the rest of the table has other columns")
            self._schema = reader.schema
            for batch in reader:
                self._batches.append(batch)
        if response.read(1):
            raise http.client.IncompleteRead(b"")
        found = pl.from_arrow(pa.Table.from_batches(self._batches, self._schema))
        assert isinstance(found, pl.DataFrame)
        return found

    def _forget(self) -> None:
        self._batches, self._schema, self._tag, self._count = [], None, "", 0


class _Body(io.RawIOBase):
    """The body of an answer for PyArrow: a read returns as many bytes as it asked for, or the body has ended."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        if size < 0:
            return self._response.read()
        # Arrow's own memory is used again and again, and what is read into it is not copied once more.
        room = pa.allocate_buffer(size)
        view, filled = memoryview(room).cast("B"), 0
        while filled < size:
            count = self._response.readinto(view[filled:])
            if not count:
                break
            filled += count
        return room if filled == size else room.slice(0, filled)
