"""A venue for tests of the collector: numbered trades and books as small JSON messages, and a server that a test drives.

What a real venue says is tested with the venues; this one says exactly what a test wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import polars as pl
from aiohttp import WSMsgType, web

from gb_pipeline.collectors import Connection, Decoder, MessageRows, Signal, Subscription, TimeUnit, Venue, registry
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

TRADES, BOOK = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES


def register() -> None:
    registry._BUILT_IN["plain"] = "gb_pipeline_tests.collectors.plain:Plain"


class Plain(Venue):
    name: ClassVar[str] = "plain"
    datasets: ClassVar[tuple[StreamDataset, ...]] = (TRADES, BOOK)
    time_unit: ClassVar[TimeUnit] = TimeUnit.NANOSECONDS
    # Trades that it serves afterwards: number (as id; None for one without), ns, price; None where it serves none.
    past: ClassVar[list[tuple[int | None, int, str]] | None] = None

    def __init__(self, url: str, silence: float | None) -> None:
        self._url, self._silence = url, silence

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        return cls(str(options["url"]), options.get("silence"))

    def venue_symbol(self, symbol: str) -> str:
        return symbol.replace("-", "/")

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        return [Connection("plain-1", self._url, tuple(subscriptions), self._silence)]

    def opening(self, connection: Connection) -> list[bytes]:
        wanted = [[item.dataset.value, item.venue_symbol] for item in connection.subscriptions]
        return [json.dumps({"subscribe": wanted}).encode()]

    def decoder(self, connection: Connection) -> Decoder:
        return _Decoder()

    async def fetch_trades(self, symbol: str, start_time: int, end_time: int) -> pl.DataFrame | None:
        if self.past is None:
            return None
        rows = [
            (at, "buy", price, "0.25", None if number is None else str(number))
            for number, at, price in self.past
            if start_time <= at < end_time
        ]
        names = ["side", "price", "size", "trade_id"]
        return pl.DataFrame(
            rows, schema={"exchange_time": pl.Int64()} | dict.fromkeys(names, pl.String()), orient="row"
        )


class _Decoder(Decoder):
    """`{"e": "trade", "s": "BTC-USD", "n": 7, "t": ns, "p": "1.5", "q": "2"}`; `book` and `snapshot` have `b` and `a`;
    `{"e": "denied", "s": null, "why": "wrong key", "permanent": true}` refuses."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            said = json.loads(data)
            kind, symbol = said["e"], said["s"]
            if kind == "denied":
                rows.deny(receive_time, said["why"], "use another key", symbol=symbol, permanent=said["permanent"])
                return
        except (ValueError, KeyError, TypeError) as error:
            rows.refuse(data, receive_time, str(error))
            return
        dataset = TRADES if kind in {"trade", "subscribed"} else BOOK
        if kind == "subscribed":
            rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))
            return
        number, key = said["n"], (dataset.value, symbol)
        last = self._numbers.get(key)
        if kind != "snapshot" and last is not None and number != last + 1:
            if number <= last:
                return
            rows.signals.append(
                Signal(ConnectionEventKind.SEQUENCE, receive_time, dataset, symbol, last + 1, number - 1)
            )
        self._numbers[key] = number
        rows.heard[dataset, symbol] = rows.heard.get((dataset, symbol), 0) + 1
        if kind == "trade":
            rows.trades.append((symbol, said["t"], receive_time, "buy", said["p"], said["q"], number, number, 0))
            return
        levels = ([tuple(item) for item in said[side]] for side in ("b", "a"))
        bids, asks = levels
        if kind == "snapshot":
            rows.signals.append(Signal(ConnectionEventKind.SNAPSHOT, receive_time, dataset, symbol))
            rows.snapshots.append((symbol, said["t"], receive_time, bids, asks, number, "subscribed"))  # type: ignore[arg-type]
        else:
            rows.updates.append((symbol, said["t"], receive_time, bids, asks, number, number, None))  # type: ignore[arg-type]


class PlainServer:
    """A websocket on a loopback port, in a thread: it confirms subscriptions, and sends what a test hands it."""

    def __init__(self) -> None:
        self.connected = 0
        # Said to each connection once it has subscribed, which is closed then.
        self.farewell: list[Mapping[str, Any]] | None = None
        self._sockets: set[web.WebSocketResponse] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/stream"

    def send(self, *messages: Mapping[str, Any] | str) -> int:
        """To all who are connected; how many are."""
        texts = [item if isinstance(item, str) else json.dumps(item) for item in messages]
        return asyncio.run_coroutine_threadsafe(self._send(texts), self._loop).result(30)

    def disconnect(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _send(self, texts: Sequence[str]) -> int:
        reached = 0
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError):
                for text in texts:
                    await socket.send_str(text)
                reached += 1
        return reached

    async def _close(self) -> None:
        for socket in list(self._sockets):
            await socket.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/stream", self._accept)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    for dataset, symbol in json.loads(message.data)["subscribe"]:
                        if dataset == "trades":
                            await socket.send_str(json.dumps({"e": "subscribed", "s": symbol.replace("/", "-")}))
                    self._sockets.add(socket)
                    self.connected += 1
                    if self.farewell is not None:
                        for said in self.farewell:
                            await socket.send_str(json.dumps(said))
                        break
        finally:
            self._sockets.discard(socket)
        return socket
