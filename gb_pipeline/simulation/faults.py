"""What can be wrong with a connection: the queue of faults, and how a request finds its own. Wrong data is in `defects`."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gb_pipeline.errors import ConfigError
from gb_pipeline.simulation.response import TROUBLES

ACTIONS = ("answer", "reset", "cut", "truncate", "slow", "hang", "redirect", "flood", *TROUBLES)


@dataclass(slots=True)
class Fault:
    """What happens to the next requests that match.

    Attributes:
        match: regular expression, searched in `/host/path?query`; every request by default.
        action: `answer` with status, headers and body (only delays, if none is given), `reset` the connection, `cut`
            the real body in half as if it were whole, `truncate` it after half although its length was announced,
            `slow` send it in ten pieces over `delay` seconds, `hang` never answer, `redirect` to another host
            (headers' Location, or one that does not exist), `flood` with a list of `size` bytes that is made on the way
            (compressed, where headers say Content-Encoding gzip), or a trouble of the rows (`answer.TROUBLES`), which the
            vendor's dialect makes.
        status: HTTP status of the answer.
        headers: its headers, such as Retry-After.
        body: its body; the status' own text by default.
        delay: seconds before the answer.
        times: how many requests it hits; all of them where negative.
        size: bytes of a flood, before compression.
        skip: how many matching requests it lets pass before.
        hits: how many it has hit; an answer that a trouble of the rows leaves as it is does not count.
    """

    match: str = ""
    action: str = "answer"
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    delay: float = 0.0
    size: int = 2 * 2**30
    times: int = 1
    skip: int = 0
    hits: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Fault:
        """A fault from keyword arguments or JSON.

        Raises:
            ConfigError: an unknown name or action, or a broken expression.
        """
        known = {item.name for item in fields(cls)} - {"hits"}
        if set(body) - known:
            raise ConfigError(
                f"unknown: {', '.join(sorted(set(body) - known))}", fix=f"a fault has {', '.join(sorted(known))}"
            )
        fault = cls(**body)
        if fault.action not in ACTIONS:
            raise ConfigError(f"{fault.action!r} is not an action of a fault", fix=f"use one of {', '.join(ACTIONS)}")
        try:
            re.compile(fault.match)
        except re.error as error:
            raise ConfigError(f"{fault.match!r} is not a regular expression: {error}", fix="escape it") from None
        fault.headers = {name: str(value) for name, value in fault.headers.items()}
        return fault


class Faults:
    """The faults that wait for a request; the first that matches takes it."""

    def __init__(self) -> None:
        """Begin without any."""
        self._queue: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, **body: Any) -> Fault:
        """Queue a fault; see `Fault` for its arguments.

        Example:
            >>> Faults().add(match="klines", status=429, headers={"Retry-After": "2"}).times
            1
        """
        fault = Fault.of(body)
        with self._lock:
            self._queue.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._queue.clear()

    def take(self, request: str) -> Fault | None:
        """The fault of this request, `/host/path?query`, which counts as a hit."""
        with self._lock:
            for fault in self._queue:
                if fault.times == 0 or not re.search(fault.match, request):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= fault.times > 0
                fault.hits += 1
                return fault
        return None
