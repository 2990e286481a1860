"""This module hears trades and quotes of US equities from Alpaca: one connection, a login by message, numbers as written.

https://docs.alpaca.markets/docs/real-time-stock-pricing-data. JSON is heard, not msgpack: msgpack has binary floating point, in
which a price has lost its digits. Nothing is numbered, so what is lost between Alpaca and here shows as a disconnect, as a slow
consumer, or not at all.

With trades come their corrections (`c`) and cancellations (`x`). The trade that they are about stays as it was heard: a backtest
sees what could be known. Each becomes an event `correction` of the table `connection_events`, whose detail is the whole message,
so that nothing is lost; the new version of a corrected trade is there, not among the trades.

Minute bars are not subscribed to: Alpaca sends some of them again when late trades come, and the final ones are fetched as bars by
the provider of the same name, while bars of what was heard come from the trades (`Lake.bars_from_trades`).
"""

from __future__ import annotations

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

FEEDS = ("iex", "sip", "delayed_sip", "boats", "overnight")
_ADDRESS = "stream.data.alpaca.markets/v2"
# Where all feeds are that are not of the two tapes.
_BETA_ADDRESS = "stream.data.alpaca.markets/v1beta1"
_BETA_FEEDS = frozenset({"boats", "overnight"})
_CHANNELS = {StreamDataset.TRADES: "trades", StreamDataset.QUOTES: "quotes"}
_SLOW = 407
# What can be done, and whether asking again is of use before it was.
_FIXES = {
    401: ("the login is sent first; it is tried again", False),
    402: ("compare the options `key` and `secret` with those on https://app.alpaca.markets; regenerated keys are dead", True),
    404: ("the network or this machine is slow; it is tried again", False),
    405: ("take symbols out of the stream: a free plan has 30 of them for all trades and quotes together", True),
    406: ("end the other program that is connected with this key (most plans have one connection); it is tried again", False),
    409: ("set the option `feed` to iex, which every plan has, or change the plan at https://alpaca.markets/data", True),
    410: ("the feed has no such stream: leave the dataset out", True),
}  # fmt: skip
_LATER = ("it is tried again later; see https://status.alpaca.markets", False)
# Errors of the whole connection rather than of what was subscribed to.
_OF_CONNECTION = frozenset({401, 402, 404, 406, 409})


class Alpaca(Venue):
    """Trades and quotes of US equities by Alpaca.

    Options: `key` and `secret`; `feed`, iex by default: `sip` is the tape of all exchanges, `iex` one exchange's small part of it,
    and one source never mixes them; `base_url` of a simulated venue on loopback.
    """

    name: ClassVar[str] = "alpaca"
    datasets: ClassVar[tuple[StreamDataset, ...]] = tuple(_CHANNELS)
    time_unit: ClassVar[TimeUnit] = TimeUnit.ISO
    credentials: ClassVar[tuple[str, ...]] = ("key", "secret")

    def __init__(
        self, key: Callable[[], str], secret: Callable[[], str], feed: str = "iex", base_url: str | None = None
    ) -> None:
        """Nothing is opened; credentials are asked for when they are sent."""
        self._key, self._secret, self._feed, self._base_url = key, secret, feed, base_url

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        check_options(source, cls.name, options, ("key", "secret", "feed", "base_url"))
        key, secret = (credential(source, options, name) for name in cls.credentials)
        return cls(key, secret, choice(source, options, "feed", FEEDS, "iex"), base_url_of(source, options))

    def venue_symbol(self, symbol: str) -> str:
        """The same: BRK.B, BAC.PRK."""
        return Symbol.equity(symbol).code

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One: most plans have one connection for each feed."""
        address = _BETA_ADDRESS if self._feed in _BETA_FEEDS else _ADDRESS
        url = websocket_url(f"{address}/{self._feed}", self._base_url)
        return one_connection(subscriptions, self.name, url)

    def opening(self, connection: Connection) -> list[bytes]:  # noqa: ARG002 - the same for each
        """The login; subscriptions follow once it was accepted."""
        return [msgspec.json.encode({"action": "auth", "key": self._key(), "secret": self._secret()})]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions, self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """Key and secret."""
        return known_secrets(self._key, self._secret)


class _Trade(msgspec.Struct, tag_field="T", tag="t", gc=False):
    symbol: str = msgspec.field(name="S")
    i: int
    x: str
    p: Any
    s: Any
    t: str


class _Quote(msgspec.Struct, tag_field="T", tag="q", gc=False):
    symbol: str = msgspec.field(name="S")
    t: str
    bp: Any = None
    bs: Any = None
    ap: Any = None
    as_: Any = msgspec.field(default=None, name="as")


class _Correction(msgspec.Struct, tag_field="T", tag="c"):
    symbol: str = msgspec.field(name="S")


class _Cancellation(msgspec.Struct, tag_field="T", tag="x"):
    symbol: str = msgspec.field(name="S")


class _Success(msgspec.Struct, tag_field="T", tag="success"):
    msg: str


class _Subscribed(msgspec.Struct, tag_field="T", tag="subscription"):
    trades: list[str] = []
    quotes: list[str] = []


class _Error(msgspec.Struct, tag_field="T", tag="error"):
    code: int
    msg: str = ""


_Event = _Trade | _Quote | _Correction | _Cancellation | _Success | _Subscribed | _Error
_EVENTS = msgspec.json.Decoder(list[_Event], float_hook=str)
_EVENT = msgspec.json.Decoder(_Event, float_hook=str)
_RAW_EVENTS = msgspec.json.Decoder(list[msgspec.Raw])
_WHOLE = msgspec.json.Decoder(dict[str, Any], float_hook=str)


class _Kind(msgspec.Struct):
    kind: str = msgspec.field(name="T")


_KIND = msgspec.json.Decoder(_Kind)
_READ = frozenset({"t", "q", "c", "x", "success", "subscription", "error"})


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription], secrets: tuple[str, ...]) -> None:
        self._trades, self._quotes = (
            {item.venue_symbol: item.symbol for item in subscriptions if item.dataset is dataset}
            for dataset in _CHANNELS
        )
        self._secrets = secrets
        self._requests: list[bytes] = []
        self._subscribed: set[tuple[StreamDataset, str]] = set()

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            events: Sequence[Any] = _EVENTS.decode(data)
            raw_events: Sequence[Any] | None = None
            # Few have one, and only these need the whole text.
            if any(type(event) in {_Correction, _Cancellation} for event in events):
                raw_events = _RAW_EVENTS.decode(data)
        except msgspec.MsgspecError as error:
            events, raw_events = self._one_by_one(data, receive_time, rows, str(error))
        for ordinal, event in enumerate(events):
            kind = type(event)
            if kind is _Trade:
                self._trade(event, receive_time, ordinal, rows)
            elif kind is _Quote:
                self._quote(event, receive_time, rows)
            elif kind is _Success:
                self._success(event, receive_time, rows)
            elif kind is _Subscribed:
                self._confirm(event, receive_time, rows)
            elif kind is _Error:
                self._error(event, receive_time, rows)
            elif raw_events is not None:
                self._correction(event, raw_events[ordinal], receive_time, rows)

    def requests(self) -> Sequence[bytes]:
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def _one_by_one(
        self, data: bytes, receive_time: int, rows: MessageRows, why: str
    ) -> tuple[list[Any], list[msgspec.Raw]]:
        """Events of a message of which one or more cannot be read, and their texts; the others are not lost with it."""
        try:
            raw_events = _RAW_EVENTS.decode(data)
        except msgspec.MsgspecError:
            rows.refuse(data, receive_time, why, secrets=self._secrets)
            return [], []
        read: list[tuple[Any, msgspec.Raw]] = []
        for raw in raw_events:
            try:
                read.append((_EVENT.decode(raw), raw))
            except msgspec.MsgspecError as error:
                if _kind_of(raw) in _READ | {None}:
                    rows.refuse(bytes(raw), receive_time, str(error), secrets=self._secrets)
        return [event for event, _ in read], [raw for _, raw in read]

    def _trade(self, event: _Trade, receive_time: int, ordinal: int, rows: MessageRows) -> None:
        symbol = self._trades.get(event.symbol)
        if symbol is None:
            return
        # Unique on one exchange only.
        identity = f"{event.x}:{event.i}"
        rows.trades.append((symbol, event.t, receive_time, None, str(event.p), str(event.s), identity, None, ordinal))
        _count(rows, StreamDataset.TRADES, symbol)

    def _quote(self, event: _Quote, receive_time: int, rows: MessageRows) -> None:
        symbol = self._quotes.get(event.symbol)
        if symbol is None:
            return
        bid_price, bid_size = _side(event.bp, event.bs)
        ask_price, ask_size = _side(event.ap, event.as_)
        rows.quotes.append((symbol, event.t, receive_time, bid_price, bid_size, ask_price, ask_size, None))
        _count(rows, StreamDataset.QUOTES, symbol)

    def _correction(self, event: Any, raw: msgspec.Raw, receive_time: int, rows: MessageRows) -> None:
        symbol = self._trades.get(event.symbol)
        if symbol is None:
            return
        said = _WHOLE.decode(raw)
        texts = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in said.items()
        }
        detail = {name: hide(text, self._secrets) for name, text in texts.items()}
        detail["what"] = "corrected" if type(event) is _Correction else "canceled"
        rows.signals.append(
            Signal(ConnectionEventKind.CORRECTION, receive_time, StreamDataset.TRADES, symbol, detail=dict(detail))
        )
        _count(rows, StreamDataset.TRADES, symbol)

    def _success(self, event: _Success, receive_time: int, rows: MessageRows) -> None:
        if event.msg != "authenticated":
            rows.signals.append(
                Signal(ConnectionEventKind.VENUE, receive_time, detail={"status": hide(event.msg, self._secrets)})
            )
            return
        wanted = {"trades": list(self._trades), "quotes": list(self._quotes)}
        channels = {name: symbols for name, symbols in wanted.items() if symbols}
        self._requests.append(msgspec.json.encode({"action": "subscribe"} | channels))

    def _confirm(self, event: _Subscribed, receive_time: int, rows: MessageRows) -> None:
        # Each confirmation names everything that is subscribed to by now.
        for dataset, ours, named in (
            (StreamDataset.TRADES, self._trades, event.trades),
            (StreamDataset.QUOTES, self._quotes, event.quotes),
        ):
            for name in named:
                if (symbol := ours.get(name)) is not None and (dataset, symbol) not in self._subscribed:
                    self._subscribed.add((dataset, symbol))
                    rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))

    def _error(self, event: _Error, receive_time: int, rows: MessageRows) -> None:
        if event.code == _SLOW:
            detail: dict[str, str | int | float | bool | None] = {"error": hide(event.msg, self._secrets)}
            rows.signals.append(Signal(ConnectionEventKind.SLOW, receive_time, detail=detail))
            return
        fix, permanent = _FIXES.get(event.code, _LATER)
        error, secrets = f"{event.msg} (code {event.code})", self._secrets
        waiting = [
            (dataset, symbol)
            for dataset, ours in ((StreamDataset.TRADES, self._trades), (StreamDataset.QUOTES, self._quotes))
            for symbol in ours.values()
            if (dataset, symbol) not in self._subscribed
        ]
        named: list[tuple[StreamDataset | None, str | None]] = [(None, None)]
        if event.code not in _OF_CONNECTION and waiting:
            # It does not say which: a request is taken as a whole or not at all.
            named = list(waiting)
        for dataset, symbol in named:
            rows.deny(receive_time, error, fix, dataset=dataset, symbol=symbol, permanent=permanent, secrets=secrets)


def _count(rows: MessageRows, dataset: StreamDataset, symbol: str) -> None:
    key = (dataset, symbol)
    rows.heard[key] = rows.heard.get(key, 0) + 1


def _side(price: Any, size: Any) -> tuple[str | None, str | None]:
    """Price and size of a best bid or offer; both None where there is none, which is written as 0."""
    if price is None or not str(price).strip("0."):
        return None, None
    return str(price), None if size is None else str(size)


def _kind_of(raw: msgspec.Raw) -> str | None:
    try:
        return _KIND.decode(raw).kind
    except msgspec.MsgspecError:
        return None
