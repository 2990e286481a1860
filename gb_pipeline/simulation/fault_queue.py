"""This module is the queue of planted faults, and how what passes by finds its own; which there are, other modules say."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Self, TypeVar

from gb_pipeline.errors import ConfigError


@dataclass(slots=True, kw_only=True)
class PlannedFault:
    """What happens to the next things that match.

    Attributes:
        match: regular expression, searched in what passes by; everything by default.
        action: what happens, one of `ACTIONS`.
        delay: seconds, of an action that takes some.
        times: how many it hits; all of them where negative.
        skip: how many that match it lets pass before.
        hits: how many it has hit.
    """

    ACTIONS: ClassVar[tuple[str, ...]] = ()
    # As messages call it.
    WHAT: ClassVar[str] = "fault"

    match: str = ""
    action: str = ""
    delay: float = 0.0
    times: int = 1
    skip: int = 0
    hits: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """A fault from keyword arguments or JSON.

        Raises:
            ConfigError: an unknown name or action, or a broken expression.
        """
        known = {item.name for item in fields(cls)} - {"hits"}
        if set(body) - known:
            raise ConfigError(
                f"unknown: {', '.join(sorted(set(body) - known))}", fix=f"a {cls.WHAT} has {', '.join(sorted(known))}"
            )
        fault = cls(**body)
        if fault.action not in cls.ACTIONS:
            raise ConfigError(
                f"{fault.action!r} is no action of a {cls.WHAT}", fix=f"use one of {', '.join(cls.ACTIONS)}"
            )
        try:
            re.compile(fault.match)
        except re.error as error:
            raise ConfigError(f"{fault.match!r} is not a regular expression: {error}", fix="escape it") from None
        return fault


_Fault = TypeVar("_Fault", bound=PlannedFault)


class FaultQueue(Generic[_Fault]):
    """The faults that wait for something to pass by; the first that matches takes it.

    Args:
        kind: which faults these are.
    """

    def __init__(self, kind: type[_Fault]) -> None:
        """Begin without any."""
        self._kind = kind
        self._queue: list[_Fault] = []
        self._lock = threading.Lock()

    def add(self, **body: Any) -> _Fault:
        """Queue a fault; see its class for the arguments.

        Example:
            >>> from gb_pipeline.simulation.faults import Fault
            >>> FaultQueue(Fault).add(match="klines", status=429, headers={"Retry-After": "2"}).times
            1
        """
        fault = self._kind.of(body)
        with self._lock:
            self._queue.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._queue.clear()

    def take(self, passing: str) -> _Fault | None:
        """The fault of what passes by, which counts as a hit."""
        if not self._queue:
            return None
        with self._lock:
            for fault in self._queue:
                if fault.times == 0 or not re.search(fault.match, passing):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= fault.times > 0
                fault.hits += 1
                return fault
        return None
