"""Hearing a venue through its decoder over a real websocket, without anything else of a collector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp

from gb_pipeline.collectors import Connection, MessageRows, Signal, Subscription, Venue
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset


def subscribed(venue: Venue, symbols: Sequence[str], datasets: Sequence[StreamDataset] = ()) -> list[Connection]:
    """The connections of all datasets of some symbols."""
    return venue.connections(
        [
            Subscription(dataset, symbol, venue.venue_symbol(symbol))
            for symbol in symbols
            for dataset in datasets or venue.datasets
        ]
    )


def made(name: str, options: Mapping[str, Any]) -> Venue:
    return venue_class(name).from_options("heard", options)


class Listener:
    """One open connection whose messages are decoded as they come."""

    def __init__(self, venue: Venue, connection: Connection) -> None:
        self.venue, self.connection = venue, connection
        self.rows = MessageRows()
        self.decoder = venue.decoder(connection)
        self.closed = asyncio.Event()
        self.sent: list[bytes] = []

    async def __aenter__(self) -> Listener:
        self._http = aiohttp.ClientSession()
        try:
            self._socket = await self._http.ws_connect(
                self.connection.url, headers=self.venue.headers(self.connection), max_msg_size=2**24
            )
        except BaseException:
            await self._http.close()
            raise
        for message in self.venue.opening(self.connection):
            await self._send(message)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._socket.close()
        await self._http.close()

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
        """Wait for a condition, and fail with what was heard so far."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():  # noqa: ASYNC110 - any condition
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"{what}: never; heard {self.rows}"[:3000]) from None

    def signals(self, kind: ConnectionEventKind) -> list[Signal]:
        return [signal for signal in self.rows.signals if signal.kind is kind]

    async def _send(self, message: bytes) -> None:
        self.sent.append(message)
        await self._socket.send_str(message.decode())

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                data = message.data.encode() if isinstance(message.data, str) else message.data
                self.decoder.decode(data, time.time_ns(), self.rows)
                for request in self.decoder.requests():
                    await self._send(request)
                for subscription in self.decoder.snapshot_needed():
                    async with self._http.get(self.venue.snapshot_url(subscription) or "") as answer:
                        body = await answer.read()
                    self.decoder.apply_snapshot(subscription, body, time.time_ns(), self.rows)
        finally:
            self.closed.set()
