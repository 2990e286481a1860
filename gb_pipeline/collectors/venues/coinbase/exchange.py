"""This module speaks the feed of Coinbase Exchange, formerly Coinbase Pro: the feed of most recordings.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels. Trades are numbered, and heartbeats tell the last number. Books are
not: what is missing of them shows only where the best bid and ask cross, so the feed of Advanced Trade is the better one for books.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from gb_pipeline.collectors.messages import Level, MessageRows, Signal
from gb_pipeline.collectors.resync import Resync
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription
from gb_pipeline.collectors.venue_options import (
    base_url_of,
    check_options,
    choice,
    spread_symbols,
    websocket_url,
)
from gb_pipeline.collectors.venues.coinbase.advanced import Coinbase
from gb_pipeline.collectors.venues.coinbase.refusals import Asking
from gb_pipeline.collectors.venues.coinbase.trades import TAKER
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

_ADDRESS = "ws-feed.exchange.coinbase.com"
# A heartbeat for each product comes every second.
_SILENCE_SECONDS = 15.0
_PRODUCTS_PER_CONNECTION = 20
_BOOK, _TRADES, _QUOTES = StreamDataset.BOOK_UPDATES, StreamDataset.TRADES, StreamDataset.QUOTES
# `level2` needs a key; `level2_batch` has the same messages every 50 ms.
_BOOK_CHANNELS = ("level2_batch", "level2")


class CoinbaseExchange(Coinbase):
    """Coinbase by the feed of the Exchange.

    Options: `base_url` of a simulated venue on loopback; `book_channel`: level2_batch by default, or level2.
    """

    name: ClassVar[str] = "coinbase_exchange"

    def __init__(self, base_url: str | None = None, book_channel: str = _BOOK_CHANNELS[0]) -> None:
        """Nothing is opened."""
        super().__init__(base_url)
        self._channels = {_TRADES: "matches", _BOOK: book_channel, _QUOTES: "ticker"}

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        check_options(source, cls.name, options, ("base_url", "book_channel"))
        channel = choice(source, options, "book_channel", _BOOK_CHANNELS, _BOOK_CHANNELS[0])
        return cls(base_url_of(source, options), channel)

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One for each twenty products, with all datasets of a product on the same."""
        url = websocket_url(_ADDRESS, self._base_url)
        return spread_symbols(subscriptions, _PRODUCTS_PER_CONNECTION, self.name, url, _SILENCE_SECONDS)

    def opening(self, connection: Connection) -> list[bytes]:
        """One request for all channels, the heartbeats of every product among them."""
        return _subscribe(connection.subscriptions, self._channels)

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions, self._channels)


def _subscribe(subscriptions: Sequence[Subscription], named: Mapping[StreamDataset, str]) -> list[bytes]:
    groups: dict[str, list[str]] = {"heartbeat": []}
    for item in subscriptions:
        groups.setdefault(named[item.dataset], []).append(item.venue_symbol)
        if item.venue_symbol not in groups["heartbeat"]:
            groups["heartbeat"].append(item.venue_symbol)
    channels = [{"name": name, "product_ids": products} for name, products in groups.items()]
    return [msgspec.json.encode({"type": "subscribe", "channels": channels})] if subscriptions else []


# --- messages -------------------------------------------------------------------------------------------------------


class _Update(msgspec.Struct, tag_field="type", tag="l2update", gc=False):
    product_id: str
    # Side, price, size.
    changes: list[tuple[str, str, str]]
    time: str


class _Snapshot(msgspec.Struct, tag_field="type", tag="snapshot", gc=False):
    product_id: str
    bids: list[Level]
    asks: list[Level]
    time: str | None = None


class _Match(msgspec.Struct, tag_field="type", tag="match", gc=False):
    trade_id: int
    product_id: str
    side: str
    size: str
    price: str
    time: str
    sequence: int | None = None


class _LastMatch(msgspec.Struct, tag_field="type", tag="last_match", gc=False):
    trade_id: int
    product_id: str


class _Heartbeat(msgspec.Struct, tag_field="type", tag="heartbeat", gc=False):
    product_id: str
    last_trade_id: int


class _Ticker(msgspec.Struct, tag_field="type", tag="ticker", gc=False):
    product_id: str
    time: str | None = None
    sequence: int | None = None
    best_bid: str | None = None
    best_bid_size: str | None = None
    best_ask: str | None = None
    best_ask_size: str | None = None


class _Channel(msgspec.Struct):
    name: str
    product_ids: list[str] = []


class _Subscriptions(msgspec.Struct, tag_field="type", tag="subscriptions"):
    channels: list[_Channel] = []


class _Error(msgspec.Struct, tag_field="type", tag="error"):
    message: str = ""
    reason: str = ""


class _Other(msgspec.Struct):
    type: str


_MESSAGES = msgspec.json.Decoder(
    _Update | _Snapshot | _Match | _LastMatch | _Heartbeat | _Ticker | _Subscriptions | _Error
)
_OTHERS = msgspec.json.Decoder(_Other)
_READ = frozenset({"l2update", "snapshot", "match", "last_match", "heartbeat", "ticker", "subscriptions", "error"})


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription], channels: Mapping[StreamDataset, str]) -> None:
        self._symbols: dict[StreamDataset, dict[str, str]] = {dataset: {} for dataset in channels}
        for item in subscriptions:
            self._symbols[item.dataset][item.venue_symbol] = item.symbol
        self._book_symbols = self._symbols[_BOOK]
        self._channels = channels
        self._datasets = {channel: dataset for dataset, channel in channels.items()}
        self._datasets |= dict.fromkeys(("level2", "level2_batch"), _BOOK)
        self._books: dict[str, OrderBook] = {}
        self._laid_before: set[str] = set()
        self._resync = Resync()
        self._last_trade: dict[str, int] = {}
        # By the heartbeat before: a trade may come shortly after the heartbeat that counts it.
        self._told_trade: dict[str, int] = {}
        self._subscribed: set[tuple[StreamDataset, str]] = set()
        self._asking = Asking(subscriptions, lambda items: _subscribe(items, channels))
        self._requests: list[bytes] = []
        self._handlers: dict[type, Callable[[Any, int, MessageRows], None]] = {
            _Update: self._update,
            _Match: self._trade,
            _Ticker: self._ticker,
            _Snapshot: self._lay,
            _LastMatch: self._begin,
            _Heartbeat: self._heartbeat,
            _Subscriptions: self._confirm,
            _Error: self._refused,
        }

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        if self._asking.is_single:
            self._requests += self._asking.due(receive_time)
        try:
            message: Any = _MESSAGES.decode(data)
        except msgspec.MsgspecError as error:
            try:
                kind = _OTHERS.decode(data).type
            except msgspec.MsgspecError:
                kind = ""
            # New types come now and then, and are to be passed over.
            if not kind or kind in _READ:
                rows.refuse(data, receive_time, str(error))
            return
        try:
            self._handlers[type(message)](message, receive_time, rows)
        except ValueError as error:
            rows.refuse(data, receive_time, str(error))
        if self._resync.waiting and (products := self._resync.due(receive_time)):
            channel = {"name": self._channels[_BOOK], "product_ids": products}
            self._requests += [
                msgspec.json.encode({"type": kind, "channels": [channel]}) for kind in ("unsubscribe", "subscribe")
            ]

    def requests(self) -> Sequence[bytes]:
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def _lay(self, message: _Snapshot, receive_time: int, rows: MessageRows) -> None:
        product = message.product_id
        symbol = self._book_symbols.get(product)
        if symbol is None:
            return
        book = OrderBook()
        book.lay(message.bids, message.asks)
        self._books[product] = book
        reason = "resync" if product in self._laid_before else "subscribed"
        self._laid_before.add(product)
        rows.snapshots.append((symbol, message.time, receive_time, message.bids, message.asks, None, reason))
        rows.heard[_BOOK, symbol] = rows.heard.get((_BOOK, symbol), 0) + 1
        rows.signals.append(
            Signal(ConnectionEventKind.SNAPSHOT, receive_time, _BOOK, symbol, detail={"reason": reason})
        )

    def _update(self, message: _Update, receive_time: int, rows: MessageRows) -> None:
        product = message.product_id
        book = self._books.get(product)
        if book is None:
            return
        symbol = self._book_symbols[product]
        bids: list[Level] = []
        asks: list[Level] = []
        for side, price, size in message.changes:
            (bids if side == "buy" else asks).append((price, size))
        book.apply(bids, asks)
        if book.crossed:
            del self._books[product]
            self._resync.broken(product, receive_time)
            detail: dict[str, str | int | float | bool | None] = {"crossed": True}
            rows.signals.append(
                Signal(ConnectionEventKind.CHECKSUM, receive_time, _BOOK, symbol, resubscribe=True, detail=detail)
            )
            return
        rows.updates.append((symbol, message.time, receive_time, bids, asks, None, None, None))
        key, heard = (_BOOK, symbol), rows.heard
        heard[key] = heard.get(key, 0) + 1

    def _trade(self, message: _Match, receive_time: int, rows: MessageRows) -> None:
        symbol = self._symbols[_TRADES].get(message.product_id)
        if symbol is None:
            return
        number, last = message.trade_id, self._last_trade.get(symbol)
        key = (_TRADES, symbol)
        rows.heard[key] = rows.heard.get(key, 0) + 1
        if last is not None and number != last + 1:
            if number <= last:
                return
            rows.skip(receive_time, last + 1, number - 1, _TRADES, symbol)
        self._last_trade[symbol] = number
        side = TAKER.get(message.side)
        rows.trades.append(
            (symbol, message.time, receive_time, side, message.price, message.size, number, message.sequence, 0)
        )

    def _begin(self, message: _LastMatch, _receive_time: int, _rows: MessageRows) -> None:
        """The last trade before the subscription, from which numbers go on."""
        symbol = self._symbols[_TRADES].get(message.product_id)
        if symbol is not None:
            self._last_trade[symbol] = max(message.trade_id, self._last_trade.get(symbol, 0))

    def _heartbeat(self, message: _Heartbeat, receive_time: int, rows: MessageRows) -> None:
        """It tells the last trade, so that one that is missing is noticed within two seconds, whether or not another follows."""
        symbol = self._symbols[_TRADES].get(message.product_id)
        if symbol is None:
            return
        key = (_TRADES, symbol)
        rows.heard[key] = rows.heard.get(key, 0) + 1
        told, last = self._told_trade.get(symbol), self._last_trade.get(symbol)
        if told is not None and last is not None and told > last:
            rows.skip(receive_time, last + 1, told, _TRADES, symbol)
            self._last_trade[symbol] = told
        self._told_trade[symbol] = message.last_trade_id

    def _ticker(self, message: _Ticker, receive_time: int, rows: MessageRows) -> None:
        symbol = self._symbols[_QUOTES].get(message.product_id)
        if symbol is None:
            return
        numbers = (message.best_bid, message.best_bid_size, message.best_ask, message.best_ask_size)
        bid, bid_size, ask, ask_size = (text or None for text in numbers)
        rows.quotes.append((symbol, message.time, receive_time, bid, bid_size, ask, ask_size, message.sequence))
        key = (_QUOTES, symbol)
        rows.heard[key] = rows.heard.get(key, 0) + 1

    def _confirm(self, message: _Subscriptions, receive_time: int, rows: MessageRows) -> None:
        """It lists all subscriptions each time."""
        for channel in message.channels:
            dataset = self._datasets.get(channel.name)
            if dataset is None:
                continue
            for product in channel.product_ids:
                symbol = self._symbols[dataset].get(product)
                if symbol is None or (dataset, symbol) in self._subscribed:
                    continue
                self._subscribed.add((dataset, symbol))
                self._asking.confirm(dataset, symbol)
                rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))
        self._requests += self._asking.due(receive_time)

    def _refused(self, message: _Error, receive_time: int, rows: MessageRows) -> None:
        words = f"{message.message}: {message.reason}" if message.reason else message.message
        self._requests += self._asking.refuse(words, receive_time, rows)
