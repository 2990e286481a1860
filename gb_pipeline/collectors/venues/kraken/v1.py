"""This module speaks version 1 of Kraken's websockets, which Kraken has frozen: recordings of it are many, and it is still served.

https://docs.kraken.com/api/docs/websocket-v1/book. Its trades have no numbers, so that a missing one is not noticed; use version 2
for what is heard from now on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from gb_pipeline.collectors.messages import Level, MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription
from gb_pipeline.collectors.venue_options import currency_pair
from gb_pipeline.collectors.venues.kraken.books import CheckedBooks, deny_subscription, depth_of
from gb_pipeline.collectors.venues.kraken.v2 import OLD_NAMES, Kraken
from gb_pipeline.market.tick_schema import ConnectionEventKind, Side, StreamDataset

_ADDRESS = "ws.kraken.com"
_CHANNELS = {StreamDataset.TRADES: "trade", StreamDataset.BOOK_UPDATES: "book", StreamDataset.QUOTES: "spread"}
# Channels of books carry their depth: book-1000.
_DATASETS = {
    "trade": StreamDataset.TRADES,
    "book": StreamDataset.BOOK_UPDATES,
    "spread": StreamDataset.QUOTES,
    # Nobody subscribes to it here; recordings have it.
    "ticker": StreamDataset.QUOTES,
}
_SIDES = {"b": Side.BUY, "s": Side.SELL}
_TRADE_FIELDS = 4
_decode = msgspec.json.Decoder().decode


class KrakenV1(Kraken):
    """Kraken's spot market by version 1 of its websockets; options as for version 2."""

    name: ClassVar[str] = "kraken_v1"
    time_unit: ClassVar[TimeUnit] = TimeUnit.SECONDS
    address: ClassVar[str] = _ADDRESS

    def venue_symbol(self, symbol: str) -> str:
        """`XBT/USD` of BTC-USD."""
        base, quote, _ = currency_pair(symbol, self.name)
        return f"{OLD_NAMES.get(base, base)}/{OLD_NAMES.get(quote, quote)}"

    def opening(self, connection: Connection) -> list[bytes]:
        """One request for each channel and depth."""
        groups: dict[tuple[StreamDataset, int], list[str]] = {}
        for item in connection.subscriptions:
            depth = depth_of(item.depth) if item.dataset is StreamDataset.BOOK_UPDATES else 0
            groups.setdefault((item.dataset, depth), []).append(item.venue_symbol)
        return [_request("subscribe", dataset, depth, pairs) for (dataset, depth), pairs in groups.items()]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions)


def _request(event: str, dataset: StreamDataset, depth: int, pairs: list[str]) -> bytes:
    subscription: dict[str, Any] = {"name": _CHANNELS[dataset]} | ({"depth": depth} if depth else {})
    return msgspec.json.encode({"event": event, "pair": pairs, "subscription": subscription})


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._symbols = {(item.dataset, item.venue_symbol): item.symbol for item in subscriptions}
        books = [item for item in subscriptions if item.dataset is StreamDataset.BOOK_UPDATES]
        self._depths = {item.symbol: depth_of(item.depth) for item in books}
        self._pairs = {item.symbol: item.venue_symbol for item in books}
        self._book_symbols = {item.venue_symbol: item.symbol for item in books}
        self._books = CheckedBooks(self._depths)
        self._requests: list[bytes] = []

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            message = _decode(data)
            if isinstance(message, list):
                self._channel(message, receive_time, rows)
            else:
                self._event(message, receive_time, rows)
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            rows.refuse(data, receive_time, str(error))
        resync = self._books.resync
        for symbol in resync.due(receive_time) if resync.waiting else ():
            for event in ("unsubscribe", "subscribe"):
                pairs = [self._pairs[symbol]]
                self._requests.append(_request(event, StreamDataset.BOOK_UPDATES, self._depths[symbol], pairs))

    def requests(self) -> Sequence[bytes]:
        requests, self._requests = self._requests, []
        return requests

    def _channel(self, message: list[Any], receive_time: int, rows: MessageRows) -> None:
        channel, pair = message[-2], message[-1]
        if channel.startswith("book") and (symbol := self._book_symbols.get(pair)) is not None:
            self._book(symbol, message[1:-2], receive_time, rows)
            return
        dataset = _DATASETS.get(channel.partition("-")[0])
        symbol = None if dataset is None else self._symbols.get((dataset, pair))
        if dataset is None or symbol is None:
            return
        if dataset is StreamDataset.TRADES:
            for ordinal, trade in enumerate(message[1]):
                price, size, time, side = trade[:_TRADE_FIELDS]
                rows.trades.append((symbol, time, receive_time, _SIDES.get(side), price, size, None, None, ordinal))
        elif channel == "spread":
            bid, ask, time, bid_size, ask_size = message[1]
            rows.quotes.append((symbol, time, receive_time, bid, bid_size, ask, ask_size, None))
        else:
            # Price, whole lots, lots.
            bid, ask = message[1]["b"], message[1]["a"]
            rows.quotes.append((symbol, None, receive_time, bid[0], bid[2], ask[0], ask[2], None))
        rows.heard[dataset, symbol] = rows.heard.get((dataset, symbol), 0) + 1

    def _book(self, symbol: str, parts: list[dict[str, Any]], receive_time: int, rows: MessageRows) -> None:
        """One or two parts, of which the last has the checksum; a snapshot has its sides under `bs` and `as`."""
        bids: list[Level] = []
        asks: list[Level] = []
        time, checksum, is_whole = "", None, False
        for part in parts:
            for name, levels in part.items():
                if name == "c":
                    checksum = int(levels)
                    continue
                if name in {"as", "bs"}:
                    is_whole = True
                elif name not in {"a", "b"}:
                    continue
                side = asks if name[0] == "a" else bids
                for level in levels:
                    side.append((level[0], level[1]))
                    # All have ten digits before the point.
                    time = max(time, level[2])
        change = self._books.lay if is_whole else self._books.update
        change(symbol, time or None, receive_time, (bids, asks), checksum, rows)

    def _event(self, message: dict[str, Any], receive_time: int, rows: MessageRows) -> None:
        match message["event"]:
            case "systemStatus":
                detail = {"system": str(message.get("status")), "version": str(message.get("version"))}
                rows.signals.append(Signal(ConnectionEventKind.VENUE, receive_time, detail=dict(detail)))
            case "subscriptionStatus":
                name = (message.get("subscription") or {}).get("name", "")
                dataset = _DATASETS.get(name)
                symbol = None if dataset is None else self._symbols.get((dataset, message.get("pair", "")))
                if message.get("status") == "subscribed":
                    rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))
                elif message.get("status") == "error":
                    error, pair = message.get("errorMessage"), message.get("pair")
                    deny_subscription(rows, receive_time, error, pair, dataset, symbol)
