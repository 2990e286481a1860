"""This module speaks Coinbase's Advanced Trade feed: books, trades and the best bid and ask at each trade, all messages numbered.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-channels. A number that is left out is a message
of any subscription of the connection, so every book of it is laid anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
import polars as pl

from gb_pipeline.collectors.messages import Level, MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.resync import Resync
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import (
    base_url_alone,
    currency_pair,
    rest_client,
    spread_symbols,
    websocket_url,
)
from gb_pipeline.collectors.venues.coinbase.refusals import Asking
from gb_pipeline.collectors.venues.coinbase.trades import PACE, TAKER, fetch_products, fetch_trades
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.providers.http.policy import Policy

_ADDRESS = "advanced-trade-ws.coinbase.com"
# A heartbeat comes every second.
_SILENCE_SECONDS = 15.0
# Coinbase names no limit; one gap lays all books of a connection anew, and the book of BTC-USD has several megabytes.
_PRODUCTS_PER_CONNECTION = 20
_CHANNELS = {
    StreamDataset.TRADES: "market_trades",
    StreamDataset.BOOK_UPDATES: "level2",
    StreamDataset.QUOTES: "ticker",
}
_DATASETS = {channel: dataset for dataset, channel in _CHANNELS.items()}
# Requests of an opening are answered within this.
_UNDER_WAY = 2_000_000_000
_BOOK, _TRADES, _QUOTES = StreamDataset.BOOK_UPDATES, StreamDataset.TRADES, StreamDataset.QUOTES


class Coinbase(Venue):
    """Coinbase by the feed of Advanced Trade.

    Options: `base_url` of a simulated venue on loopback. Books come whole; a `depth` is not asked for.
    """

    name: ClassVar[str] = "coinbase"
    datasets: ClassVar[tuple[StreamDataset, ...]] = tuple(_CHANNELS)
    time_unit: ClassVar[TimeUnit] = TimeUnit.ISO

    def __init__(self, base_url: str | None = None) -> None:
        """Nothing is opened."""
        self._base_url = base_url

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        return cls(base_url_alone(source, cls.name, options))

    def venue_symbol(self, symbol: str) -> str:
        """`BTC-USD`: Coinbase spells as we do."""
        base, quote, _ = currency_pair(symbol, self.name)
        return f"{base}-{quote}"

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One for each twenty products, with all datasets of a product on the same."""
        url = websocket_url(_ADDRESS, self._base_url)
        return spread_symbols(subscriptions, _PRODUCTS_PER_CONNECTION, self.name, url, _SILENCE_SECONDS)

    def opening(self, connection: Connection) -> list[bytes]:
        """Heartbeats, without which quiet channels are closed, and one request for each channel."""
        heartbeats = msgspec.json.encode({"type": "subscribe", "channel": "heartbeats"})
        return [heartbeats, *_subscribe(connection.subscriptions)]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions)

    async def find_unlisted(self, connection: Connection) -> frozenset[str]:
        """Products of a connection that are not in Coinbase's list; see `Venue.find_unlisted`.

        Raises:
            VendorError: the list cannot be had.
        """
        client = rest_client("coinbase", Policy(rate=PACE), self._base_url)
        try:
            listed = await fetch_products(client)
        finally:
            await client.aclose()
            client.transport.close()
        return frozenset(item.venue_symbol for item in connection.subscriptions) - listed

    async def fetch_trades(self, symbol: str, start_time: int, end_time: int) -> pl.DataFrame:
        """Trades of the window by REST; see `Venue.fetch_trades`.

        Raises:
            VendorError: Coinbase refuses, or cannot be reached.
        """
        client = rest_client("coinbase", Policy(rate=PACE), self._base_url)
        try:
            return await fetch_trades(client, self.venue_symbol(symbol), start_time, end_time)
        finally:
            await client.aclose()
            client.transport.close()


def _subscribe(subscriptions: Sequence[Subscription]) -> list[bytes]:
    groups: dict[StreamDataset, list[str]] = {}
    for item in subscriptions:
        groups.setdefault(item.dataset, []).append(item.venue_symbol)
    return [_request("subscribe", dataset, products) for dataset, products in groups.items()]


def _request(kind: str, dataset: StreamDataset, products: list[str]) -> bytes:
    return msgspec.json.encode({"type": kind, "product_ids": products, "channel": _CHANNELS[dataset]})


# --- messages -------------------------------------------------------------------------------------------------------


class _Update(msgspec.Struct, gc=False):
    side: str
    event_time: str
    price_level: str
    new_quantity: str


class _BookEvent(msgspec.Struct, gc=False):
    type: str
    product_id: str
    updates: list[_Update] = []


class _Book(msgspec.Struct, tag_field="channel", tag="l2_data", gc=False):
    sequence_num: int
    timestamp: str
    events: list[_BookEvent] = []


class _Trade(msgspec.Struct, gc=False):
    trade_id: str
    product_id: str
    price: str
    size: str
    side: str
    time: str

    @property
    def number(self) -> int:
        return int(self.trade_id)


class _TradesEvent(msgspec.Struct, gc=False):
    type: str
    trades: list[_Trade] = []


class _MarketTrades(msgspec.Struct, tag_field="channel", tag="market_trades", gc=False):
    sequence_num: int
    timestamp: str
    events: list[_TradesEvent] = []


class _Ticker(msgspec.Struct, gc=False):
    product_id: str
    best_bid: str | None = None
    best_bid_quantity: str | None = None
    best_ask: str | None = None
    best_ask_quantity: str | None = None


class _TickerEvent(msgspec.Struct, gc=False):
    tickers: list[_Ticker] = []


class _Tickers(msgspec.Struct, tag_field="channel", tag="ticker", gc=False):
    sequence_num: int
    timestamp: str
    events: list[_TickerEvent] = []


class _Heartbeats(msgspec.Struct, tag_field="channel", tag="heartbeats", gc=False):
    sequence_num: int


class _SubscriptionsEvent(msgspec.Struct):
    subscriptions: dict[str, list[str] | None] = {}


class _Subscriptions(msgspec.Struct, tag_field="channel", tag="subscriptions"):
    sequence_num: int
    events: list[_SubscriptionsEvent] = []


class _Other(msgspec.Struct):
    """A channel of no interest, which is numbered all the same, or an error."""

    channel: str | None = None
    type: str | None = None
    message: str | None = None
    sequence_num: int | None = None


_MESSAGES = msgspec.json.Decoder(_Book | _MarketTrades | _Tickers | _Heartbeats | _Subscriptions)
_OTHERS = msgspec.json.Decoder(_Other)
_READ = frozenset({"l2_data", "market_trades", "ticker", "heartbeats", "subscriptions"})


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._symbols: dict[StreamDataset, dict[str, str]] = {dataset: {} for dataset in _CHANNELS}
        for item in subscriptions:
            self._symbols[item.dataset][item.venue_symbol] = item.symbol
        self._next: int | None = None
        # Books that stand; whether one came before says why the next is laid.
        self._laid: set[str] = set()
        self._laid_before: set[str] = set()
        self._resync = Resync()
        self._last_trade: dict[str, int] = {}
        self._subscribed: set[tuple[StreamDataset, str]] = set()
        self._asking = Asking(subscriptions, _subscribe, _UNDER_WAY)
        self._requests: list[bytes] = []

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        if self._asking.is_single:
            self._requests += self._asking.due(receive_time)
        try:
            message: Any = _MESSAGES.decode(data)
        except msgspec.MsgspecError as error:
            self._other(data, str(error), receive_time, rows)
            return
        if message.sequence_num != self._next and not self._is_next(message.sequence_num, receive_time, rows):
            return
        self._next = message.sequence_num + 1
        kind = type(message)
        try:
            if kind is _Book:
                self._book(message, receive_time, rows)
            elif kind is _MarketTrades:
                self._trades(message, receive_time, rows)
            elif kind is _Tickers:
                self._tickers(message, receive_time, rows)
            elif kind is _Subscriptions:
                self._confirm(message, receive_time, rows)
        except ValueError as error:
            rows.refuse(data, receive_time, str(error))
        if self._resync.waiting and (products := self._resync.due(receive_time)):
            self._requests += [_request(kind, _BOOK, products) for kind in ("unsubscribe", "subscribe")]

    def requests(self) -> Sequence[bytes]:
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def _is_next(self, number: int, receive_time: int, rows: MessageRows) -> bool:
        """Whether a message is to be read: one that comes again, or after its place, is not; what it skips is told."""
        if self._next is None:
            return True
        if number < self._next:
            return False
        rows.skip(receive_time, self._next, number - 1, resubscribe=bool(self._symbols[_BOOK]))
        for product in self._symbols[_BOOK]:
            self._resync.broken(product, receive_time)
        self._laid.clear()
        return True

    def _book(self, message: _Book, receive_time: int, rows: MessageRows) -> None:
        for event in message.events:
            product = event.product_id
            symbol = self._symbols[_BOOK].get(product)
            if symbol is None:
                continue
            bids: list[Level] = []
            asks: list[Level] = []
            for item in event.updates:
                (bids if item.side == "bid" else asks).append((item.price_level, item.new_quantity))
            if event.type == "snapshot":
                reason = "resync" if product in self._laid_before else "subscribed"
                number = message.sequence_num
                rows.snapshots.append((symbol, message.timestamp, receive_time, bids, asks, number, reason))
                rows.signals.append(
                    Signal(ConnectionEventKind.SNAPSHOT, receive_time, _BOOK, symbol, detail={"reason": reason})
                )
                self._laid.add(product)
                self._laid_before.add(product)
            elif product in self._laid:
                time = event.updates[-1].event_time if event.updates else message.timestamp
                rows.updates.append((symbol, time, receive_time, bids, asks, None, message.sequence_num, None))
            else:
                # It changes a book that is not there.
                continue
            key = (_BOOK, symbol)
            rows.heard[key] = rows.heard.get(key, 0) + 1

    def _trades(self, message: _MarketTrades, receive_time: int, rows: MessageRows) -> None:
        heard: set[str] = set()
        begun: set[str] = set()
        ordinal = 0
        for event in message.events:
            # The newest stands first.
            trades = sorted(event.trades, key=lambda item: item.number) if len(event.trades) > 1 else event.trades
            for item in trades:
                symbol = self._symbols[_TRADES].get(item.product_id)
                if symbol is None:
                    continue
                number, last = item.number, self._last_trade.get(symbol)
                heard.add(symbol)
                if last is not None and number <= last:
                    continue
                self._last_trade[symbol] = number
                if event.type == "snapshot" and (last is None or symbol in begun):
                    # Of before the subscription: after a reconnect most were heard, and holes are closed by REST.
                    begun.add(symbol)
                    continue
                if last is not None and number != last + 1:
                    rows.skip(receive_time, last + 1, number - 1, _TRADES, symbol)
                rows.trades.append(
                    (
                        symbol, item.time, receive_time, TAKER.get(item.side), item.price, item.size, number,
                        message.sequence_num, ordinal,
                    )
                )  # fmt: skip
                ordinal += 1
        for symbol in heard:
            key = (_TRADES, symbol)
            rows.heard[key] = rows.heard.get(key, 0) + 1

    def _tickers(self, message: _Tickers, receive_time: int, rows: MessageRows) -> None:
        for event in message.events:
            for item in event.tickers:
                symbol = self._symbols[_QUOTES].get(item.product_id)
                if symbol is None:
                    continue
                numbers = (item.best_bid, item.best_bid_quantity, item.best_ask, item.best_ask_quantity)
                bid, bid_size, ask, ask_size = (text or None for text in numbers)
                rows.quotes.append(
                    (symbol, message.timestamp, receive_time, bid, bid_size, ask, ask_size, message.sequence_num)
                )
                key = (_QUOTES, symbol)
                rows.heard[key] = rows.heard.get(key, 0) + 1

    def _confirm(self, message: _Subscriptions, receive_time: int, rows: MessageRows) -> None:
        """It lists all subscriptions each time."""
        for event in message.events:
            for channel, products in event.subscriptions.items():
                dataset = _DATASETS.get(channel)
                for product in products or () if dataset is not None else ():
                    symbol = self._symbols[dataset].get(product) if dataset is not None else None
                    if dataset is None or symbol is None or (dataset, symbol) in self._subscribed:
                        continue
                    self._subscribed.add((dataset, symbol))
                    self._asking.confirm(dataset, symbol)
                    rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))
        self._requests += self._asking.due(receive_time)

    def _other(self, data: bytes, why: str, receive_time: int, rows: MessageRows) -> None:
        try:
            message = _OTHERS.decode(data)
        except msgspec.MsgspecError:
            rows.refuse(data, receive_time, why)
            return
        if message.type == "error":
            words = message.message or "refused without a reason"
            self._requests += self._asking.refuse(words, receive_time, rows)
        elif message.channel is None or message.channel in _READ:
            # Its number is then missing, and the next message tells so.
            rows.refuse(data, receive_time, why)
            return
        if (number := message.sequence_num) is not None:
            if number != self._next and not self._is_next(number, receive_time, rows):
                return
            self._next = number + 1
