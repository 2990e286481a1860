"""Coinbase's websocket dialects: Advanced Trade, which numbers every message of a connection, and the Exchange's own feed."""

from __future__ import annotations

import json
from typing import Any

from gb_pipeline.simulation.books import Book
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.streams.ladder import Ladders, Tick, iso, steps_within, trades_within
from gb_pipeline.simulation.streams.session import Frame, Session

_HEARTBEAT_MS = 1_000
_RECENT_MS = 60_000
_MOST_RECENT = 100
# Trades of a quarter of a second come in one message.
_BATCH_MS = 250
_NO_TIME = "1970-01-01T00:00:00Z"


class _Products(Session):
    """What both feeds share: products, and the books that were told."""

    def __init__(self, market: Any, handshake: Any) -> None:
        """Nothing subscribed to."""
        super().__init__(market, handshake)
        self._subscribed: dict[str, list[str]] = {}
        self._books = Ladders(market)

    def _listed(self, name: str) -> Instrument | None:
        item = self.market.instruments.get(str(name))
        listed = item is not None and not item.perpetual and item in self.market.listed()
        return item if listed and not self.market.delisted(item.code) else None

    def _items(self, channel: str) -> list[Instrument]:
        return [item for name in list(self._subscribed.get(channel, [])) if (item := self._listed(name)) is not None]

    def _recent(self, item: Instrument) -> list[Tick]:
        return trades_within(self.market, item, self.market.now - _RECENT_MS, self.market.now)[-_MOST_RECENT:]


class CoinbaseSession(_Products):
    """One connection to Advanced Trade."""

    HOSTS = ("advanced-trade-ws.coinbase.com",)
    _CHANNELS = ("level2", "market_trades", "ticker", "heartbeats")

    def __init__(self, market: Any, handshake: Any) -> None:
        """Numbers begin at 0."""
        super().__init__(market, handshake)
        self._number = 0
        self._heartbeats = 0

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a subscription, and its snapshot."""
        try:
            request = json.loads(frame)
            kind, channel = request["type"], request["channel"]
        except (ValueError, KeyError, TypeError):
            return [json.dumps({"type": "error", "message": "failed to parse message"})]
        if kind not in {"subscribe", "unsubscribe"} or channel not in self._CHANNELS:
            return [json.dumps({"type": "error", "message": f"{channel} is not a valid channel"})]
        products = request.get("product_ids", [])
        unknown = [name for name in products if self._listed(name) is None]
        if unknown:
            return [json.dumps({"type": "error", "message": f"{unknown[0]} is not a valid product"})]
        known = self._subscribed.setdefault(channel, [])
        if kind == "unsubscribe":
            self._subscribed[channel] = [name for name in known if name not in products]
            for name in products if channel == "level2" else ():
                self._books.forget(self.market.instruments[name])
            return [self._told()]
        self._subscribed[channel] = [*known, *(name for name in products if name not in known)]
        return [*self._snapshots(channel, products), self._told()]

    def events(self, start: int, end: int) -> list[Frame]:
        """Trades by quarters of a second, changed books and heartbeats."""
        events: list[tuple[int, str, list[dict[str, Any]]]] = []
        for item in self._items("market_trades"):
            batches: dict[int, list[Tick]] = {}
            for trade in trades_within(self.market, item, start, end, self.skew_ms):
                batches.setdefault(trade.time // _BATCH_MS, []).append(trade)
            for trades in batches.values():
                shown = [_trade(item, trade) for trade in reversed(trades)]
                events.append((trades[-1].time - self.skew_ms, "market_trades", [{"type": "update", "trades": shown}]))
        for item in self._items("level2"):
            for moment, _ in steps_within(start, end):
                books = self._books.advance(item, moment)
                changes = None if books is None else books[0].changes(books[1])
                if changes is not None and (changes.bids or changes.asks):
                    event = {
                        "type": "update",
                        "product_id": item.code,
                        "updates": _updates(item, changes, iso(moment + self.skew_ms)),
                    }
                    events.append((moment, "l2_data", [event]))
        for item in self._items("ticker"):
            for trade in trades_within(self.market, item, start, end, self.skew_ms)[-1:]:
                events.append(
                    (trade.time - self.skew_ms, "ticker", [{"type": "update", "tickers": [self._ticker(item, trade)]}])
                )
        events.sort(key=lambda event: event[0])
        frames: list[Frame] = [self._message(channel, body, moment) for moment, channel, body in events]
        if "heartbeats" in self._subscribed and end // _HEARTBEAT_MS > start // _HEARTBEAT_MS:
            self._heartbeats += 1
            beat = {"current_time": iso(end + self.skew_ms), "heartbeat_counter": self._heartbeats}
            frames.append(self._message("heartbeats", [beat], end))
        return frames

    def _snapshots(self, channel: str, products: list[str]) -> list[Frame]:
        now = self.market.now
        frames: list[Frame] = []
        for name in products:
            item = self.market.instruments[name]
            if channel == "level2":
                book = self._books.lay(item, now) or Book({}, {})
                event = {"type": "snapshot", "product_id": name, "updates": _updates(item, book, _NO_TIME)}
                frames.append(self._message("l2_data", [event], now))
            elif channel == "market_trades":
                trades = [_trade(item, trade) for trade in reversed(self._recent(item))]
                frames.append(self._message("market_trades", [{"type": "snapshot", "trades": trades}], now))
            elif channel == "ticker" and (recent := self._recent(item)):
                event = {"type": "snapshot", "tickers": [self._ticker(item, recent[-1])]}
                frames.append(self._message("ticker", [event], now))
        return frames

    def _told(self) -> Frame:
        return self._message("subscriptions", [{"subscriptions": self._subscribed}], self.market.now)

    def _ticker(self, item: Instrument, trade: Tick) -> dict[str, Any]:
        book = Ladders(self.market).lay(item, trade.time) or Book({}, {})
        bids, asks = book.cut(1).texts(item)
        (bid, bid_size), (ask, ask_size) = (*bids, ("", ""))[0], (*asks, ("", ""))[0]
        best = {"best_bid": bid, "best_bid_quantity": bid_size, "best_ask": ask, "best_ask_quantity": ask_size}
        return {"type": "ticker", "product_id": item.code, "price": trade.price, **best}

    def _message(self, channel: str, events: list[dict[str, Any]], moment: int) -> str:
        body = {
            "channel": channel,
            "client_id": "",
            "timestamp": iso(moment + self.skew_ms),
            "sequence_num": self._number,
            "events": events,
        }
        self._number += 1
        return json.dumps(body, separators=(",", ":"))


class CoinbaseExchangeSession(_Products):
    """One connection to the Exchange's feed."""

    HOSTS = ("ws-feed.exchange.coinbase.com",)
    _CHANNELS = ("level2", "level2_batch", "matches", "ticker", "heartbeat")

    def __init__(self, market: Any, handshake: Any) -> None:
        """No trade told yet."""
        super().__init__(market, handshake)
        self._last: dict[str, int] = {}

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a subscription, and its snapshots."""
        try:
            request = json.loads(frame)
            kind, asked = request["type"], request["channels"]
        except (ValueError, KeyError, TypeError):
            return [_error("Malformed JSON", "")]
        common = request.get("product_ids", [])
        channels = [
            {"name": item, "product_ids": common} if isinstance(item, str) else {"product_ids": common} | item
            for item in asked
        ]
        for channel in channels:
            if kind not in {"subscribe", "unsubscribe"} or channel["name"] not in self._CHANNELS:
                return [_error("Failed to subscribe", f"{channel['name']} is not a valid channel")]
            for name in channel["product_ids"]:
                if self._listed(name) is None:
                    return [_error("Failed to subscribe", f"{name} is not a valid product")]
        frames: list[Frame] = []
        for channel in channels:
            name, products = channel["name"], channel["product_ids"]
            known = self._subscribed.setdefault(name, [])
            if kind == "unsubscribe":
                self._subscribed[name] = [product for product in known if product not in products]
                continue
            self._subscribed[name] = [*known, *(product for product in products if product not in known)]
            frames += self._snapshots(name, products)
        told = [{"name": name, "product_ids": products} for name, products in self._subscribed.items() if products]
        return [_dumps({"type": "subscriptions", "channels": told}), *frames]

    def events(self, start: int, end: int) -> list[Frame]:
        """Matches, changed books and heartbeats."""
        events: list[tuple[int, Frame]] = []
        for item in self._items("matches"):
            for trade in trades_within(self.market, item, start, end, self.skew_ms):
                self._last[item.code] = trade.number
                events.append((trade.time, _dumps(_match("match", item, trade))))
        for channel in ("level2", "level2_batch"):
            for item in self._items(channel):
                for moment, _ in steps_within(start, end):
                    books = self._books.advance(item, moment)
                    changes = None if books is None else books[0].changes(books[1])
                    if changes is None or not (changes.bids or changes.asks):
                        continue
                    bids, asks = changes.texts(item)
                    rows = [["buy", *level] for level in bids] + [["sell", *level] for level in asks]
                    body = {
                        "type": "l2update",
                        "product_id": item.code,
                        "changes": rows,
                        "time": iso(moment + self.skew_ms),
                    }
                    events.append((moment, _dumps(body)))
        events.sort(key=lambda pair: pair[0])
        frames = [frame for _, frame in events]
        if end // _HEARTBEAT_MS > start // _HEARTBEAT_MS:
            for item in self._items("heartbeat"):
                if (last := self._last.get(item.code)) is not None:
                    beat = {"type": "heartbeat", "last_trade_id": last, "product_id": item.code, "sequence": last}
                    frames.append(_dumps({**beat, "time": iso(end + self.skew_ms)}))
        return frames

    def _snapshots(self, channel: str, products: list[str]) -> list[Frame]:
        frames: list[Frame] = []
        for name in products:
            item = self.market.instruments[name]
            if channel.startswith("level2"):
                bids, asks = (self._books.lay(item, self.market.now) or Book({}, {})).texts(item)
                body = {"type": "snapshot", "product_id": name, "asks": asks, "bids": bids}
                frames.append(_dumps({**body, "time": iso(self.market.now)}))
            elif channel == "matches" and (recent := self._recent(item)):
                self._last[name] = recent[-1].number
                frames.append(_dumps(_match("last_match", item, recent[-1])))
        return frames


def _error(message: str, reason: str) -> str:
    return _dumps({"type": "error", "message": message, "reason": reason})


def _match(kind: str, item: Instrument, trade: Tick) -> dict[str, Any]:
    return {
        "type": kind,
        "trade_id": trade.number,
        "maker_order_id": "00000000-0000-0000-0000-000000000000",
        "taker_order_id": "00000000-0000-0000-0000-000000000000",
        "side": "buy" if trade.buyer_is_maker else "sell",
        "size": trade.size,
        "price": trade.price,
        "product_id": item.code,
        "sequence": trade.number,
        "time": iso(trade.time),
    }


def _trade(item: Instrument, trade: Tick) -> dict[str, str]:
    """The side is that of the maker."""
    return {
        "trade_id": str(trade.number),
        "product_id": item.code,
        "price": trade.price,
        "size": trade.size,
        "side": "BUY" if trade.buyer_is_maker else "SELL",
        "time": iso(trade.time),
    }


def _updates(item: Instrument, book: Book, time: str) -> list[dict[str, str]]:
    return [
        {"side": side, "event_time": time, "price_level": price, "new_quantity": size}
        for side, levels in zip(("bid", "offer"), book.texts(item), strict=True)
        for price, size in levels
    ]


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
