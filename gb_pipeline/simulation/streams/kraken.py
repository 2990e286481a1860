"""Kraken's websocket dialect, version 2: books with a checksum in each message, numbered trades, the best bid and ask."""

from __future__ import annotations

import json
from typing import Any

from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.simulation.books import Book, to_texts
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.streams.ladder import Ladders, iso, steps_within, trades_within
from gb_pipeline.simulation.streams.session import Frame, Session

_DEPTHS = (10, 25, 100, 500, 1000)
_CHANNELS = ("book", "trade", "ticker")
_HEARTBEAT_MS = 1_000
_RECENT_MS = 60_000
_MOST_RECENT = 50
# Of each side, in a checksum.
_SUMMED_LEVELS = 10


class KrakenSession(Session):
    """One connection to Kraken's spot market."""

    HOSTS = ("ws.kraken.com",)

    def __init__(self, market: Any, handshake: Any) -> None:
        """Nothing subscribed to."""
        super().__init__(market, handshake)
        self._subscribed: dict[tuple[str, str], int] = {}
        self._books = Ladders(market)
        self._best: dict[str, tuple[Any, Any]] = {}

    def opened(self) -> list[Frame]:
        """The state of the exchange."""
        status = {"api_version": "v2", "connection_id": 1, "system": "online", "version": "2.0.10"}
        return [_dumps({"channel": "status", "data": [status], "type": "update"})]

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a subscription, and its snapshot."""
        now = iso(self.market.now)
        times = {"time_in": now, "time_out": now}
        try:
            request = json.loads(frame)
            method, params = request["method"], request.get("params", {})
        except (ValueError, KeyError, TypeError):
            return [_dumps({"error": "Malformed request", "success": False, **times})]
        numbered = {"req_id": request["req_id"]} if "req_id" in request else {}
        if method == "ping":
            return [_dumps({"method": "pong", **times, **numbered})]
        channel = params.get("channel")
        if method not in {"subscribe", "unsubscribe"} or channel not in _CHANNELS:
            return [_dumps({"error": "Unsupported event", "method": method, "success": False, **times, **numbered})]
        answers: list[Frame] = []
        for name in params.get("symbol", []):
            item = self._listed(name)
            depth = params.get("depth", 10)
            if item is None or (channel == "book" and depth not in _DEPTHS):
                error = f"Currency pair not supported {name}" if item is None else "Subscription depth not supported"
                refusal = {"error": error, "method": method, "success": False, "symbol": name}
                answers.append(_dumps({**refusal, **times, **numbered}))
                continue
            result = {"channel": channel, "symbol": name} | ({"depth": depth} if channel == "book" else {})
            answers.append(_dumps({"method": method, "result": result, "success": True, **times, **numbered}))
            if method == "unsubscribe":
                self._subscribed.pop((channel, name), None)
                if channel == "book":
                    self._books.forget(item)
                continue
            self._subscribed[channel, name] = depth
            answers += self._snapshot(channel, name, item, depth, wanted=params.get("snapshot", True))
        return answers

    def events(self, start: int, end: int) -> list[Frame]:
        """Trades, changed books and heartbeats."""
        events: list[tuple[int, Frame]] = []
        for (channel, name), depth in list(self._subscribed.items()):
            item = self._listed(name)
            if item is None:
                continue
            if channel == "trade":
                for trade in trades_within(self.market, item, start, end, self.skew_ms):
                    message = {"channel": "trade", "type": "update", "data": [_trade(name, trade)]}
                    events.append((trade.time, _dumps(message)))
                continue
            for moment, _ in steps_within(start, end):
                frame = (
                    self._book_update(name, item, depth, moment)
                    if channel == "book"
                    else self._ticker(name, item, moment)
                )
                if frame is not None:
                    events.append((moment, frame))
        events.sort(key=lambda pair: pair[0])
        frames = [frame for _, frame in events]
        if self._subscribed and end // _HEARTBEAT_MS > start // _HEARTBEAT_MS:
            frames.append('{"channel":"heartbeat"}')
        return frames

    def _listed(self, name: str) -> Instrument | None:
        item = self.market.instruments.get(str(name).replace("/", "-"))
        listed = item is not None and not item.perpetual and item in self.market.listed()
        return item if listed and not self.market.delisted(item.code) else None

    def _snapshot(self, channel: str, name: str, item: Instrument, depth: int, *, wanted: bool) -> list[Frame]:
        now = self.market.now
        if channel == "book":
            book = self._books.lay(item, now) or Book({}, {})
            whole = book.cut(depth)
            data = _levels(name, item, whole, whole, now + self.skew_ms)
            return [_dumps({"channel": "book", "type": "snapshot", "data": [data]})]
        if not wanted:
            return []
        if channel == "ticker":
            self._best.pop(name, None)
            frame = self._ticker(name, item, now)
            return [] if frame is None else [frame]
        recent = trades_within(self.market, item, now - _RECENT_MS, now)[-_MOST_RECENT:]
        return [_dumps({"channel": "trade", "type": "snapshot", "data": [_trade(name, trade) for trade in recent]})]

    def _book_update(self, name: str, item: Instrument, depth: int, moment: int) -> Frame | None:
        books = self._books.advance(item, moment)
        if books is None:
            return None
        before, after = books
        cut = after.cut(depth)
        changes = before.cut(depth).changes(cut, after)
        if not changes.bids and not changes.asks:
            return None
        data = _levels(name, item, changes, cut, moment + self.skew_ms)
        return _dumps({"channel": "book", "type": "update", "data": [data]})

    def _ticker(self, name: str, item: Instrument, moment: int) -> Frame | None:
        books = Ladders(self.market).lay(item, moment)
        if books is None or not books.bids:
            return None
        (bid, *_), (ask, *_) = to_texts(books.bids, item), to_texts(books.asks, item)
        if self._best.get(name) == (bid, ask):
            return None
        kind = "update" if name in self._best else "snapshot"
        self._best[name] = (bid, ask)
        numbers = {"bid": _Kept(bid[0]), "bid_qty": _Kept(_eight(bid[1]))}
        numbers |= {"ask": _Kept(ask[0]), "ask_qty": _Kept(_eight(ask[1]))}
        data = {"symbol": name, **numbers, "timestamp": iso(moment + self.skew_ms)}
        return _dumps({"channel": "ticker", "type": kind, "data": [data]})


def _trade(name: str, trade: Any) -> dict[str, Any]:
    return {
        "symbol": name,
        "side": "sell" if trade.buyer_is_maker else "buy",
        "price": _Kept(trade.price),
        "qty": _Kept(_eight(trade.size)),
        "ord_type": "market",
        "trade_id": trade.number,
        "timestamp": iso(trade.time),
    }


def _levels(name: str, item: Instrument, changes: Book, whole: Book, moment: int) -> dict[str, Any]:
    """Changed levels, with the checksum of the whole book after them; numbers keep all their digits."""
    book = OrderBook()
    book.lay(*([(price, _eight(size)) for price, size in side] for side in whole.cut(_SUMMED_LEVELS).texts(item)))
    bids, asks = (
        [{"price": _Kept(price), "qty": _Kept(_eight(size))} for price, size in side] for side in changes.texts(item)
    )
    return {"symbol": name, "bids": bids, "asks": asks, "checksum": book.checksum(), "timestamp": iso(moment)}


def _eight(size: str) -> str:
    """Kraken writes quantities with eight decimals, whatever their grid."""
    whole, _, fraction = size.partition(".")
    return f"{whole}.{fraction:0<8}"


class _Kept(str):
    """Decimal text that is written as a number with all its digits, zeros at the end among them."""

    __slots__ = ()


def _dumps(value: Any) -> str:
    if isinstance(value, _Kept):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_dumps(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumps, value)) + "]"
    return json.dumps(value)
