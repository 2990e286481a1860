"""Massive's websocket dialect for stocks: login, subscriptions, trades, quotes and minute aggregates.

Keys: one that begins with `unknown` is refused; one that begins with `basic` may hear the delayed feed only. One connection each.
"""

from __future__ import annotations

import json
from typing import Any

from gb_pipeline.simulation.json_numbers import Exact, dumps
from gb_pipeline.simulation.market import MINUTE_MS
from gb_pipeline.simulation.streams.session import Frame, Session
from gb_pipeline.simulation.streams.stock_ticks import StockTrade, stock_trades

REALTIME = "socket.massive.com"
_DELAY_MS = 15 * MINUTE_MS
_CHANNELS = ("T", "Q", "AM")
# So many events in one message at most.
_MOST_EVENTS = 100
_NASDAQ, _TRF = 12, 4


class MassiveSession(Session):
    """One connection to Massive's stocks."""

    HOSTS = (REALTIME, "delayed.massive.com", "socket.polygon.io", "delayed.polygon.io")
    connections_per_account = 1

    def __init__(self, market: Any, handshake: Any) -> None:
        """Nobody is logged in, and nothing subscribed to."""
        super().__init__(market, handshake)
        self._channels: set[tuple[str, str]] = set()

    def opened(self) -> list[Frame]:
        """A greeting."""
        return [_status("connected", "Connected Successfully")]

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a login or a subscription."""
        try:
            request = json.loads(frame)
            action, params = request["action"], str(request["params"])
        except (ValueError, KeyError, TypeError):
            return [_status("error", "invalid message")]
        if action == "auth":
            if params.startswith("unknown") or not params:
                self.closing = "authentication failed"
                return [_status("auth_failed", "authentication failed")]
            self.account = params
            return [_status("auth_success", "authenticated")]
        if self.account is None:
            return [_status("error", "not authenticated")]
        return [self._subscribe(action, channel.strip()) for channel in params.split(",")]

    def events(self, start: int, end: int) -> list[Frame]:
        """Trades with the quotes before them, and the aggregate of each minute that ended."""
        delay = 0 if self.handshake.host.startswith("socket") else _DELAY_MS
        start, end = start - delay, end - delay
        listed = sorted({item.code for item in self.market.listings()}) if self._channels else []
        events: list[tuple[int, dict[str, Any]]] = []
        for code in listed:
            wanted = [
                channel for channel in _CHANNELS if not self._channels.isdisjoint({(channel, code), (channel, "*")})
            ]
            if "T" in wanted or "Q" in wanted:
                for trade in stock_trades(self.market, code, start, end):
                    if "Q" in wanted:
                        events.append((trade.time, _quote(code, trade)))
                    if "T" in wanted:
                        events.append((trade.time, _trade(code, trade)))
            if "AM" in wanted:
                for minute in range((start - 1) // MINUTE_MS, (end - 1) // MINUTE_MS):
                    bar = self.market.whole_minute(code, minute * MINUTE_MS)
                    if bar is not None:
                        events.append(((minute + 1) * MINUTE_MS, _aggregate(code, bar)))
        events.sort(key=lambda pair: pair[0])
        rows = [event for _, event in events]
        return [dumps(rows[at : at + _MOST_EVENTS]) for at in range(0, len(rows), _MOST_EVENTS)]

    def crowded(self) -> list[Frame]:
        """A connection too many is told so and closed."""
        self.closing = "maximum number of connections"
        return [_status("max_connections", "Maximum number of websocket connections exceeded.")]

    def _subscribe(self, action: str, channel: str) -> Frame:
        kind, _, code = channel.partition(".")
        if kind not in _CHANNELS or not code:
            return _status("error", f"invalid subscription: {channel}")
        if self.account is not None and self.account.startswith("basic") and self.handshake.host.startswith("socket"):
            return _status(
                "error", f"not authorized to subscribe to {channel}: you don't have real-time data on your plan"
            )
        if action == "unsubscribe":
            self._channels.discard((kind, code))
            return _status("success", f"unsubscribed to: {channel}")
        self._channels.add((kind, code))
        return _status("success", f"subscribed to: {channel}")


def _status(status: str, message: str) -> str:
    return json.dumps([{"ev": "status", "status": status, "message": message}], separators=(",", ":"))


def _trade(code: str, trade: StockTrade) -> dict[str, Any]:
    # Each tenth one is reported by a facility of the tape, as those of dark pools are.
    dark = trade.number % 10 == 0
    whole, _, fraction = trade.size.partition(".")
    row: dict[str, Any] = {
        "ev": "T", "sym": code, "x": _TRF if dark else _NASDAQ, "i": str(trade.number), "z": 3, "p": Exact(trade.price),
        "s": int(whole), "c": [12], "t": trade.time, "q": trade.number * 3 + 1,
    }  # fmt: skip
    if dark:
        row |= {"trfi": 202, "trft": trade.time}
    if fraction.strip("0"):
        row["ds"] = f"{whole}.{fraction.rstrip('0')}"
    return row


def _quote(code: str, trade: StockTrade) -> dict[str, Any]:
    return {
        "ev": "Q", "sym": code, "bx": 4, "bp": Exact(trade.bid), "bs": 100, "ax": 7, "ap": Exact(trade.ask), "as": 100, "c": 0,
        "i": [604], "t": trade.time, "q": trade.number * 3, "z": 3,
    }  # fmt: skip


def _aggregate(code: str, bar: Any) -> dict[str, Any]:
    volume = int(bar.volume.partition(".")[0])
    return {
        "ev": "AM", "sym": code, "v": volume, "av": volume, "op": Exact(bar.open), "vw": Exact(bar.vwap), "o": Exact(bar.open),
        "c": Exact(bar.close), "h": Exact(bar.high), "l": Exact(bar.low), "a": Exact(bar.vwap),
        "z": volume // max(1, bar.trades), "s": bar.start, "e": bar.start + MINUTE_MS,
    }  # fmt: skip
