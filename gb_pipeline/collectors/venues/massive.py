"""This module hears trades and quotes of US equities from Massive, formerly Polygon: one connection, a login, numbers as written.

https://massive.com/docs/websocket/stocks/trades. Neither trades nor quotes are numbered without gaps (`q` only grows), so what is
lost between Massive and here shows as a disconnect, as a slow consumer, or not at all.

Minute aggregates are not subscribed to: Massive corrects them after they were sent, and the corrected ones are fetched as bars by
the provider of the same name, while bars of what was heard come from the trades (`Lake.bars_from_trades`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from gb_pipeline.collectors.messages import MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import (
    base_url_of,
    check_options,
    choice,
    credential,
    known_secrets,
    one_connection,
    websocket_url,
)
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.providers.http.redaction import hide
from gb_pipeline.providers.massive.symbols import ticker

FEEDS = {"realtime": "socket.massive.com", "delayed": "delayed.massive.com"}
_CHANNELS = {StreamDataset.TRADES: "T", StreamDataset.QUOTES: "Q"}
_DATASETS = {channel: dataset for dataset, channel in _CHANNELS.items()}
# A request has so many channels at most: some proxies cut longer frames.
_CHANNELS_PER_REQUEST = 500
_CHANNEL = re.compile(r"\b([TQ])\.([A-Za-z][A-Za-z.]*[A-Za-z]|[A-Za-z])")
_KEY_FIX = (
    "compare the option `key` with the one on https://massive.com/dashboard; one that was revoked or has expired is made "
    "anew there"
)
_PLAN_FIX = "subscribe to what your plan at https://massive.com/pricing has, or set the option `feed` to delayed"
_LIMIT_FIX = (
    "end the other program that is connected with this key (one connection for each market is allowed), or ask Massive for more; "
    "it is tried again"
)


class Massive(Venue):
    """Trades and quotes of US equities by Massive.

    Options: `key`; `feed` realtime or delayed by 15 minutes, as the plan has it; `base_url` of a simulated venue on loopback.
    """

    name: ClassVar[str] = "massive"
    datasets: ClassVar[tuple[StreamDataset, ...]] = tuple(_CHANNELS)
    time_unit: ClassVar[TimeUnit] = TimeUnit.MILLISECONDS
    credentials: ClassVar[tuple[str, ...]] = ("key",)

    def __init__(self, key: Callable[[], str], feed: str = "realtime", base_url: str | None = None) -> None:
        """Nothing is opened; the key is asked for when it is sent."""
        self._key, self._feed, self._base_url = key, feed, base_url

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        check_options(source, cls.name, options, ("key", "feed", "base_url"))
        feed = choice(source, options, "feed", FEEDS, "realtime")
        return cls(credential(source, options, "key"), feed, base_url_of(source, options))

    def venue_symbol(self, symbol: str) -> str:
        """`BACpK` of BAC.PRK; most are the same."""
        return ticker(Symbol.equity(symbol))

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One: a second one of the same key would end the first."""
        url = websocket_url(f"{FEEDS[self._feed]}/stocks", self._base_url)
        return one_connection(subscriptions, self.name, url)

    def opening(self, connection: Connection) -> list[bytes]:  # noqa: ARG002 - the same for each
        """The login; subscriptions follow once it was accepted."""
        return [msgspec.json.encode({"action": "auth", "params": self._key()})]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions, self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """The key."""
        return known_secrets(self._key)


class _Trade(msgspec.Struct, tag_field="ev", tag="T", gc=False):
    sym: str
    x: int
    i: str
    p: Any
    # Whole shares, and with fractions of one as text.
    s: Any
    t: int
    ds: str | None = None
    q: int | None = None
    trfi: int | None = None


class _Quote(msgspec.Struct, tag_field="ev", tag="Q", gc=False):
    sym: str
    t: int
    bp: Any = None
    bs: Any = None
    ap: Any = None
    as_: Any = msgspec.field(default=None, name="as")
    q: int | None = None


class _Status(msgspec.Struct, tag_field="ev", tag="status"):
    status: str
    message: str = ""


_EVENTS = msgspec.json.Decoder(list[_Trade | _Quote | _Status], float_hook=str)
_EVENT = msgspec.json.Decoder(_Trade | _Quote | _Status, float_hook=str)
_RAW_EVENTS = msgspec.json.Decoder(list[msgspec.Raw])


class _Kind(msgspec.Struct):
    ev: str


_KIND = msgspec.json.Decoder(_Kind)
_READ = frozenset({*_DATASETS, "status"})


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription], secrets: tuple[str, ...]) -> None:
        self._symbols = {(item.dataset, item.venue_symbol): item.symbol for item in subscriptions}
        self._trades, self._quotes = (
            {item.venue_symbol: item.symbol for item in subscriptions if item.dataset is dataset}
            for dataset in _CHANNELS
        )
        self._channels = [f"{_CHANNELS[item.dataset]}.{item.venue_symbol}" for item in subscriptions]
        self._secrets = secrets
        self._requests: list[bytes] = []

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            events: Sequence[Any] = _EVENTS.decode(data)
        except msgspec.MsgspecError as error:
            events = self._one_by_one(data, receive_time, rows, str(error))
        for ordinal, event in enumerate(events):
            kind = type(event)
            if kind is _Trade:
                self._trade(event, receive_time, ordinal, rows)
            elif kind is _Quote:
                self._quote(event, receive_time, rows)
            else:
                self._status(event, receive_time, rows)

    def requests(self) -> Sequence[bytes]:
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def _one_by_one(self, data: bytes, receive_time: int, rows: MessageRows, why: str) -> list[Any]:
        """Events of a message of which one or more cannot be read; the others are not lost with it."""
        try:
            raw_events = _RAW_EVENTS.decode(data)
        except msgspec.MsgspecError:
            rows.refuse(data, receive_time, why, secrets=self._secrets)
            return []
        events = []
        for raw in raw_events:
            try:
                events.append(_EVENT.decode(raw))
            except msgspec.MsgspecError as error:
                if _kind_of(raw) in _READ | {None}:
                    rows.refuse(bytes(raw), receive_time, str(error), secrets=self._secrets)
        return events

    def _trade(self, event: _Trade, receive_time: int, ordinal: int, rows: MessageRows) -> None:
        symbol = self._trades.get(event.sym)
        if symbol is None:
            return
        # Unique for one ticker, exchange and reporting facility only.
        place = event.x if event.trfi is None else f"{event.x}.{event.trfi}"
        size = str(event.s) if event.ds is None else event.ds
        rows.trades.append(
            (symbol, event.t, receive_time, None, str(event.p), size, f"{place}:{event.i}", event.q, ordinal)
        )
        key = (StreamDataset.TRADES, symbol)
        rows.heard[key] = rows.heard.get(key, 0) + 1

    def _quote(self, event: _Quote, receive_time: int, rows: MessageRows) -> None:
        symbol = self._quotes.get(event.sym)
        if symbol is None:
            return
        bid_price, bid_size = _side(event.bp, event.bs)
        ask_price, ask_size = _side(event.ap, event.as_)
        rows.quotes.append((symbol, event.t, receive_time, bid_price, bid_size, ask_price, ask_size, event.q))
        key = (StreamDataset.QUOTES, symbol)
        rows.heard[key] = rows.heard.get(key, 0) + 1

    def _status(self, event: _Status, receive_time: int, rows: MessageRows) -> None:
        text, secrets = event.message, self._secrets
        match event.status:
            case "connected":
                rows.signals.append(Signal(ConnectionEventKind.VENUE, receive_time, detail={"status": "connected"}))
            case "auth_success":
                parts = range(0, len(self._channels), _CHANNELS_PER_REQUEST)
                self._requests += [
                    msgspec.json.encode(
                        {"action": "subscribe", "params": ",".join(self._channels[at : at + _CHANNELS_PER_REQUEST])}
                    )
                    for at in parts
                ]
            case "success":
                for dataset, symbol in self._named(text):
                    rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))
            case "auth_failed" | "auth_timeout":
                rows.deny(receive_time, text, _KEY_FIX, permanent=event.status == "auth_failed", secrets=secrets)
            case "max_connections" | "force_disconnect":
                rows.deny(receive_time, text or event.status, _LIMIT_FIX, secrets=secrets)
            case "slow_consumer":
                detail: dict[str, str | int | float | bool | None] = {"error": hide(text, secrets)}
                rows.signals.append(Signal(ConnectionEventKind.SLOW, receive_time, detail=detail))
            case _:
                named: list[tuple[StreamDataset | None, str | None]] = [*self._named(text)]
                for at, name in named or [(None, None)]:
                    rows.deny(
                        receive_time, text or event.status, _PLAN_FIX,
                        dataset=at, symbol=name, permanent=True, secrets=secrets,
                    )  # fmt: skip

    def _named(self, text: str) -> list[tuple[StreamDataset, str]]:
        """The subscriptions that a text of Massive names."""
        named = ((_DATASETS[channel], name) for channel, name in _CHANNEL.findall(text))
        return [(dataset, self._symbols[dataset, name]) for dataset, name in named if (dataset, name) in self._symbols]


def _side(price: Any, size: Any) -> tuple[str | None, str | None]:
    """Price and size of a best bid or offer; both None where there is none, which is written as 0 or left out."""
    if price is None or not str(price).strip("0."):
        return None, None
    return str(price), None if size is None else str(size)


def _kind_of(raw: msgspec.Raw) -> str | None:
    try:
        return _KIND.decode(raw).ev
    except msgspec.MsgspecError:
        return None
