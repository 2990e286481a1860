"""This module says again what somebody recorded: a websocket whose messages come in the recorded order and pace, or faster.

Books that the recorder asked for by REST are answered once the replay has come to them, so that they fit the messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage, read_recording
from gb_pipeline.simulation.streams.session import Frame, Session

# Recordings without addresses: where a book of the same venue is asked for.
_REST_OF = {"stream.binance.com": "api.binance.com", "fstream.binance.com": "fapi.binance.com"}


class Replay:
    """Recordings of one venue's websocket.

    Args:
        messages: of all files, in any order.
        host: of the websocket that says them, whatever address was recorded.
        speed: 1 as it was, 100 a hundred times as fast; 0 at once.
        clock: seconds that pass.

    Attributes:
        sent: messages that were said, by all connections.
        total: messages that there are.
    """

    def __init__(
        self,
        messages: Iterable[RecordedMessage],
        host: str,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is said before a client asks.

        Raises:
            ConfigError: no message was received in them, or the speed is negative.
        """
        ordered = sorted(messages, key=lambda message: message.receive_time)
        self.frames = [message for message in ordered if message.direction is Direction.RECEIVED]
        if not self.frames or speed < 0:
            raise ConfigError(
                f"a replay of {host} at a speed of {speed:g} has {len(self.frames):,} messages",
                fix="name a recording of a websocket, and a speed of 1 to 1000, or 0 for all at once",
            )
        self.host, self.speed, self.clock = host, speed, clock
        self.total, self.sent = len(self.frames), 0
        self._answers = [message for message in ordered if message.direction is Direction.ANSWERED]
        self._position = 0

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], host: str, speed: float = 1.0) -> Replay:
        """Of files of cryptofeed or hftbacktest.

        Raises:
            FormatRefused: a file is damaged.
            ConfigError: no message was received in them.
        """
        return cls([message for path in paths for message in read_recording(Path(path))], host, speed)

    def reach(self, moment: int) -> None:
        """Note how far a connection has come, ns of the recorder's clock."""
        self._position = max(self._position, moment)

    def answer(self, host: str, path: str, query: Mapping[str, str]) -> tuple[bool, str] | None:
        """The recorded answer to a request by REST, and whether the replay has come to it; None where there is none."""
        for message in self._answers:
            url = urlsplit(message.connection)
            named = dict(parse_qsl(url.query))
            if url.netloc:
                fits = (url.netloc, url.path) == (host, path) and named.get("symbol") == query.get("symbol")
            else:
                fits = _REST_OF.get(self.host) == host and path.endswith("/depth")
            if fits:
                return self._position >= message.receive_time, message.data.decode()
        return None


class ReplaySession(Session):
    """One connection that hears a replay from its beginning, once it has sent something, or at once where nothing is sent."""

    def __init__(self, market: Any, handshake: Any) -> None:
        """Take the replay in the place of a market."""
        super().__init__(market, handshake)
        self._replay: Replay = market
        self._next = 0
        self._begun: float | None = None
        if "streams" in handshake.query:
            self._begun = self._replay.clock()

    def received(self, frame: Frame) -> list[Frame]:  # noqa: ARG002 - whatever it asks for
        """The first message of the client starts the replay; recorded answers are among what it says."""
        if self._begun is None:
            self._begun = self._replay.clock()
        return []

    def events(self, start: int, end: int) -> list[Frame]:  # noqa: ARG002 - it has a time of its own
        """Messages that are due."""
        if self._begun is None:
            return []
        frames = self._replay.frames
        first, speed = frames[0].receive_time, self._replay.speed
        passed = (self._replay.clock() - self._begun) * speed * 1e9
        stop = self._next
        while stop < len(frames) and (speed == 0 or frames[stop].receive_time - first <= passed):
            stop += 1
        due = frames[self._next : stop]
        self._next = stop
        self._replay.sent += len(due)
        # Whatever was recorded up to the next message has happened.
        self._replay.reach(frames[stop].receive_time if stop < len(frames) else 2**63)
        return [message.data.decode() for message in due]
