"""This module keeps one connection of a venue open: it connects, subscribes, reads, answers, and connects again after a pause.

What comes is handed to the venue's decoder with the moment at which it came; rows gather until `take` is called. Nothing is thrown
away: where nobody takes them for too long, the connection is not read any more, and waits in the buffers of the network.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import picows

from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.connecting import explain, is_refusal, proxy_of
from gb_pipeline.collectors.messages import MessageRows, Signal
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import rest_client
from gb_pipeline.errors import GbError, UnknownSymbol, VendorError
from gb_pipeline.market.tick_schema import ConnectionEventKind
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.redaction import hide, scrub

_SECOND = 1_000_000_000
_HANDSHAKE_SECONDS = 15.0
_PING_SECONDS = 15.0
# The book of BTC-USD at Coinbase has some megabytes.
_LARGEST_MESSAGE = 64 << 20
_LONGEST_PAUSE_SECONDS = 60.0
# Whom the venue refuses until a person changes something, it is not asked again and again.
_LONGEST_PAUSE_IF_REFUSED_SECONDS = 3_600.0
_COMPARE = "compare `symbols` in gb.yaml with the venue's own list"
_OPENED_AGAIN = "it is opened again"
# A connection that stood for so long begins anew with short pauses.
_STEADY_SECONDS = 60.0
# 2^12 s is more than an hour.
_DOUBLINGS = 12
# A venue that does not list its symbols within this is subscribed to all the same.
_LIST_SECONDS = 5.0
# How often a decoder is asked what it wants to send.
_ATTEND_SECONDS = 0.05


class Link:
    """One connection, kept open until `stop` is called.

    Args:
        venue: whose it is.
        connection: address and subscriptions.
        clock: stamps of messages.
        queue_seconds: time span of rows that nobody has taken, from which on nothing is read.
        log: called with an event's name and facts for people; never a credential.
    """

    def __init__(
        self,
        venue: Venue,
        connection: Connection,
        clock: ReceiveClock,
        *,
        queue_seconds: float,
        log: Callable[..., None],
    ) -> None:
        """Nothing is opened before `run`."""
        self.venue, self.connection, self.clock = venue, connection, clock
        self._queue_ns = int(queue_seconds * _SECOND)
        self._log = log
        self._rows = MessageRows()
        self._oldest: int | None = None
        self._decoder: Decoder | None = None
        self._transport: Any = None
        self._paused = False
        self._stopping = asyncio.Event()
        self._taken = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client = rest_client(venue.name, Policy(rate=venue.snapshot_pace), None)
        self._lost_by = ""
        # Since it was opened last, and for good as far as the venue says.
        self._is_refused = False
        self.closed_by = ""
        self.reconnects = -1
        self.last_message = 0
        self.is_connected = False

    def take(self) -> MessageRows:
        """What was heard since the last time; reading goes on where it had paused."""
        rows, self._rows = self._rows, MessageRows()
        self._oldest = None
        self._taken.set()
        self._read_on()
        return rows

    def queue_ns(self) -> int:
        """Time span of what was heard and not taken."""
        return 0 if self._oldest is None else max(0, self.clock.now() - self._oldest)

    async def run(self) -> None:
        """Keep the connection open until `stop`."""
        attempt = 0
        while not self._stopping.is_set():
            await self._wait_for_room()
            began, self._is_refused = self.clock.now(), False
            try:
                await self._connect_and_listen()
            except Exception as error:
                self._lost(*explain(self.venue, error, _HANDSHAKE_SECONDS))
                self._is_refused = self._is_refused or is_refusal(error)
            self.is_connected = False
            if self.clock.now() - began > _STEADY_SECONDS * _SECOND and not self._is_refused:
                attempt = 0
            longest = _LONGEST_PAUSE_IF_REFUSED_SECONDS if self._is_refused else _LONGEST_PAUSE_SECONDS
            pause = random.uniform(0, min(longest, 2.0 ** min(attempt, _DOUBLINGS)))
            attempt += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _wait_for_room(self) -> None:
        """Nothing new is opened while what was heard waits for too long: each opening sends whole books."""
        while self.queue_ns() > self._queue_ns and not self._stopping.is_set():
            self._taken.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._taken.wait(), _ATTEND_SECONDS * 10)

    def reconnect(self, why: str) -> None:
        """Close the connection; it is opened again."""
        self._lost(why, _OPENED_AGAIN)
        self._disconnect()

    def follow_clock(self, seconds: float) -> None:
        """End what rests on stamps of a clock that was set by so many seconds: the connection is opened again."""
        self.signal(ConnectionEventKind.CLOCK_SET, seconds=seconds, fix=_OPENED_AGAIN)
        self.is_connected, self._decoder = False, None
        self._disconnect()

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    async def stop(self) -> None:
        """Close the connection for good."""
        self._stopping.set()
        if self._transport is not None:
            self._transport.disconnect(graceful=True)
        for task in list(self._tasks):
            task.cancel()
        with suppress(Exception):
            await self._client.aclose()
        self._client.transport.close()

    # --- what the connection says ---------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """One whole message."""
        moment = self.clock.stamp()
        if self._oldest is None:
            self._oldest = moment
        self.last_message = moment
        decoder = self._decoder
        if decoder is not None:
            told = len(self._rows.signals)
            try:
                decoder.decode(data, moment, self._rows)
            except Exception as error:
                self._rows.refuse(data, moment, f"{type(error).__name__} in the decoder of {self.venue.name}")
            self._rows.last_receive = moment
            for signal in self._rows.signals[told:]:
                # Of one subscription it says nothing of the others.
                is_whole = signal.dataset is None and signal.symbol is None
                if signal.kind is ConnectionEventKind.REFUSED and is_whole and signal.detail.get("permanent"):
                    self._is_refused = True
        if moment - self._oldest > self._queue_ns and not self._paused:
            self._pause(moment)

    def signal(self, kind: ConnectionEventKind, **detail: str | float | bool | None) -> None:
        """Note what happened to the connection."""
        self._rows.signals.append(Signal(kind, self.clock.stamp(), detail=dict(detail)))

    def _lost(self, error: str, fix: str) -> None:
        """Said once for a connection that stood, and once for each new reason why there is none."""
        error = hide(error, self.venue.secrets())
        if not self.is_connected and error == self._lost_by:
            return
        self.is_connected, self._decoder, self._lost_by = False, None, error
        self.signal(ConnectionEventKind.DISCONNECTED, error=error, fix=fix)
        self._log("disconnected", connection=self.connection.name, error=error, fix=fix)

    def _pause(self, moment: int) -> None:
        self._paused = True
        with suppress(AttributeError, RuntimeError):
            self._transport.underlying_transport.pause_reading()
        self._rows.signals.append(
            Signal(ConnectionEventKind.SLOW, moment, detail={"seconds": self._queue_ns / _SECOND})
        )
        self._log("slow_consumer", connection=self.connection.name)

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            with suppress(AttributeError, RuntimeError):
                self._transport.underlying_transport.resume_reading()

    # --- one connection -------------------------------------------------------------------------------------------------------

    async def _connect_and_listen(self) -> None:
        messages = self.venue.listen(self.connection)
        if messages is not None:
            self._opened(self.connection)
            try:
                async with asyncio.TaskGroup() as group:
                    attending = group.create_task(self._attend())
                    stopping = group.create_task(self._stopping.wait())
                    reading = group.create_task(self._read(messages))
                    await asyncio.wait({stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
                    for task in (attending, stopping, reading):
                        task.cancel()
            finally:
                if (close := getattr(messages, "aclose", None)) is not None:
                    with suppress(Exception):
                        await close()
            return
        unlisted = await self._find_unlisted()
        if self._stopping.is_set():
            return
        subscriptions = self.connection.subscriptions
        connection = replace(
            self.connection, subscriptions=tuple(item for item in subscriptions if item.venue_symbol not in unlisted)
        )
        if not connection.subscriptions:
            self._deny_unlisted(unlisted)
            raise UnknownSymbol(f"{self.venue.name} lists none of its symbols", fix=_COMPARE)
        transport, _ = await picows.ws_connect(
            lambda: _Listener(self),
            self.connection.url,
            websocket_handshake_timeout=_HANDSHAKE_SECONDS,
            logger_name="gb_pipeline",
            enable_auto_ping=True,
            auto_ping_idle_timeout=_PING_SECONDS,
            auto_ping_reply_timeout=_PING_SECONDS,
            max_frame_size=_LARGEST_MESSAGE,
            max_redirects=0,
            extra_headers=self.venue.headers(self.connection),
            proxy=proxy_of(self.connection.url),
        )
        self._transport = transport
        if self._stopping.is_set():
            # It was asked to end while it waited for the handshake.
            transport.disconnect(graceful=False)
            return
        self._opened(connection)
        self._deny_unlisted(unlisted)
        for message in self.venue.opening(connection):
            transport.send(picows.WSMsgType.TEXT, message)
        attending = asyncio.create_task(self._attend())
        try:
            await transport.wait_disconnected()
        finally:
            attending.cancel()
            with suppress(asyncio.CancelledError):
                await attending
        if self.is_connected and not self._stopping.is_set():
            self._lost(f"the venue closed the connection{self.closed_by}", _OPENED_AGAIN)

    async def _read(self, messages: Any) -> None:
        async for data in messages:
            self.receive(data)
        self._lost("the venue's client ended", _OPENED_AGAIN)

    async def _find_unlisted(self) -> frozenset[str]:
        """What the venue does not have; nothing where it cannot say, for then it refuses that itself."""
        task = asyncio.create_task(self.venue.find_unlisted(self.connection))
        self._tasks.add(task)
        await asyncio.wait({task}, timeout=_LIST_SECONDS)
        self._tasks.discard(task)
        if not task.done():
            task.cancel()
        with suppress(GbError, asyncio.CancelledError):
            return await task
        return frozenset()

    def _deny_unlisted(self, unlisted: frozenset[str]) -> None:
        """Say which subscriptions the venue does not have."""
        for item in self.connection.subscriptions:
            if item.venue_symbol in unlisted:
                self._rows.deny(
                    self.clock.stamp(), f"{self.venue.name} does not list {item.venue_symbol}", _COMPARE,
                    dataset=item.dataset, symbol=item.symbol, permanent=True,
                )  # fmt: skip

    def _opened(self, connection: Connection) -> None:
        self._decoder = self.venue.decoder(connection)
        self.is_connected, self._paused, self._lost_by, self.closed_by = True, False, "", ""
        self.reconnects += 1
        self.last_message = self.clock.now()
        self.signal(ConnectionEventKind.CONNECTED)
        self._log("connected", connection=self.connection.name, url=self.connection.url)

    async def _attend(self) -> None:
        """Send what the decoder wants to, fetch books that it waits for, and end a connection that says nothing."""
        silence = self.connection.silence_seconds
        while True:
            await asyncio.sleep(_ATTEND_SECONDS)
            decoder = self._decoder
            if decoder is None:
                continue
            for message in decoder.requests():
                self._transport.send(picows.WSMsgType.TEXT, message)
            for subscription in decoder.snapshot_needed():
                task = asyncio.create_task(self._fetch_snapshot(decoder, subscription))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if silence is not None and not self._paused and self.clock.now() - self.last_message > silence * _SECOND:
                self.reconnect(f"nothing came for {silence:g} s")

    async def _fetch_snapshot(self, decoder: Decoder, subscription: Subscription) -> None:
        url = self.venue.snapshot_url(subscription)
        if url is None:
            return
        pause = 1.0
        while self._decoder is decoder:
            try:
                reply = await self._client.get(url)
            except VendorError as error:
                self._log(
                    "snapshot_failed", connection=self.connection.name, symbol=subscription.symbol, error=error.what
                )
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            if self._decoder is decoder:
                try:
                    decoder.apply_snapshot(subscription, reply.body, self.clock.stamp(), self._rows)
                except Exception as error:
                    self.reconnect(f"the book of {subscription.symbol} could not be read: {type(error).__name__}")
            return


class _Listener(picows.WSListener):
    """Puts the frames of a message together."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link, self._parts = link, bytearray()

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if kind is picows.WSMsgType.TEXT or kind is picows.WSMsgType.BINARY:
            if frame.fin:
                self._link.receive(frame.get_payload_as_bytes())
            else:
                self._parts = bytearray(frame.get_payload_as_bytes())
        elif kind is picows.WSMsgType.CONTINUATION:
            self._parts += frame.get_payload_as_bytes()
            if len(self._parts) > _LARGEST_MESSAGE:
                self._parts = bytearray()
                self._link.reconnect(f"a message of more than {_LARGEST_MESSAGE >> 20} MiB")
            elif frame.fin:
                message, self._parts = bytes(self._parts), bytearray()
                self._link.receive(message)
        elif kind is picows.WSMsgType.CLOSE:
            text = bytes(frame.get_close_message() or b"").decode("utf-8", "replace")
            words = scrub(hide(text, self._link.venue.secrets()))[:200]
            self._link.closed_by = f" (code {int(frame.get_close_code())}{': ' * bool(words)}{words})"
            transport.send_close(frame.get_close_code())
            transport.disconnect(graceful=True)
