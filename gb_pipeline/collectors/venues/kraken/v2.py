"""This module speaks version 2 of Kraken's websockets: books with a checksum in each message, numbered trades, best bid and ask.

https://docs.kraken.com/api/docs/websocket-v2/book. Numbers are JSON numbers with all their digits, and stay the digits that came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import msgspec
import polars as pl

from gb_pipeline.collectors.messages import Level, MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import (
    base_url_alone,
    currency_pair,
    rest_client,
    rest_url,
    spread_symbols,
    websocket_url,
)
from gb_pipeline.collectors.venues.kraken.books import CheckedBooks, deny_subscription, depth_of
from gb_pipeline.collectors.venues.kraken.trades import PACE, fetch_trades
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.providers.http.policy import Policy

_ADDRESS = "ws.kraken.com/v2"
_TRADES_ADDRESS = "api.kraken.com/0/public/Trades"
# A heartbeat comes every second in which nothing else does.
_SILENCE_SECONDS = 15.0
# Kraken names no limit; a snapshot of a book of 1000 levels has 80 kB, and so many of them are a few seconds of a slow line.
_SYMBOLS_PER_CONNECTION = 100
_CHANNELS = {StreamDataset.TRADES: "trade", StreamDataset.BOOK_UPDATES: "book", StreamDataset.QUOTES: "ticker"}
_DATASETS = {channel: dataset for dataset, channel in _CHANNELS.items()}
# Refusals name the request, not the channel.
_REQUESTS = {dataset: number for number, dataset in enumerate(_CHANNELS, 1)}
_BY_REQUEST = {number: dataset for dataset, number in _REQUESTS.items()}
# REST and version 1 have names of their own for the oldest currencies.
OLD_NAMES = {"BTC": "XBT", "DOGE": "XDG"}


class Kraken(Venue):
    """Kraken's spot market.

    Options: `base_url` of a simulated venue on loopback.
    """

    name: ClassVar[str] = "kraken"
    datasets: ClassVar[tuple[StreamDataset, ...]] = tuple(_CHANNELS)
    time_unit: ClassVar[TimeUnit] = TimeUnit.ISO
    cuts_books: ClassVar[bool] = True
    address: ClassVar[str] = _ADDRESS

    def __init__(self, base_url: str | None = None) -> None:
        """Nothing is opened."""
        self._base_url = base_url

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        return cls(base_url_alone(source, cls.name, options))

    def venue_symbol(self, symbol: str) -> str:
        """`BTC/USD` of BTC-USD."""
        base, quote, _ = currency_pair(symbol, self.name)
        return f"{base}/{quote}"

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One for each hundred symbols, with all datasets of a symbol on the same."""
        exact = [
            replace(item, depth=depth_of(item.depth)) if item.dataset is StreamDataset.BOOK_UPDATES else item
            for item in subscriptions
        ]
        url = websocket_url(self.address, self._base_url)
        return spread_symbols(exact, _SYMBOLS_PER_CONNECTION, self.name, url, _SILENCE_SECONDS)

    def opening(self, connection: Connection) -> list[bytes]:
        """One request for each channel and depth."""
        groups: dict[tuple[StreamDataset, int], list[str]] = {}
        for item in connection.subscriptions:
            depth = depth_of(item.depth) if item.dataset is StreamDataset.BOOK_UPDATES else 0
            groups.setdefault((item.dataset, depth), []).append(item.venue_symbol)
        return [_request("subscribe", dataset, depth, symbols) for (dataset, depth), symbols in groups.items()]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection)

    async def fetch_trades(self, symbol: str, start_time: int, end_time: int) -> pl.DataFrame:
        """Trades of the window by REST; see `Venue.fetch_trades`.

        Raises:
            VendorError: Kraken refuses, or cannot be reached.
        """
        base, quote, _ = currency_pair(symbol, self.name)
        pair = OLD_NAMES.get(base, base) + OLD_NAMES.get(quote, quote)
        client = rest_client(self.name, Policy(rate=PACE), self._base_url)
        try:
            return await fetch_trades(client, rest_url(_TRADES_ADDRESS, None), pair, start_time, end_time)
        finally:
            await client.aclose()
            client.transport.close()


def _request(method: str, dataset: StreamDataset, depth: int, symbols: list[str]) -> bytes:
    params: dict[str, Any] = {"channel": _CHANNELS[dataset], "symbol": symbols}
    if dataset is StreamDataset.BOOK_UPDATES:
        params["depth"] = depth
    if dataset is StreamDataset.QUOTES:
        params["event_trigger"] = "bbo"
    if dataset is StreamDataset.TRADES:
        # The last fifty trades before: nobody asked for them, and after a reconnect most were heard.
        params["snapshot"] = False
    return msgspec.json.encode({"method": method, "params": params, "req_id": _REQUESTS[dataset]})


# --- messages -------------------------------------------------------------------------------------------------------


class _Point(msgspec.Struct, gc=False):
    # Text of a number with a point; an integer where there is none.
    price: Any
    qty: Any


class _Levels(msgspec.Struct, gc=False):
    symbol: str
    bids: list[_Point] = []
    asks: list[_Point] = []
    checksum: int | None = None
    timestamp: str | None = None


class _Book(msgspec.Struct, tag_field="channel", tag="book", gc=False):
    type: str
    data: list[_Levels]


class _Trade(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: Any
    qty: Any
    trade_id: int
    timestamp: str


class _Trades(msgspec.Struct, tag_field="channel", tag="trade", gc=False):
    type: str
    data: list[_Trade]


class _Ticker(msgspec.Struct, gc=False):
    symbol: str
    bid: Any = None
    bid_qty: Any = None
    ask: Any = None
    ask_qty: Any = None
    timestamp: str | None = None


class _Tickers(msgspec.Struct, tag_field="channel", tag="ticker", gc=False):
    data: list[_Ticker]


class _Heartbeat(msgspec.Struct, tag_field="channel", tag="heartbeat", gc=False):
    pass


class _Status(msgspec.Struct, tag_field="channel", tag="status"):
    data: list[dict[str, Any]] = []


class _Subscribed(msgspec.Struct):
    channel: str | None = None
    symbol: str | None = None


class _Answer(msgspec.Struct):
    """What a request led to."""

    method: str
    success: bool = True
    error: str | None = None
    symbol: str | None = None
    req_id: int | None = None
    result: _Subscribed | None = None


_MESSAGES = msgspec.json.Decoder(_Book | _Trades | _Tickers | _Heartbeat | _Status, float_hook=str)
_ANSWERS = msgspec.json.Decoder(_Answer)


class _Decoder(Decoder):
    def __init__(self, connection: Connection) -> None:
        self._symbols: dict[tuple[StreamDataset, str], str] = {
            (item.dataset, item.venue_symbol): item.symbol for item in connection.subscriptions
        }
        books = {item.symbol: item for item in connection.subscriptions if item.dataset is StreamDataset.BOOK_UPDATES}
        self._book_symbols = {item.venue_symbol: item.symbol for item in books.values()}
        self._depths = {symbol: depth_of(item.depth) for symbol, item in books.items()}
        self._books = CheckedBooks(self._depths)
        self._venue_symbols = {item.symbol: item.venue_symbol for item in books.values()}
        self._trade_symbols = {
            venue: symbol for (dataset, venue), symbol in self._symbols.items() if dataset is StreamDataset.TRADES
        }
        self._last_trade: dict[str, int] = {}
        self._requests: list[bytes] = []

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            message = _MESSAGES.decode(data)
            kind = type(message)
            if kind is _Book:
                self._book(message, receive_time, rows)
            elif kind is _Trades:
                self._trades(message, receive_time, rows)
            elif kind is _Tickers:
                self._tickers(message, receive_time, rows)
            elif kind is _Status:
                self._status(message, receive_time, rows)
        except msgspec.MsgspecError:
            self._answer(data, receive_time, rows)
        except ValueError as error:
            rows.refuse(data, receive_time, str(error))
        resync = self._books.resync
        for symbol in resync.due(receive_time) if resync.waiting else ():
            for method in ("unsubscribe", "subscribe"):
                names = [self._venue_symbols[symbol]]
                self._requests.append(_request(method, StreamDataset.BOOK_UPDATES, self._depths[symbol], names))

    def requests(self) -> Sequence[bytes]:
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def _book(self, message: _Book, receive_time: int, rows: MessageRows) -> None:
        for item in message.data:
            symbol = self._book_symbols.get(item.symbol)
            if symbol is None:
                continue
            levels = (_to_levels(item.bids), _to_levels(item.asks))
            if message.type == "update":
                self._books.update(symbol, item.timestamp, receive_time, levels, item.checksum, rows)
            else:
                self._books.lay(symbol, item.timestamp, receive_time, levels, item.checksum, rows)

    def _trades(self, message: _Trades, receive_time: int, rows: MessageRows) -> None:
        told = None
        for ordinal, item in enumerate(message.data):
            symbol = self._trade_symbols.get(item.symbol)
            if symbol is None:
                continue
            number, last = item.trade_id, self._last_trade.get(symbol)
            if last is not None and number != last + 1:
                if number <= last:
                    # It came again, or after its place: the gap was told when the later one came.
                    continue
                rows.skip(receive_time, last + 1, number - 1, StreamDataset.TRADES, symbol)
            self._last_trade[symbol] = number
            if message.type == "snapshot":
                continue
            rows.trades.append(
                (
                    symbol,
                    item.timestamp,
                    receive_time,
                    item.side,
                    _text(item.price),
                    _text(item.qty),
                    number,
                    None,
                    ordinal,
                )
            )
            if symbol != told:
                told, key = symbol, (StreamDataset.TRADES, symbol)
                rows.heard[key] = rows.heard.get(key, 0) + 1

    def _tickers(self, message: _Tickers, receive_time: int, rows: MessageRows) -> None:
        for item in message.data:
            symbol = self._symbols.get((StreamDataset.QUOTES, item.symbol))
            if symbol is None:
                continue
            numbers = [
                None if value is None else _text(value) for value in (item.bid, item.bid_qty, item.ask, item.ask_qty)
            ]
            rows.quotes.append(
                (symbol, item.timestamp, receive_time, numbers[0], numbers[1], numbers[2], numbers[3], None)
            )
            key = (StreamDataset.QUOTES, symbol)
            rows.heard[key] = rows.heard.get(key, 0) + 1

    def _status(self, message: _Status, receive_time: int, rows: MessageRows) -> None:
        for item in message.data:
            detail = {"system": str(item.get("system")), "version": str(item.get("version"))}
            rows.signals.append(Signal(ConnectionEventKind.VENUE, receive_time, detail=dict(detail)))

    def _answer(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        try:
            answer = _ANSWERS.decode(data)
        except msgspec.MsgspecError as error:
            if _channel_of(data) is None:
                rows.refuse(data, receive_time, str(error))
            return
        if answer.method != "subscribe":
            return
        named = answer.result or _Subscribed(None, answer.symbol)
        dataset = _DATASETS.get(named.channel or "") or _BY_REQUEST.get(answer.req_id or 0)
        symbol = None if dataset is None else self._symbols.get((dataset, named.symbol or answer.symbol or ""))
        if answer.success:
            rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))
            return
        deny_subscription(rows, receive_time, answer.error, answer.symbol, dataset, symbol)


class _Channel(msgspec.Struct):
    channel: str


_CHANNEL = msgspec.json.Decoder(_Channel)
_READ = frozenset({*_DATASETS, "heartbeat", "status"})


def _channel_of(data: bytes) -> str | None:
    """The channel of a message that is none of ours, such as one that Kraken added; None where it should have been read."""
    try:
        channel = _CHANNEL.decode(data).channel
    except msgspec.MsgspecError:
        return None
    return None if channel in _READ else channel


def _text(value: Any) -> str:
    return value if type(value) is str else str(value)


def _to_levels(points: list[_Point]) -> list[Level]:
    levels = [(point.price, point.qty) for point in points]
    for price, size in levels:
        if type(price) is not str or type(size) is not str:
            return [(_text(price), _text(size)) for price, size in levels]
    return levels
