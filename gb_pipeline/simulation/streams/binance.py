"""Binance's websocket dialect: single and combined streams of spot pairs and of perpetuals (`fstream`).

Books come as changes, which go on from the snapshot that `/depth` serves by REST.
"""

from __future__ import annotations

import json
from typing import Any

from gb_pipeline.simulation.binance import to_depth
from gb_pipeline.simulation.books import step_of, update_number
from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.streams.ladder import Ladders, Tick, steps_within, trades_within
from gb_pipeline.simulation.streams.session import Frame, Session

_MOST_STREAMS = 1024


class BinanceSession(Session):
    """One connection; the streams of its address are subscribed to from the start."""

    HOSTS = ("stream.binance.com", "data-stream.binance.vision", "fstream.binance.com")

    def __init__(self, market: Any, handshake: Any) -> None:
        """Take the streams that the address names."""
        super().__init__(market, handshake)
        self._perpetual = handshake.host.startswith("fstream")
        # Wrapped with the name of its stream, unless the address is of single streams.
        self._combined = "/ws" not in handshake.path
        self._streams: dict[str, None] = {}
        self._books = Ladders(market)
        self._last_number: dict[str, int] = {}
        self._best: dict[str, Any] = {}
        _, _, single = handshake.path.partition("/ws/")
        self._subscribe([name for name in (*handshake.query.get("streams", "").split("/"), single) if "@" in name])

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a request; Binance takes names of streams that it does not have."""
        try:
            request = json.loads(frame)
            method, number, names = request["method"], request["id"], request.get("params", [])
        except (ValueError, KeyError, TypeError):
            return [_dumps({"error": {"code": 2, "msg": "Invalid request: missing field"}})]
        if method == "SUBSCRIBE":
            if len({*self._streams, *names}) > _MOST_STREAMS:
                return [_dumps({"error": {"code": 4, "msg": "Too many streams"}, "id": number})]
            self._subscribe(names)
        elif method == "UNSUBSCRIBE":
            for name in names:
                self._streams.pop(name, None)
        elif method == "LIST_SUBSCRIPTIONS":
            return [_dumps({"result": list(self._streams), "id": number})]
        else:
            return [_dumps({"error": {"code": 2, "msg": f"Invalid request: unknown variant {method}"}, "id": number})]
        return [_dumps({"result": None, "id": number})]

    def events(self, start: int, end: int) -> list[Frame]:
        """Trades, changes of books and quotes."""
        events: list[tuple[int, str, dict[str, Any]]] = []
        for stream in list(self._streams):
            name, _, kind = stream.partition("@")
            item = self._listed(name)
            if item is None:
                continue
            if kind in {"trade", "aggTrade"}:
                events += [
                    (trade.time, stream, self._trade(kind, item, trade))
                    for trade in trades_within(self.market, item, start, end, self.skew_ms)
                ]
                continue
            for moment, _ in steps_within(start, end):
                body = self._change(item, moment) if kind.startswith("depth") else self._quote(item, moment)
                if body is not None:
                    events.append((moment, stream, body))
        events.sort(key=lambda event: event[0])
        return [_dumps({"stream": stream, "data": body} if self._combined else body) for _, stream, body in events]

    def _subscribe(self, names: list[str]) -> None:
        for stream in names:
            self._streams[stream] = None
            name, _, kind = stream.partition("@")
            item = self._listed(name)
            if item is not None and kind.startswith("depth"):
                self._books.lay(item, self.market.now)
                self._last_number[item.code] = update_number(step_of(self.market.now))

    def _listed(self, name: str) -> Instrument | None:
        return next(
            (
                item
                for item in self.market.listed()
                if item.perpetual == self._perpetual
                and item.quote != "USD"
                and (item.base + item.quote).lower() == name.lower()
                and not self.market.delisted(item.code)
            ),
            None,
        )

    def _trade(self, kind: str, item: Instrument, trade: Tick) -> dict[str, Any]:
        ((price, size),) = to_depth([(trade.price, trade.size)], item, perpetual=self._perpetual)
        numbers = (
            {"a": trade.number, "p": price, "q": size, "f": trade.number, "l": trade.number}
            if kind == "aggTrade"
            else {"t": trade.number, "p": price, "q": size}
        )
        last = {} if self._perpetual else {"M": True}
        body = {"e": kind, "E": trade.time, "s": item.base + item.quote, **numbers}
        return {**body, "T": trade.time, "m": trade.buyer_is_maker, **last}

    def _change(self, item: Instrument, moment: int) -> dict[str, Any] | None:
        books = self._books.advance(item, moment)
        changes = None if books is None else books[0].changes(books[1])
        if changes is None or not (changes.bids or changes.asks):
            return None
        before, number = self._last_number[item.code], update_number(moment)
        self._last_number[item.code] = number
        bids, asks = (to_depth(side, item, perpetual=self._perpetual) for side in changes.texts(item))
        shown = moment + self.skew_ms
        times = {"E": shown, "T": shown} if self._perpetual else {"E": shown}
        chain = {"U": before + 1, "u": number} | ({"pu": before} if self._perpetual else {})
        return {"e": "depthUpdate", **times, "s": item.base + item.quote, **chain, "b": bids, "a": asks}

    def _quote(self, item: Instrument, moment: int) -> dict[str, Any] | None:
        book = Ladders(self.market).lay(item, moment)
        if book is None or not book.bids:
            return None
        bids, asks = (to_depth(side, item, perpetual=self._perpetual) for side in book.cut(1).texts(item))
        if self._best.get(item.code) == (bids, asks):
            return None
        self._best[item.code] = (bids, asks)
        (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
        shown = moment + self.skew_ms
        times = {"e": "bookTicker", "T": shown, "E": shown} if self._perpetual else {}
        numbers = {"b": bid, "B": bid_size, "a": ask, "A": ask_size}
        return {"u": update_number(moment), "s": item.base + item.quote, **numbers, **times}


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
