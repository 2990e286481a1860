"""This module is the protocol of a dialect: one open websocket of a vendor, without any socket.

A session is told what the client sent and how time went by, and gives what the vendor would send. Everything about connections,
faults and clocks is in `hub`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gb_pipeline.simulation.response import Response

# One message: text, or binary where a vendor has that.
Frame = str | bytes


@dataclass(frozen=True, slots=True)
class Handshake:
    """The request by which a websocket is opened.

    Attributes:
        host: the vendor's real host, the first segment of the URL's path.
        path: what follows it, from the slash on.
        headers: names in any case.
        query: parameters.
    """

    host: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


class Session(ABC):
    """One open connection.

    Args:
        market: the simulated market that the vendor shows.
        handshake: the request that opened it.

    Attributes:
        closing: why the vendor closes the connection after what it has just said; None while it does not.
        skew_ms: how far the vendor's clock is wrong: added to the times of events.
        account: whose connection it is, once that is known: vendors count connections by it.
    """

    # So many connections one account may have at once; None for any number.
    connections_per_account: int | None = None

    def __init__(self, market: Any, handshake: Handshake) -> None:
        """Nothing has been said yet."""
        self.market, self.handshake = market, handshake
        self.closing: str | None = None
        self.account: str | None = None
        self.skew_ms = 0

    @classmethod
    def refuse(cls, market: Any, handshake: Handshake) -> Response | None:  # noqa: ARG003 - a vendor that refuses none
        """The answer to a handshake that is refused; None where it is accepted."""
        return None

    def opened(self) -> list[Frame]:
        """What the vendor says first."""
        return []

    @abstractmethod
    def received(self, frame: Frame) -> list[Frame]:
        """What it answers to one message of the client."""

    @abstractmethod
    def events(self, start: int, end: int) -> list[Frame]:
        """What happened to the subscribed instruments within [start, end), epoch milliseconds."""

    def crowded(self) -> list[Frame]:
        """What is said to a connection that is one too many for its account; one that sets `closing` here is closed."""
        return []

    def encode(self, text: str) -> Frame:
        """A text that was planted from outside, such as a correction of a trade, as this connection writes messages."""
        return text
