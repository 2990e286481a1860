"""Gemini's trades and order books: one connection, whole books first, then their changes as absolute sizes.

https://docs.gemini.com/websocket/market-data/l2. Prices and quantities are text, and stay it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Self

import msgspec

from gb_pipeline.collectors import (
    Connection,
    ConnectionEventKind,
    Decoder,
    MessageRows,
    Signal,
    StreamDataset,
    Subscription,
    TimeUnit,
    Venue,
    base_url_of,
    check_options,
    currency_pair,
    websocket_url,
)

_TRADES, _BOOK = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES
# A heartbeat comes every five seconds.
_SILENCE_SECONDS = 20.0


class Gemini(Venue):
    """Gemini's spot market. Options: `base_url` of a simulated venue on loopback."""

    name: ClassVar[str] = "gemini"
    datasets: ClassVar[tuple[StreamDataset, ...]] = (_TRADES, _BOOK)
    time_unit: ClassVar[TimeUnit] = TimeUnit.MILLISECONDS

    def __init__(self, base_url: str | None) -> None:
        """Nothing is opened."""
        self._base_url = base_url

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        check_options(source, cls.name, options, ("base_url",))
        return cls(base_url_of(source, options))

    def venue_symbol(self, symbol: str) -> str:
        """`BTCUSD` of BTC-USD."""
        base, quote, _ = currency_pair(symbol, self.name)
        return f"{base}{quote}"

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One: Gemini names no limit."""
        url = websocket_url("api.gemini.com/v2/marketdata", self._base_url)
        return [Connection("gemini-1", url, tuple(subscriptions), _SILENCE_SECONDS)] if subscriptions else []

    def opening(self, connection: Connection) -> list[bytes]:
        """One request; trades and changes of books are one channel."""
        symbols = sorted({item.venue_symbol for item in connection.subscriptions})
        return [msgspec.json.encode({"type": "subscribe", "subscriptions": [{"name": "l2", "symbols": symbols}]})]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions)


class _Trade(msgspec.Struct, tag_field="type", tag="trade", gc=False):
    symbol: str
    event_id: int
    timestamp: int
    price: str
    quantity: str
    side: str


class _Changes(msgspec.Struct, tag_field="type", tag="l2_updates", gc=False):
    symbol: str
    # buy or sell, price, and the quantity that now stands there
    changes: list[tuple[str, str, str]]


class _Other(msgspec.Struct):
    type: str = ""
    result: str = ""
    reason: str = ""
    message: str = ""


_MESSAGES = msgspec.json.Decoder(_Trade | _Changes)
_OTHERS = msgspec.json.Decoder(_Other)


class _Decoder(Decoder):
    """Reads one connection. Nothing here raises: what cannot be read is told by `rows.refuse`."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._trades = {item.venue_symbol: item.symbol for item in subscriptions if item.dataset is _TRADES}
        self._books = {item.venue_symbol: item.symbol for item in subscriptions if item.dataset is _BOOK}
        self._laid: set[str] = set()

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            message = _MESSAGES.decode(data)
        except msgspec.MsgspecError as error:
            self._other(data, receive_time, rows, str(error))
            return
        if isinstance(message, _Trade):
            self._trade(message, receive_time, rows)
        else:
            self._changes(message, receive_time, rows)

    def _trade(self, said: _Trade, receive_time: int, rows: MessageRows) -> None:
        symbol = self._trades.get(said.symbol)
        if symbol is None:
            return
        side = said.side if said.side in {"buy", "sell"} else None
        identity = str(said.event_id)
        rows.trades.append((symbol, said.timestamp, receive_time, side, said.price, said.quantity, identity, None, 0))
        _count(rows, _TRADES, symbol)

    def _changes(self, said: _Changes, receive_time: int, rows: MessageRows) -> None:
        first = said.symbol not in self._laid
        self._laid.add(said.symbol)
        if first and (traded := self._trades.get(said.symbol)) is not None:
            rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, _TRADES, traded))
        symbol = self._books.get(said.symbol)
        if symbol is None:
            return
        bids = [(price, size) for side, price, size in said.changes if side == "buy"]
        asks = [(price, size) for side, price, size in said.changes if side == "sell"]
        if first:
            # The whole book; levels in any order, for which a snapshot has the best ones first.
            bids.sort(key=lambda level: Decimal(level[0]), reverse=True)
            asks.sort(key=lambda level: Decimal(level[0]))
            rows.snapshots.append((symbol, None, receive_time, bids, asks, None, "subscribed"))
            rows.signals.append(Signal(ConnectionEventKind.SNAPSHOT, receive_time, _BOOK, symbol))
        else:
            rows.updates.append((symbol, None, receive_time, bids, asks, None, None, None))
        _count(rows, _BOOK, symbol)

    def _other(self, data: bytes, receive_time: int, rows: MessageRows, why: str) -> None:
        try:
            said = _OTHERS.decode(data)
        except msgspec.MsgspecError:
            rows.refuse(data, receive_time, why)
            return
        if said.result == "error":
            error = f"{said.reason} {said.message}".strip()
            rows.deny(receive_time, error, "compare the symbols with https://api.gemini.com/v1/symbols", permanent=True)
        elif said.type in {"trade", "l2_updates", ""}:
            rows.refuse(data, receive_time, why)


def _count(rows: MessageRows, dataset: StreamDataset, symbol: str) -> None:
    """A message that the evidence of a stream rests on."""
    rows.heard[dataset, symbol] = rows.heard.get((dataset, symbol), 0) + 1
