"""`while_heard` answers a request in a thread, and tells the work to stop when whoever asked has hung up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from gb_pipeline.reading.sql_stop import QueryStop

_AGAIN_SECONDS = 0.05


async def while_heard(
    request: Request, answer: Callable[[QueryStop], Response], threads: anyio.CapacityLimiter | None = None
) -> Response:
    """The answer to a request.

    Args:
        request: whose body was read.
        answer: makes it, in a thread; a query in SQL that it runs ends when the connection is closed.
        threads: how many may run at a time; by default those of the server.

    Raises:
        GbError: what `answer` raises.
    """
    stop = QueryStop()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        while True:
            stop.stop()
            await asyncio.sleep(_AGAIN_SECONDS)

    listening = asyncio.create_task(listen())
    try:
        return await anyio.to_thread.run_sync(answer, stop, limiter=threads)
    finally:
        listening.cancel()
