"""This module is what can be wrong with single messages of a websocket: the queue of faults, and how a message finds its own."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gb_pipeline.errors import ConfigError

ACTIONS = ("drop", "duplicate", "reorder", "replace", "checksum", "stall", "close", "reset", "flood")


@dataclass(slots=True)
class StreamFault:
    """What happens to the next messages that match.

    Attributes:
        match: regular expression, searched in `/host/path MESSAGE`; every message by default.
        action: `drop` it, send it twice (`duplicate`), send it after the next one (`reorder`), send `body` instead (`replace`),
            send it with a wrong `checksum` of its book,
            send nothing at all for `delay` seconds and then everything (`stall`), `close` the connection properly after it, `reset`
            it without a word, or send it `size` times (`flood`).
        body: of a replacement.
        delay: seconds of a stall.
        size: copies of a flood.
        times: how many messages it hits; all of them where negative.
        skip: how many matching messages it lets pass before.
        hits: how many it has hit.
    """

    match: str = ""
    action: str = "drop"
    body: str = ""
    delay: float = 0.0
    size: int = 10_000
    times: int = 1
    skip: int = 0
    hits: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> StreamFault:
        """A fault from keyword arguments or JSON.

        Raises:
            ConfigError: an unknown name or action, or a broken expression.
        """
        known = {item.name for item in fields(cls)} - {"hits"}
        if set(body) - known:
            raise ConfigError(
                f"unknown: {', '.join(sorted(set(body) - known))}",
                fix=f"a fault of a stream has {', '.join(sorted(known))}",
            )
        fault = cls(**body)
        if fault.action not in ACTIONS:
            raise ConfigError(f"{fault.action!r} is no action of a stream", fix=f"use one of {', '.join(ACTIONS)}")
        try:
            re.compile(fault.match)
        except re.error as error:
            raise ConfigError(f"{fault.match!r} is not a regular expression: {error}", fix="escape it") from None
        return fault


class StreamFaults:
    """The faults that wait for a message; the first that matches takes it."""

    def __init__(self) -> None:
        """Begin without any."""
        self._queue: list[StreamFault] = []
        self._lock = threading.Lock()

    def add(self, **body: Any) -> StreamFault:
        """Queue a fault; see `StreamFault` for its arguments.

        Example:
            >>> StreamFaults().add(match="trade", action="duplicate").times
            1
        """
        fault = StreamFault.of(body)
        with self._lock:
            self._queue.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._queue.clear()

    def take(self, message: str) -> StreamFault | None:
        """The fault of this message, `/host/path MESSAGE`, which counts as a hit."""
        if not self._queue:
            return None
        with self._lock:
            for fault in self._queue:
                if fault.times == 0 or not re.search(fault.match, message):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= fault.times > 0
                fault.hits += 1
                return fault
        return None
