"""Kalshi's websocket dialect: signed handshakes, books with numbered differences, trades, and contracts that open and end.

Keys: an id that begins with `unknown` is refused; the signature of one whose public key was given is verified. Prices are sent in
dollars as text and in cents, as Kalshi did while it changed from one to the other.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from gb_pipeline.simulation import kalshi
from gb_pipeline.simulation.prediction import HOUR_MS, SECOND_MS, Book, Contract, PredictionMarket
from gb_pipeline.simulation.response import Response
from gb_pipeline.simulation.streams.session import Frame, Handshake, Session

_CHANNELS = ("orderbook_delta", "trade", "market_lifecycle_v2")
_LATEST_SECONDS = 10.0


@dataclass(slots=True)
class _Subscription:
    sid: int
    channel: str
    contracts: list[str]
    seq: int = 0
    books: dict[str, Book] = field(default_factory=dict)


class KalshiSession(Session):
    """One connection to Kalshi."""

    HOSTS = kalshi.HOSTS
    market: PredictionMarket

    def __init__(self, market: Any, handshake: Handshake) -> None:
        """Nothing is subscribed to."""
        super().__init__(market, handshake)
        self.account = handshake.headers.get("KALSHI-ACCESS-KEY")
        self._subscriptions: dict[int, _Subscription] = {}
        self._next_sid = 1

    @classmethod
    def refuse(cls, market: Any, handshake: Handshake) -> Response | None:
        """HTTP 401 without a signature, with a wrong one, or with one of another time."""
        headers = handshake.headers
        key, signature, moment = (
            headers.get(f"KALSHI-ACCESS-{name}", "") for name in ("KEY", "SIGNATURE", "TIMESTAMP")
        )
        fresh = moment.isdigit() and abs(int(moment) / 1000 - time.time()) < _LATEST_SECONDS
        if not key or key.startswith("unknown") or not fresh:
            return _unauthorized()
        public = market.public_keys.get(key)
        text = f"{moment}GET{handshake.path}".encode()
        return None if public is None or _verifies(public, signature, text) else _unauthorized()

    def received(self, frame: Frame) -> list[Frame]:
        """The answer to a command."""
        try:
            request = json.loads(frame)
            number, command, params = request.get("id"), request["cmd"], request.get("params") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return [_error(None, 1, "Unable to process message")]
        if command == "unsubscribe":
            gone = [self._subscriptions.pop(sid) for sid in params.get("sids") or () if sid in self._subscriptions]
            return [
                _dump({"id": number, "sid": item.sid, "seq": item.seq + 1, "type": "unsubscribed"}) for item in gone
            ] or [_error(number, 7, "Unknown subscription ID")]
        if command != "subscribe":
            return [_error(number, 5, "Unknown command")]
        channels = params.get("channels") or []
        if not channels or any(channel not in _CHANNELS for channel in channels):
            return [_error(number, 8 if channels else 3, "Unknown channel name" if channels else "Channels required")]
        single = params.get("market_ticker")
        tickers = [*(params.get("market_tickers") or []), *([single] if single else [])]
        return [answer for channel in channels for answer in self._subscribe(number, channel, tickers)]

    def events(self, start: int, end: int) -> list[Frame]:
        """Differences of books and trades of each second, and what happened to contracts."""
        frames: list[Frame] = []
        subscriptions = list(self._subscriptions.values())
        for second in range(-(-start // SECOND_MS), -(-end // SECOND_MS)):
            moment = second * SECOND_MS
            for item in subscriptions:
                if item.channel == "orderbook_delta":
                    frames += self._deltas(item, second)
                elif item.channel == "market_lifecycle_v2" and moment % HOUR_MS == 0:
                    frames += self._lifecycle(item, moment)
        for item in subscriptions:
            if item.channel == "trade":
                frames += self._trades(item, start, end)
        return frames

    def _subscribe(self, number: Any, channel: str, tickers: list[str]) -> list[Frame]:
        now = self.market.now
        if channel == "orderbook_delta" and not tickers:
            return [_error(number, 11, "Invalid parameter: market_tickers required")]
        unknown = [ticker for ticker in tickers if self.market.contract(ticker, now) is None]
        if unknown:
            return [_error(number, 16, "Market not found", market_ticker=unknown[0])]
        item = _Subscription(self._next_sid, channel, tickers)
        self._next_sid += 1
        self._subscriptions[item.sid] = item
        frames: list[Frame] = [
            _dump({"id": number, "type": "subscribed", "msg": {"channel": channel, "sid": item.sid}})
        ]
        if channel == "orderbook_delta":
            for contract in self._contracts(item, now):
                item.books[contract.ticker] = self.market.book(contract, now // SECOND_MS)
                frames.append(self._snapshot(item, contract))
        return frames

    def _contracts(self, item: _Subscription, now: int) -> list[Contract]:
        found = (self.market.contract(ticker, now) for ticker in item.contracts)
        return [contract for contract in found if contract is not None]

    def _snapshot(self, item: _Subscription, contract: Contract) -> Frame:
        said: dict[str, Any] = {"market_ticker": contract.ticker, "market_id": _identity(contract.ticker)}
        for side in ("yes", "no"):
            levels = sorted((cents, size) for (of, cents), size in item.books[contract.ticker].items() if of == side)
            said[side] = [list(level) for level in levels]
            said[f"{side}_dollars_fp"] = [[f"{cents / 100:.4f}", f"{size}.00"] for cents, size in levels]
        return self._numbered("orderbook_snapshot", item, said)

    def _deltas(self, item: _Subscription, second: int) -> list[Frame]:
        frames: list[Frame] = []
        for contract in self._contracts(item, second * SECOND_MS):
            before, after = item.books.get(contract.ticker, {}), self.market.book(contract, second)
            for side, cents in sorted(before.keys() | after.keys()):
                delta = after.get((side, cents), 0) - before.get((side, cents), 0)
                if delta:
                    said = {
                        "market_ticker": contract.ticker, "market_id": _identity(contract.ticker), "price": cents,
                        "price_dollars": f"{cents / 100:.4f}", "delta": delta, "delta_fp": f"{delta}.00", "side": side,
                        "ts": kalshi.iso(second * SECOND_MS),
                    }  # fmt: skip
                    frames.append(self._numbered("orderbook_delta", item, said))
            item.books[contract.ticker] = after
        return frames

    def _trades(self, item: _Subscription, start: int, end: int) -> list[Frame]:
        # Those of contracts that ended within the stretch as well.
        contracts = {
            contract.ticker: contract for moment in (start, end - 1) for contract in self._contracts(item, moment)
        }
        trades = [
            (trade, contract) for contract in contracts.values() for trade in self.market.trades(contract, start, end)
        ]
        trades.sort(key=lambda pair: pair[0].time)
        return [
            self._numbered(
                "trade", item,
                {
                    "trade_id": trade.identity, "market_ticker": contract.ticker, "yes_price": trade.cents,
                    "no_price": 100 - trade.cents, "yes_price_dollars": f"{trade.cents / 100:.4f}",
                    "no_price_dollars": f"{1 - trade.cents / 100:.4f}", "count": trade.size, "count_fp": f"{trade.size}.00",
                    "taker_side": trade.side, "ts": trade.time // 1000, "ts_ms": trade.time,
                },
            )
            for trade, contract in trades
        ]  # fmt: skip

    def _lifecycle(self, item: _Subscription, moment: int) -> list[Frame]:
        frames: list[Frame] = []
        for series in self.market.series():
            for contract in self.market.contracts(series, moment - 1):
                said = {"market_ticker": contract.ticker, "event_type": "determined", "result": "yes"}
                frames.append(_dump({"type": item.channel, "sid": item.sid, "msg": said}))
            for contract in self.market.contracts(series, moment):
                said = {"market_ticker": contract.ticker, "event_type": "activated"}
                frames.append(_dump({"type": item.channel, "sid": item.sid, "msg": said}))
        return frames

    def _numbered(self, kind: str, item: _Subscription, said: dict[str, Any]) -> Frame:
        item.seq += 1
        return _dump({"type": kind, "sid": item.sid, "seq": item.seq, "msg": said})


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def _error(number: Any, code: int, text: str, **more: str) -> str:
    return _dump({"id": number, "type": "error", "msg": {"code": code, "msg": text, **more}})


def _identity(ticker: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, ticker))


def _unauthorized() -> Response:
    return Response.json({"error": {"code": "authentication_error", "message": "authentication_error"}}, 401)


def _verifies(public_key: str, signature: str, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    key = serialization.load_pem_public_key(public_key.encode())
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
    try:
        assert isinstance(key, RSAPublicKey)
        key.verify(base64.b64decode(signature), text, scheme, hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
