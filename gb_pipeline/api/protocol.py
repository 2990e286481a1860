"""uvicorn's HTTP with limits that it lacks: time and size of a request's head, how long a reader takes nothing, who makes room.

Without them a few hundred connections on which nothing happens keep everybody else out, and one head fills the memory. What was
read whole is the guard's.
"""

from __future__ import annotations

import asyncio
from operator import itemgetter

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gb_pipeline.api.options import ServeOptions


def limited_protocol(options: ServeOptions) -> type[HttpToolsProtocol]:
    """The protocol of a server with these limits.

    Args:
        options: of which `head_seconds`, `most_head_bytes` and `reader_seconds` count here.
    """

    class LimitedProtocol(HttpToolsProtocol):
        """One connection."""

        _head: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._make_room()
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_head()
            self.resume_writing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._head is None and (self.cycle is None or self.cycle.response_complete):
                self._await_head()
            if self._head is not None:
                self._head_bytes += len(data)
            super().data_received(data)
            if self._head is not None and self._head_bytes > options.most_head_bytes:
                self.transport.abort()

        def on_headers_complete(self) -> None:
            self._end_head()
            super().on_headers_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._reader is None:
                self._reader = self.loop.call_later(options.reader_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            if self._reader is not None:
                self._reader.cancel()
                self._reader = None
            super().resume_writing()

        def _make_room(self) -> None:
            """Close the connection that has waited longest for its next request, where one more would be too many."""
            limit = self.limit_concurrency
            if limit is None or len(self.connections) + 1 < limit:
                return
            # In the order of their timers; one that was never asked anything is given up by its own.
            waiting = [
                (other.timeout_keep_alive_task.when(), other)
                for other in self.connections
                if isinstance(other, LimitedProtocol) and other.timeout_keep_alive_task is not None
            ]
            if waiting:
                idle = min(waiting, key=itemgetter(0))[1]
                self.connections.discard(idle)
                idle.transport.close()

        def _await_head(self) -> None:
            self._head_bytes = 0
            self._head = self.loop.call_later(options.head_seconds, self.transport.abort)

        def _end_head(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

    return LimitedProtocol
