"""This module holds the open websockets of the simulated market: it feeds their sessions with time and messages, and makes faults.

Simulated time drives what is sent: with a stopped clock nothing happens until it is moved, and then everything that lies between.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.simulation.clock import Clock
from gb_pipeline.simulation.failing import respond
from gb_pipeline.simulation.fault_queue import FaultQueue
from gb_pipeline.simulation.streams.replay import Replay, ReplaySession
from gb_pipeline.simulation.streams.session import Frame, Handshake, Session
from gb_pipeline.simulation.streams.stream_faults import StreamFault

if TYPE_CHECKING:
    from aiohttp import web

_TICK_SECONDS = 0.02
# A clock that is moved further than this starts anew where it was put: nobody wants a month of trades at once.
_LONGEST_STRETCH_MS = 30 * 60_000
_POLICY_VIOLATION = 1008
# Of a book: Kraken's, in either version.
_CHECKSUM = re.compile(r'("(?:checksum|c)":"?)([0-9]+)')


class Hub:
    """All open websockets.

    Args:
        clock: the simulated now.
        dialects: of each host, the market that its vendor shows and what makes a session.

    Attributes:
        faults: what happens to single messages.
        received: what clients sent, oldest first, as `(path, message)`.
    """

    COMMANDS = ("stream_faults", "say", "drop", "skew", "replay")

    def __init__(self, clock: Clock, dialects: Mapping[str, tuple[Any, type[Session]]]) -> None:
        """No connection is open."""
        self._clock, self._dialects = clock, dict(dialects)
        self._skew: list[tuple[str, int]] = []
        self._replays: dict[str, Replay] = {}
        self.faults = FaultQueue(StreamFault)
        self.received: list[tuple[str, str]] = []
        self._open: dict[_Line, Session] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def serves(self, host: str) -> bool:
        """Whether a host has websockets here."""
        return host in self._dialects or host in self._replays

    def skew(self, ms: int, match: str = "") -> None:
        """Let a vendor's clock go wrong: times of events are shifted on connections whose `/host/path` matches, also later ones."""
        self._skew.append((match, ms))
        for line, session in list(self._open.items()):
            session.skew_ms = self._skew_of(line.path)

    def replay(self, paths: Sequence[str | Path], host: str, speed: float = 1.0) -> Replay:
        """Say recordings on the websockets of a host, in the place of the simulated market, until `reset`.

        Raises:
            ConfigError: no message was received in them.
            FormatRefused: a file is damaged.
        """
        self._replays[host] = Replay.of_files(paths, host, speed)
        return self._replays[host]

    async def answer(self, host: str, path: str, query: Mapping[str, str]) -> str | None:
        """The recorded answer to a request by REST, as soon as the replay has come to it; None where none was recorded."""
        for replay in list(self._replays.values()):
            while (found := replay.answer(host, path, query)) is not None:
                if found[0]:
                    return found[1]
                await asyncio.sleep(_TICK_SECONDS)
        return None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def say(self, body: str, match: str = "") -> int:
        """Send a vendor's message out of the blue, such as a correction or an error, to connections whose `/host/path` matches.

        Returns:
            to how many; from any thread.
        """
        lines = [(line, session) for line, session in list(self._open.items()) if re.search(match, line.path)]
        for line, session in lines:
            self._call(lambda line=line, session=session: line.send([session.encode(body)]))  # type: ignore[misc]
        return len(lines)

    def drop(self, match: str = "") -> int:
        """End connections whose `/host/path` matches, without a word; from any thread.

        Returns:
            how many.
        """
        lines = [line for line in list(self._open) if re.search(match, line.path)]
        for line in lines:
            self._call(line.reset)
        return len(lines)

    def close(self, reason: str, match: str = "") -> int:
        """Close connections whose `/host/path` matches, properly and with a reason; from any thread.

        Returns:
            how many.
        """
        lines = [(line, session) for line, session in list(self._open.items()) if re.search(match, line.path)]
        for line, session in lines:
            session.closing = reason
            self._call(partial(self._settle, line, session))
        return len(lines)

    def _settle(self, line: _Line, session: Session) -> None:
        task = asyncio.ensure_future(line.settle(session))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def command(self, method: str, action: str, body: dict[str, Any]) -> Any:
        """One of `COMMANDS` from another process.

        Raises:
            ConfigError: it is none, or a fault that there is not.
        """
        result: Any = None
        match (method, action):
            case ("POST", "stream_faults"):
                result = asdict(self.faults.add(**body))
            case ("DELETE", "stream_faults"):
                self.faults.clear()
            case ("POST", "say"):
                result = {"connections": self.say(**body)}
            case ("POST", "drop"):
                result = {"connections": self.drop(**body)}
            case ("POST", "skew"):
                self.skew(**body)
            case ("POST", "replay"):
                result = {"messages": self.replay(**body).total}
            case ("GET", "replay"):
                result = {host: {"sent": item.sent, "messages": item.total} for host, item in self._replays.items()}
            case _:
                raise ConfigError(f"no such command: {method} {action}", fix="see gb_pipeline.simulation.server")
        return result

    def reset(self) -> None:
        """Forget faults, replays, skewed clocks and what was received; connections stay."""
        self.faults.clear()
        self._replays.clear()
        self._skew.clear()
        for session in list(self._open.values()):
            session.skew_ms = 0
        self.received.clear()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection, from its handshake to its end."""
        from aiohttp import WSMsgType, web

        self._loop = asyncio.get_running_loop()
        _, host, *rest = request.path.split("/", 2)
        handshake = Handshake(host, "/" + "".join(rest), request.headers, request.query)
        market, dialect = self._dialects.get(host, (None, ReplaySession))
        if (replay := self._replays.get(host)) is not None:
            market, dialect = replay, ReplaySession
        if (refusal := dialect.refuse(market, handshake)) is not None:
            return respond(refusal)
        socket = web.WebSocketResponse(max_msg_size=2**24)
        await socket.prepare(request)
        session = dialect(market, handshake)
        session.skew_ms = self._skew_of(request.path)
        line = _Line(socket, request, self.faults)
        self._open[line] = session
        clock = asyncio.create_task(self._follow_clock(line, session))
        try:
            line.send(session.opened())
            await line.settle(session)
            async for message in socket:
                if message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    break
                shown = message.data if isinstance(message.data, str) else message.data.decode("latin-1")
                self.received.append((request.path, shown))
                account = session.account
                # Beside the loop: the first books of hundreds of symbols take seconds, and others want to connect meanwhile.
                async with line.turn:
                    line.send(await asyncio.to_thread(session.received, message.data))
                if session.account is not None and session.account != account:
                    self._count_connections(line, session)
                await line.settle(session)
        finally:
            clock.cancel()
            self._open.pop(line, None)
            with contextlib.suppress(asyncio.CancelledError):
                await clock
            await line.end()
        return socket

    async def _follow_clock(self, line: _Line, session: Session) -> None:
        last = self._clock.now
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = self._clock.now
            if 0 < now - last <= _LONGEST_STRETCH_MS:
                async with line.turn:
                    line.send(await asyncio.to_thread(session.events, last, now))
                await line.settle(session)
            last = line.reached = now

    def _count_connections(self, line: _Line, session: Session) -> None:
        limit = session.connections_per_account
        same = [
            found for found in self._open.values() if type(found) is type(session) and found.account == session.account
        ]
        if limit is not None and len(same) > limit:
            line.send(session.crowded())

    def _skew_of(self, path: str) -> int:
        return next((ms for match, ms in reversed(self._skew) if re.search(match, path)), 0)

    def _call(self, action: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(action)


class _Line:
    """What is sent over one connection, in order, with its faults."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, faults: FaultQueue[StreamFault]) -> None:
        self.path = request.path
        # A session does one thing at a time.
        self.turn = asyncio.Lock()
        # Up to when, epoch milliseconds of the market, everything was handed over.
        self.reached = 0
        self._socket, self._request, self._faults = socket, request, faults
        self._queue: asyncio.Queue[tuple[Frame, float]] = asyncio.Queue()
        self._held: list[Frame] = []
        self._stall = 0.0
        self._closing = False
        self._writer = asyncio.create_task(self._write())

    def send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            shown = frame if isinstance(frame, str) else frame.decode("latin-1")
            fault = self._faults.take(f"{self.path} {shown}")
            if fault is None:
                self._put(frame)
            else:
                self._fail(frame, fault)

    def reset(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def settle(self, session: Session) -> None:
        """Close the connection once everything was said, where the session or a fault wants that."""
        if session.closing is None and not self._closing:
            return
        await self._queue.join()
        reason = session.closing or "closing"
        await self._socket.close(code=_POLICY_VIOLATION, message=reason.encode()[:120])

    async def end(self) -> None:
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer

    def _put(self, frame: Frame) -> None:
        self._queue.put_nowait((frame, self._stall))
        self._stall = 0.0
        held, self._held = self._held, []
        for late in held:
            self._queue.put_nowait((late, 0.0))

    def _fail(self, frame: Frame, fault: StreamFault) -> None:
        match fault.action:
            case "duplicate":
                self._put(frame)
                self._put(frame)
            case "reorder":
                self._held.append(frame)
            case "replace":
                self._put(fault.body)
            case "stall":
                self._stall = fault.delay
                self._put(frame)
            case "close":
                self._put(frame)
                self._closing = True
            case "reset":
                self.reset()
            case "checksum":
                text = frame if isinstance(frame, str) else frame.decode("latin-1")
                self._put(_CHECKSUM.sub(lambda found: f"{found[1]}{int(found[2]) ^ 1}", text, count=1))
            case "flood":
                for _ in range(fault.size):
                    self._put(frame)

    async def _write(self) -> None:
        while True:
            frame, delay = await self._queue.get()
            try:
                if delay:
                    await asyncio.sleep(delay)
                # The client may be gone already.
                with contextlib.suppress(ConnectionError, RuntimeError):
                    if isinstance(frame, str):
                        await self._socket.send_str(frame)
                    else:
                        await self._socket.send_bytes(frame)
            finally:
                self._queue.task_done()
