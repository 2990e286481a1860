"""This module reads recorded messages of BitMEX: trades, quotes, and books whose levels have numbers instead of prices.

https://www.bitmex.com/app/wsAPI. A change of a level names it by its `id`; its price was told when it was inserted, or in the whole
book (`partial`). Messages have no numbers, so nothing that was missed would show, and nothing is said to be covered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from gb_pipeline.collectors.messages import Level, MessageRows, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.market.tick_schema import Side, StreamDataset

# Numbers stay the text that came.
_MESSAGES = msgspec.json.Decoder(float_hook=str)
_TABLES = {
    "trade": StreamDataset.TRADES,
    "quote": StreamDataset.QUOTES,
    "orderBookL2": StreamDataset.BOOK_UPDATES,
}
_TAKERS = {"Buy": Side.BUY.value, "Sell": Side.SELL.value}


class RecordedBitmex(Venue):
    """BitMEX as recordings have it; it is not heard live."""

    name: ClassVar[str] = "bitmex"
    datasets: ClassVar[tuple[StreamDataset, ...]] = tuple(_TABLES.values())
    time_unit: ClassVar[TimeUnit] = TimeUnit.ISO

    @classmethod
    def from_options(cls, _source: str, _options: Mapping[str, Any]) -> Self:
        """Recordings need none."""
        return cls()

    def venue_symbol(self, symbol: str) -> str:
        """Recordings name instruments themselves."""
        return symbol

    def connections(self, _subscriptions: Sequence[Subscription]) -> list[Connection]:
        """None: it is not heard live."""
        return []

    def opening(self, _connection: Connection) -> list[bytes]:
        """Nothing is sent."""
        return []

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions)


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._symbols = {(item.dataset, item.venue_symbol): item.symbol for item in subscriptions}
        # Prices of the levels of each book that is whole, by their ids.
        self._prices: dict[str, dict[int, str]] = {}

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            message = _MESSAGES.decode(data)
            dataset = _TABLES.get(message.get("table", ""))
            if dataset is None:
                return
            items = message["data"]
            names = {item["symbol"] for item in items} or {message.get("filter", {}).get("symbol", "")}
            for name in names:
                if (symbol := self._symbols.get((dataset, name))) is not None:
                    own = [item for item in items if item["symbol"] == name]
                    self._tell(dataset, message["action"], symbol, own, receive_time, rows)
                    rows.heard[dataset, symbol] = rows.heard.get((dataset, symbol), 0) + 1
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError) as error:
            rows.refuse(data, receive_time, f"{type(error).__name__}: {error}")

    def _tell(
        self,
        dataset: StreamDataset,
        action: str,
        symbol: str,
        items: list[dict[str, Any]],
        receive_time: int,
        rows: MessageRows,
    ) -> None:
        if dataset is StreamDataset.BOOK_UPDATES:
            self._book(action, symbol, items, receive_time, rows)
        elif dataset is StreamDataset.QUOTES:
            # Of one message and one moment each a nanosecond later, or they would be one quote.
            rows.quotes += [
                (symbol, item["timestamp"], receive_time + place, *_texts(item), None)
                for place, item in enumerate(items)
            ]
        elif action == "insert":
            # The whole (`partial`) is the last trade of before, which somebody else heard.
            rows.trades += [
                (
                    symbol, item["timestamp"], receive_time, _TAKERS.get(item["side"]), str(item["price"]), str(item["size"]),
                    item["trdMatchID"], None, ordinal,
                )
                for ordinal, item in enumerate(items)
            ]  # fmt: skip

    def _book(
        self, action: str, symbol: str, items: list[dict[str, Any]], receive_time: int, rows: MessageRows
    ) -> None:
        if action == "partial":
            self._prices[symbol] = {item["id"]: str(item["price"]) for item in items}
            bids, asks = self._sides(symbol, items)
            bids.sort(key=lambda level: float(level[0]), reverse=True)
            asks.sort(key=lambda level: float(level[0]))
            rows.snapshots.append((symbol, None, receive_time, bids, asks, None, "subscribed"))
            return
        if (prices := self._prices.get(symbol)) is None:
            # What comes before the whole book is in it.
            return
        prices |= {item["id"]: str(item["price"]) for item in items if "price" in item}
        bids, asks = self._sides(symbol, items)
        rows.updates.append((symbol, None, receive_time, bids, asks, None, None, None))
        if action == "delete":
            for item in items:
                prices.pop(item["id"], None)

    def _sides(self, symbol: str, items: list[dict[str, Any]]) -> tuple[list[Level], list[Level]]:
        """Bids and asks; a level without a size is gone."""
        prices = self._prices[symbol]
        bids, asks = (
            [(prices[item["id"]], str(item.get("size", 0))) for item in items if item["side"] == side]
            for side in ("Buy", "Sell")
        )
        return bids, asks


def _texts(item: Mapping[str, Any]) -> tuple[str | None, str | None, str | None, str | None]:
    names = ("bidPrice", "bidSize", "askPrice", "askSize")
    bid, bid_size, ask, ask_size = (None if item.get(name) is None else str(item[name]) for name in names)
    return bid, bid_size, ask, ask_size
