"""This module reads Kalshi's messages: books, whose differences become absolute sizes, trades, and what happens to contracts.

Messages are numbered for each subscription (`sid`), whatever contract they are about: one that is missing may belong to any of
them, so all of the subscription's books are laid anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from gb_pipeline.collectors.messages import Level, MessageRows, Signal
from gb_pipeline.collectors.resync import Resync
from gb_pipeline.collectors.venue import Decoder, Subscription
from gb_pipeline.collectors.venues.kalshi.numbers import (
    cents_to_dollars,
    contracts,
    dollars,
    nanoseconds,
    other_side,
    price_number,
)
from gb_pipeline.market.tick_schema import ConnectionEventKind, Side, StreamDataset
from gb_pipeline.providers.http.redaction import hide

CHANNELS = {StreamDataset.BOOK_UPDATES: "orderbook_delta", StreamDataset.TRADES: "trade"}
LIFECYCLE = "market_lifecycle_v2"
# Numbers of the requests, which answers repeat.
REQUESTS = {dataset: number for number, dataset in enumerate(CHANNELS, 1)}
_LIFECYCLE_REQUEST = len(REQUESTS) + 1
_UNSUBSCRIBE_REQUEST = len(REQUESTS) + 2
_BY_REQUEST = {number: dataset for dataset, number in REQUESTS.items()}
_BOOK, _TRADES = StreamDataset.BOOK_UPDATES, StreamDataset.TRADES
_SIDES = {"yes": Side.BUY, "no": Side.SELL}
_RESYNC = "books"
# Codes of errors that asking again does not change, https://docs.kalshi.com/asyncapi.yaml.
_FIXES = {
    9: "compare the options `key` and the private key with those on https://kalshi.com/account/profile",
    11: "see whether the contract still exists",
    16: "see whether the contract still exists",
}
_LATER = "it is tried again; see https://docs.kalshi.com for the code"


class _Message(msgspec.Struct):
    type: str
    sid: int | None = None
    seq: int | None = None
    id: int | None = None
    msg: dict[str, Any] | None = None


_MESSAGES = msgspec.json.Decoder(_Message, float_hook=str)
_NO_SUCH_CONTRACT = 16
_ENDED = frozenset({"determined", "settled"})


class _Book:
    """One contract's book: sizes by price, those of buyers of YES and those of buyers of NO."""

    __slots__ = ("sizes",)

    def __init__(self) -> None:
        self.sizes: dict[tuple[str, Decimal], Decimal] = {}


class KalshiDecoder(Decoder):
    """Reads one connection.

    Args:
        subscriptions: what is heard over it.
        secrets: what is never shown.
        ended: tickers of contracts that are over, to which this one adds; the next connection leaves them out.
    """

    def __init__(self, subscriptions: Sequence[Subscription], secrets: tuple[str, ...], ended: set[str]) -> None:
        """All books wait for their snapshots."""
        self._ended = ended
        self._symbols: dict[StreamDataset, dict[str, str]] = {dataset: {} for dataset in CHANNELS}
        for item in subscriptions:
            self._symbols[item.dataset][item.venue_symbol] = item.symbol
        self._secrets = secrets
        self._books: dict[str, _Book] = {}
        self._laid_before: set[str] = set()
        self._by_sid: dict[int, StreamDataset] = {}
        self._last: dict[int, int] = {}
        self._resync = Resync()
        self._requests: list[bytes] = []

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        """One message; see `Decoder.decode`."""
        rows.messages += 1
        try:
            self._read(_MESSAGES.decode(data), receive_time, rows)
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, IndexError, InvalidOperation) as error:
            rows.refuse(data, receive_time, str(error), secrets=self._secrets)
        if self._resync.waiting and self._resync.due(receive_time):
            self._ask_for_books()

    def requests(self) -> Sequence[bytes]:
        """What asks for books that broke."""
        if not self._requests:
            return ()
        requests, self._requests = self._requests, []
        return requests

    def _read(self, message: _Message, receive_time: int, rows: MessageRows) -> None:
        said = message.msg or {}
        match message.type:
            case "orderbook_delta":
                if self._follows(_BOOK, message, receive_time, rows):
                    self._update(message, said, receive_time, rows)
            case "orderbook_snapshot":
                if self._follows(_BOOK, message, receive_time, rows):
                    self._lay(message, said, receive_time, rows)
            case "trade":
                if self._follows(_TRADES, message, receive_time, rows):
                    self._trade(message, said, receive_time, rows)
            case "subscribed":
                self._subscribed(message, said, receive_time, rows)
            case "ok" | "unsubscribed":
                # They take a number of the subscription.
                if message.sid is not None and message.seq is not None:
                    self._last[message.sid] = max(message.seq, self._last.get(message.sid, 0))
            case "error":
                self._error(message, said, receive_time, rows)
            case "market_lifecycle_v2" | "market_lifecycle":
                self._lifecycle(said, receive_time, rows)

    # --- numbers --------------------------------------------------------------------------------------------------------

    def _follows(self, dataset: StreamDataset, message: _Message, receive_time: int, rows: MessageRows) -> bool:
        """Whether a message is to be read: it was not before. One that is missing before it is told."""
        sid, number = message.sid, message.seq
        if sid is None or number is None:
            return True
        known = self._by_sid.setdefault(sid, dataset)
        last = self._last.get(sid)
        if last is not None and number <= last:
            # It came again, or after its place: the gap was told when the later one came.
            return False
        self._last[sid] = number
        if last is not None and number != last + 1:
            for symbol in self._symbols[known].values():
                rows.skip(receive_time, last + 1, number - 1, known, symbol, resubscribe=known is _BOOK)
            if known is _BOOK:
                self._break(receive_time)
        return True

    def _break(self, receive_time: int) -> None:
        self._books.clear()
        if _RESYNC not in self._resync:
            self._resync.broken(_RESYNC, receive_time)

    def _ask_for_books(self) -> None:
        sids = [sid for sid, dataset in self._by_sid.items() if dataset is _BOOK]
        for sid in sids:
            # What still comes of it belongs to no book.
            self._last.pop(sid, None)
        if sids:
            self._requests.append(_command(_UNSUBSCRIBE_REQUEST, "unsubscribe", {"sids": sids}))
        self._subscribe(_BOOK)

    def _subscribe(self, dataset: StreamDataset) -> None:
        tickers = [ticker for ticker in self._symbols[dataset] if ticker not in self._ended]
        if tickers:
            self._requests.append(subscribe(dataset, tickers))

    # --- books ----------------------------------------------------------------------------------------------------------

    def _lay(self, message: _Message, said: Mapping[str, Any], receive_time: int, rows: MessageRows) -> None:
        ticker = said["market_ticker"]
        symbol = self._symbols[_BOOK].get(ticker)
        if symbol is None:
            return
        book = _Book()
        sides: dict[str, list[Level]] = {}
        for side in ("yes", "no"):
            levels = _levels(said, side)
            sides[side] = levels
            book.sizes.update({(side, Decimal(price)): Decimal(size) for price, size in levels})
        reason = "resync" if symbol in self._laid_before else "subscribed"
        self._books[ticker] = book
        self._laid_before.add(symbol)
        bids = sorted(sides["yes"], key=lambda level: Decimal(level[0]), reverse=True)
        asks = sorted(((other_side(price), size) for price, size in sides["no"]), key=lambda level: Decimal(level[0]))
        rows.snapshots.append((symbol, nanoseconds(said), receive_time, bids, asks, message.seq, reason))
        _count(rows, _BOOK, symbol)
        rows.signals.append(
            Signal(ConnectionEventKind.SNAPSHOT, receive_time, _BOOK, symbol, detail={"reason": reason})
        )

    def _update(self, message: _Message, said: Mapping[str, Any], receive_time: int, rows: MessageRows) -> None:
        ticker = said["market_ticker"]
        symbol, book = self._symbols[_BOOK].get(ticker), self._books.get(ticker)
        if symbol is None or book is None:
            # Of a book that waits to be laid, which is in the gap.
            return
        side, price = said["side"], dollars(said, "price")
        if side not in _SIDES:
            raise ValueError(f"side {str(side)[:20]!r}")
        key = (side, price_number(price))
        size = book.sizes.get(key, Decimal(0)) + Decimal(contracts(said, "delta"))
        if size < 0:
            rows.signals.append(
                Signal(
                    ConnectionEventKind.CHECKSUM, receive_time, _BOOK, symbol, resubscribe=True,
                    detail={"price": price, "size": str(size)},
                )
            )  # fmt: skip
            self._break(receive_time)
            return
        if size:
            book.sizes[key] = size
        else:
            book.sizes.pop(key, None)
        level = (price if side == "yes" else other_side(price), format(size, "f"))
        bids, asks = ([level], []) if side == "yes" else ([], [level])
        rows.updates.append((symbol, nanoseconds(said), receive_time, bids, asks, message.seq, message.seq, None))
        _count(rows, _BOOK, symbol)

    # --- everything else ------------------------------------------------------------------------------------------------

    def _trade(self, message: _Message, said: Mapping[str, Any], receive_time: int, rows: MessageRows) -> None:
        symbol = self._symbols[_TRADES].get(said["market_ticker"])
        if symbol is None:
            return
        side = _SIDES.get(said.get("taker_side") or said.get("side") or "")
        price, size = dollars(said, "yes_price", "price"), contracts(said, "count")
        rows.trades.append(
            (symbol, nanoseconds(said), receive_time, side, price, size, said.get("trade_id"), message.seq, 0)
        )
        _count(rows, _TRADES, symbol)

    def _subscribed(self, message: _Message, said: Mapping[str, Any], receive_time: int, rows: MessageRows) -> None:
        dataset = _BY_REQUEST.get(message.id or 0)
        sid = said.get("sid", message.sid)
        if dataset is None:
            return
        if sid is not None:
            self._by_sid = {known: of for known, of in self._by_sid.items() if of is not dataset}
            self._by_sid[sid] = dataset
            if dataset is _BOOK:
                # Numbers of books begin with their snapshots.
                self._last.setdefault(sid, 0)
        for symbol in self._symbols[dataset].values():
            rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, dataset, symbol))

    def _error(self, message: _Message, said: Mapping[str, Any], receive_time: int, rows: MessageRows) -> None:
        if message.id == _UNSUBSCRIBE_REQUEST:
            # What is not subscribed to any more is what was wanted.
            return
        code, dataset = said.get("code"), _BY_REQUEST.get(message.id or 0)
        ticker = said.get("market_ticker")
        symbol = self._symbols[dataset].get(str(ticker)) if dataset is not None else None
        fix = _FIXES.get(code if isinstance(code, int) else 0)
        symbols = [symbol] if symbol is not None else list(self._symbols[dataset].values()) if dataset else [None]
        if code == _NO_SUCH_CONTRACT and symbol is not None and dataset is not None:
            # A request is taken as a whole or not at all: the others are asked for without it.
            self._ended.add(str(ticker))
            self._subscribe(dataset)
        for name in symbols:
            rows.deny(
                receive_time, f"{said.get('msg', 'error')} (code {code})", fix or _LATER,
                dataset=dataset, symbol=name, permanent=fix is not None, secrets=self._secrets,
            )  # fmt: skip

    def _lifecycle(self, said: Mapping[str, Any], receive_time: int, rows: MessageRows) -> None:
        ticker, event = str(said.get("market_ticker")), str(said.get("event_type"))
        symbol = next((names[ticker] for names in self._symbols.values() if ticker in names), None)
        if symbol is None:
            return
        is_over = event in _ENDED
        if is_over:
            self._ended.add(ticker)
        detail: dict[str, str | int | float | bool | None] = {"contract": hide(event, self._secrets), "ended": is_over}
        if said.get("result"):
            detail["result"] = hide(str(said["result"]), self._secrets)
        rows.signals.append(Signal(ConnectionEventKind.VENUE, receive_time, symbol=symbol, detail=detail))


def subscribe(dataset: StreamDataset, tickers: Sequence[str]) -> bytes:
    """The request for one channel of some contracts."""
    return _command(REQUESTS[dataset], "subscribe", {"channels": [CHANNELS[dataset]], "market_tickers": list(tickers)})


def subscribe_to_lifecycle() -> bytes:
    """The request for what happens to contracts; it is of all of them."""
    return _command(_LIFECYCLE_REQUEST, "subscribe", {"channels": [LIFECYCLE]})


def _command(number: int, command: str, params: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode({"id": number, "cmd": command, "params": dict(params)})


def _levels(said: Mapping[str, Any], side: str) -> list[Level]:
    """Price of the side itself in dollars, and size; of the newest of the forms that a snapshot has."""
    for name in (f"{side}_dollars_fp", f"{side}_dollars"):
        if said.get(name) is not None:
            return [(str(price), str(size)) for price, size in said[name]]
    return [(cents_to_dollars(price), str(size)) for price, size in said.get(side) or ()]


def _count(rows: MessageRows, dataset: StreamDataset, symbol: str) -> None:
    key = (dataset, symbol)
    rows.heard[key] = rows.heard.get(key, 0) + 1
