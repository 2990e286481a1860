"""This module is the protocol of a venue: which connections its streams need, what is sent to it, and how its messages are read.

A venue opens no connection and writes nothing. Its module in `venues` is all that there is to write for another one; other
packages add theirs under the entry-point group `gb_pipeline.venues`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, Self

import polars as pl

from gb_pipeline.collectors.messages import MessageRows, TimeUnit
from gb_pipeline.config.settings import RateLimit
from gb_pipeline.market.tick_schema import StreamDataset


@dataclass(frozen=True, slots=True)
class Subscription:
    """One dataset of one instrument.

    Attributes:
        dataset: what of it is heard.
        symbol: canonical code, such as BTC-USD.
        venue_symbol: the venue's own spelling.
        depth: levels of a book on each side; None for the venue's most.
    """

    dataset: StreamDataset
    symbol: str
    venue_symbol: str
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """One websocket, and the subscriptions that it carries.

    Attributes:
        name: for people, such as kraken-1.
        url: wss://...; without a credential.
        subscriptions: what is asked for over it.
        headers: of the handshake; made anew for each one by `Venue.headers`, for signatures grow old.
        silence_seconds: the venue sends something at least so often (heartbeats count); a connection that is silent for longer is
            dead. None where it promises nothing.
    """

    name: str
    url: str
    subscriptions: tuple[Subscription, ...]
    silence_seconds: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Decoder(ABC):
    """Reads the messages of one open connection; made anew for each connect, since numbers start again."""

    @abstractmethod
    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        """Append what one message says.

        Args:
            data: one whole text or binary message.
            receive_time: ns since 1970 UTC, strictly greater than that of the message before.
            rows: rows, signals and counts are appended.

        A message that cannot be read is a signal `unreadable` with its first hundred characters, never an exception.
        """

    def snapshot_needed(self) -> Sequence[Subscription]:
        """Books that wait for a snapshot by REST, once each: the collector fetches it and hands it to `apply_snapshot`."""
        return ()

    def apply_snapshot(self, subscription: Subscription, body: bytes, receive_time: int, rows: MessageRows) -> None:
        """Lay a book from the answer to `Venue.snapshot_url`; kept updates that are newer follow it."""
        raise NotImplementedError

    def requests(self) -> Sequence[bytes]:
        """Messages to send now, once each: to subscribe again to what is broken, or to answer a ping of the venue's own."""
        return ()


class Venue(ABC):
    """One venue's public streams.

    Contracts that end are told by a signal `VENUE` with their symbol and `ended: True` in its detail.
    """

    name: ClassVar[str]
    datasets: ClassVar[tuple[StreamDataset, ...]]
    time_unit: ClassVar[TimeUnit]
    # Options that name credentials which it cannot do without.
    credentials: ClassVar[tuple[str, ...]] = ()
    # What it hands over may lack messages of which nobody can know: nothing of it is ever covered, and its evidence is gaps with
    # the reason `best_effort`.
    best_effort: ClassVar[bool] = False
    # Its books end at the depth of the subscription, which `connections` names exactly: what falls out is gone without a word.
    cuts_books: ClassVar[bool] = False
    # How fast whole books may be asked for by REST, on each connection; None where the stream itself sends them.
    snapshot_pace: ClassVar[RateLimit | None] = None

    @classmethod
    @abstractmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml.

        Raises:
            ConfigError: an option that it does not know or cannot use.
        """

    @abstractmethod
    def venue_symbol(self, symbol: str) -> str:
        """The venue's own spelling of a canonical code, such as BTC/USD for BTC-USD.

        Raises:
            InvalidSymbol: it has no such instrument.
        """

    @abstractmethod
    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """Spread subscriptions over websockets, within what the venue allows on one."""

    def headers(self, connection: Connection) -> dict[str, str]:  # noqa: ARG002 - a venue that has none
        """Of the next handshake."""
        return {}

    @abstractmethod
    def opening(self, connection: Connection) -> list[bytes]:
        """What is sent once a connection stands: logins and subscriptions."""

    @abstractmethod
    def decoder(self, connection: Connection) -> Decoder:
        """A reader of the messages of a connection that was just opened."""

    def listen(self, connection: Connection) -> AsyncIterator[bytes] | None:  # noqa: ARG002 - a venue that has none
        """Messages of a client of its own, for a venue that is no websocket to be opened at `connection.url`; None otherwise.

        The collector hands each one to the decoder. The iterator ends or raises a `VendorError` where the connection is lost, and
        is closed with `aclose` where nobody listens any more.
        """
        return None

    def secrets(self) -> tuple[str, ...]:
        """Texts that no event and no log shows: venues repeat keys in what they answer."""
        return ()

    def refused_handshake(self, status: int) -> str:
        """What to do about a handshake that was answered with an HTTP status instead of a websocket."""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return "compare the credentials of the stream with those of the venue's account page, and the clock of this machine"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return (
                "it is tried again later; give one venue's symbols to one stream, so that fewer connections are opened"
            )
        return "it is tried again later; see the venue's status page"

    async def find_unlisted(self, connection: Connection) -> frozenset[str]:  # noqa: ARG002 - a venue that has no need
        """Venue symbols of a connection that the venue does not have: for one that refuses a whole request for one of them.

        They are asked for before each handshake, are told as refused, and are left out of what `opening` and `decoder` get.
        Where this fails or takes long, nothing is left out.

        Raises:
            VendorError: the venue cannot say.
        """
        return frozenset()

    def snapshot_url(self, subscription: Subscription) -> str | None:  # noqa: ARG002 - a venue that has none
        """Where a whole book is asked for by REST; None where the stream itself sends one."""
        return None

    async def discover(self, series: Sequence[str]) -> list[str]:  # noqa: ARG002 - a venue that has none
        """Canonical codes of the open contracts whose venue symbols begin with one of `series`."""
        return []

    async def fetch_trades(self, symbol: str, start_time: int, end_time: int) -> pl.DataFrame | None:  # noqa: ARG002 - a venue that has none
        """Trades of `[start_time, end_time)` (ns since 1970 UTC) by REST, to close a hole; None where the venue cannot.

        Returns:
            Columns `exchange_time` Int64 ns, `side`, `price` and `size` as text, `trade_id` text, in the venue's order; all trades
            of the window, or an error.
        """
        return None
