"""Alpaca's websocket dialect for stocks, as JSON or msgpack: login, subscriptions, trades, quotes and minute bars.

Keys: an id that begins with `unknown` is refused. Keys are on the free plan (feed `iex`, thirty symbols), unless the id ends with
`PLUS`. One connection each.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from gb_pipeline.simulation.json_numbers import Exact, dumps
from gb_pipeline.simulation.market import MINUTE_MS
from gb_pipeline.simulation.streams.session import Frame, Session
from gb_pipeline.simulation.streams.stock_ticks import StockTrade, stock_trades

_MSGPACK = "application/msgpack"
_CHANNELS = ("trades", "quotes", "bars")
_CONFIRMED = (*_CHANNELS, "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors")
_FREE_SYMBOLS = 30
_MOST_EVENTS = 100


class AlpacaSession(Session):
    """One connection to Alpaca's stocks."""

    HOSTS = ("stream.data.alpaca.markets",)
    connections_per_account = 1

    def __init__(self, market: Any, handshake: Any) -> None:
        """Nobody is logged in, and nothing subscribed to."""
        super().__init__(market, handshake)
        self._msgpack = handshake.headers.get("Content-Type", "") == _MSGPACK
        self._subscribed: dict[str, list[str]] = {channel: [] for channel in _CHANNELS}

    def opened(self) -> list[Frame]:
        """A greeting."""
        return [self._frame([{"T": "success", "msg": "connected"}])]

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a login or a subscription."""
        request = self._read(frame)
        if request is None:
            return [self._error(400, "invalid syntax")]
        action = request.get("action")
        if action == "auth":
            return [self._log_in(str(request.get("key", "")), str(request.get("secret", "")))]
        if self.account is None:
            return [self._error(401, "not authenticated")]
        if action not in {"subscribe", "unsubscribe"}:
            return [self._error(400, "invalid syntax")]
        return [self._subscribe(action, request)]

    def events(self, start: int, end: int) -> list[Frame]:
        """Trades with the quotes before them, and the bar of each minute that ended."""
        events: list[tuple[int, dict[str, Any]]] = []
        wanted = {channel: set(symbols) for channel, symbols in self._subscribed.items()}
        for item in self.market.listings() if any(wanted.values()) else ():
            code = item.code
            trades, quotes, bars = (code in wanted[channel] or "*" in wanted[channel] for channel in _CHANNELS)
            if trades or quotes:
                for trade in stock_trades(self.market, code, start, end):
                    events += [(trade.time, _quote(code, trade))] * quotes + [
                        (trade.time, _trade(code, trade))
                    ] * trades
            for minute in range((start - 1) // MINUTE_MS, (end - 1) // MINUTE_MS) if bars else ():
                bar = self.market.whole_minute(code, minute * MINUTE_MS)
                if bar is not None:
                    events.append(((minute + 1) * MINUTE_MS, _bar(code, bar)))
        events.sort(key=lambda pair: pair[0])
        rows = [event for _, event in events]
        return [self._frame(rows[at : at + _MOST_EVENTS]) for at in range(0, len(rows), _MOST_EVENTS)]

    def crowded(self) -> list[Frame]:
        """A connection too many is told so and closed."""
        self.closing = "connection limit exceeded"
        return [self._error(406, "connection limit exceeded")]

    def encode(self, text: str) -> Frame:
        """A planted JSON text, as msgpack where the client wants that."""
        return self._frame(json.loads(text)) if self._msgpack else text

    def _log_in(self, key: str, secret: str) -> Frame:
        if self.account is not None:
            return self._error(403, "already authenticated")
        if not key or not secret or key.startswith("unknown"):
            self.closing = "auth failed"
            return self._error(402, "auth failed")
        feed = self.handshake.path.rsplit("/", 1)[-1]
        if feed == "sip" and not key.endswith("PLUS"):
            self.closing = "insufficient subscription"
            return self._error(409, "insufficient subscription")
        self.account = f"{key}@{feed}"
        return self._frame([{"T": "success", "msg": "authenticated"}])

    def _subscribe(self, action: str, request: dict[str, Any]) -> Frame:
        wanted = {channel: list(self._subscribed[channel]) for channel in _CHANNELS}
        for channel in _CHANNELS:
            named = request.get(channel) or []
            kept = [symbol for symbol in wanted[channel] if symbol not in named]
            wanted[channel] = kept if action == "unsubscribe" else [*kept, *named]
        free = not (self.account or "").partition("@")[0].endswith("PLUS")
        if free and len(wanted["trades"]) + len(wanted["quotes"]) > _FREE_SYMBOLS:
            return self._error(405, "symbol limit exceeded")
        self._subscribed = wanted
        confirmed: dict[str, Any] = {channel: wanted.get(channel, []) for channel in _CONFIRMED}
        # They come with the trades, whether wanted or not.
        confirmed |= {"corrections": wanted["trades"], "cancelErrors": wanted["trades"]}
        return self._frame([{"T": "subscription"} | confirmed])

    def _error(self, code: int, message: str) -> Frame:
        return self._frame([{"T": "error", "code": code, "msg": message}])

    def _read(self, frame: Frame) -> dict[str, Any] | None:
        try:
            if isinstance(frame, bytes):
                import msgspec

                read = msgspec.msgpack.decode(frame)
            else:
                read = json.loads(frame)
        except (ValueError, TypeError):
            return None
        return read if isinstance(read, dict) else None

    def _frame(self, rows: list[dict[str, Any]]) -> Frame:
        if not self._msgpack:
            return dumps(rows)
        import msgspec

        return msgspec.msgpack.encode([{name: _packed(name, value) for name, value in row.items()} for row in rows])


def _packed(name: str, value: Any) -> Any:
    """In msgpack numbers are binary, and times a type of their own."""
    if isinstance(value, Exact):
        return float(value)
    return datetime.fromisoformat(value) if name == "t" and isinstance(value, str) else value


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _trade(code: str, trade: StockTrade) -> dict[str, Any]:
    return {
        "T": "t", "S": code, "i": trade.number, "x": "V", "p": Exact(trade.price), "s": Exact(trade.size), "c": ["@"], "z": "C",
        "t": _iso(trade.time),
    }  # fmt: skip


def _quote(code: str, trade: StockTrade) -> dict[str, Any]:
    return {
        "T": "q", "S": code, "bx": "V", "bp": Exact(trade.bid), "bs": 100, "ax": "V", "ap": Exact(trade.ask), "as": 100, "c": ["R"],
        "z": "C", "t": _iso(trade.time),
    }  # fmt: skip


def _bar(code: str, bar: Any) -> dict[str, Any]:
    return {
        "T": "b", "S": code, "o": Exact(bar.open), "h": Exact(bar.high), "l": Exact(bar.low), "c": Exact(bar.close),
        "v": int(bar.volume.partition(".")[0]), "n": bar.trades, "vw": Exact(bar.vwap), "t": _iso(bar.start),
    }  # fmt: skip
