"""This module reads Binance's messages: trades, quotes, and changes of books, which stay text until they are put into columns.

Each stream has a reader of its own, chosen by the name with which its messages begin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gb_pipeline.collectors.levels import keep_levels
from gb_pipeline.collectors.messages import Level, MessageRows, Signal
from gb_pipeline.collectors.resync import Resync
from gb_pipeline.collectors.venue import Decoder, Subscription
from gb_pipeline.collectors.venues.binance.depth import DepthChain
from gb_pipeline.market.tick_schema import ConnectionEventKind, Side, StreamDataset

_TRADES, _BOOK, _QUOTES = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES, StreamDataset.QUOTES
# Five requests a second are allowed, and a request has a length.
_STREAMS_PER_REQUEST = 100
# Of a request that is wrong, and stays so: unknown property, wrong type, invalid request, invalid JSON.
# https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams (Error Messages)
_FOR_GOOD = frozenset({0, 1, 2, 3})
_LATER = "it is asked for again with the next connection"
_PREFIX = b'{"stream":"'


def request_parts(subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
    """The subscriptions of each request, numbered from 1 by their place."""
    return [subscriptions[at : at + _STREAMS_PER_REQUEST] for at in range(0, len(subscriptions), _STREAMS_PER_REQUEST)]


class _Trade(msgspec.Struct, gc=False):
    t: int
    p: str
    q: str
    T: int
    m: bool


class _TradeMessage(msgspec.Struct, gc=False):
    data: _Trade


class _Aggregate(msgspec.Struct, gc=False):
    a: int
    p: str
    q: str
    T: int
    m: bool


class _AggregateMessage(msgspec.Struct, gc=False):
    data: _Aggregate


class _Change(msgspec.Struct, gc=False):
    E: int
    U: int
    u: int
    b: msgspec.Raw
    a: msgspec.Raw
    pu: int | None = None
    T: int | None = None


class _ChangeMessage(msgspec.Struct, gc=False):
    data: _Change


class _Quote(msgspec.Struct, gc=False):
    u: int
    b: str
    B: str
    a: str
    A: str
    T: int | None = None


class _QuoteMessage(msgspec.Struct, gc=False):
    data: _Quote


class _Snapshot(msgspec.Struct):
    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]
    # Futures only.
    T: int | None = None


class _Failure(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Answer(msgspec.Struct):
    """What a request led to, or what the server says of itself."""

    id: int | str | None = None
    error: _Failure | None = None
    code: int | None = None
    msg: str = ""
    stream: str | None = None


_TRADE = msgspec.json.Decoder(_TradeMessage)
_AGGREGATE = msgspec.json.Decoder(_AggregateMessage)
_CHANGE = msgspec.json.Decoder(_ChangeMessage)
_QUOTE = msgspec.json.Decoder(_QuoteMessage)
_WHOLE = msgspec.json.Decoder(_Snapshot)
_ANSWER = msgspec.json.Decoder(_Answer)
_Handler = Callable[[bytes, int, MessageRows], None]


class BinanceDecoder(Decoder):
    """Reads one connection.

    Args:
        subscriptions: what is heard over it.
        kind_of: which trades of a symbol are heard: `trade` or `aggTrade`.
    """

    def __init__(self, subscriptions: Sequence[Subscription], kind_of: Callable[[str], str]) -> None:
        """Books wait for their snapshots."""
        self._requested = [list(part) for part in request_parts(subscriptions)]
        self._by_name = {(item.venue_symbol.lower(), item.dataset): item for item in subscriptions}
        self._kind_of = kind_of
        # Streams by their name in messages; None for those of no interest.
        self._handlers: dict[bytes, _Handler | None] = {}
        self._chains: dict[str, DepthChain] = {}
        self._laid_before: set[str] = set()
        self._resync = Resync()
        self._now = 0

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        """One message; see `Decoder.decode`."""
        rows.messages += 1
        self._now = receive_time
        try:
            if data.startswith(_PREFIX):
                stream = data[len(_PREFIX) : data.index(b'"', len(_PREFIX))]
                try:
                    handler = self._handlers[stream]
                except KeyError:
                    handler = self._handlers[stream] = self._handler(stream.decode())
                if handler is not None:
                    handler(data, receive_time, rows)
            else:
                self._answer(data, receive_time, rows)
        except (msgspec.MsgspecError, ValueError) as error:
            rows.refuse(data, receive_time, str(error))

    def snapshot_needed(self) -> Sequence[Subscription]:
        """Books that are to be asked for by REST now."""
        return [self._by_name[name, _BOOK] for name in self._resync.due(self._now)]

    def apply_snapshot(self, subscription: Subscription, body: bytes, receive_time: int, rows: MessageRows) -> None:
        """Lay the book; one that is older than the changes that wait for it is asked for again."""
        name, symbol = subscription.venue_symbol.lower(), subscription.symbol
        chain = self._chains.setdefault(name, DepthChain())
        try:
            whole = _WHOLE.decode(body)
            laid = chain.lay(whole.lastUpdateId, whole.bids, whole.asks)
        except (msgspec.MsgspecError, ValueError) as error:
            rows.refuse(body, receive_time, str(error), _BOOK)
            laid = None
        if laid is None:
            self._resync.broken(name, receive_time)
            return
        reason = "resync" if name in self._laid_before else "subscribed"
        self._laid_before.add(name)
        bids, asks = laid
        rows.snapshots.append((symbol, whole.T, receive_time, bids, asks, chain.last, reason))
        rows.heard[_BOOK, symbol] = rows.heard.get((_BOOK, symbol), 0) + 1
        detail: dict[str, str | int | float | bool | None] = {"reason": reason}
        rows.signals.append(Signal(ConnectionEventKind.SNAPSHOT, receive_time, _BOOK, symbol, detail=detail))

    def _handler(self, stream: str) -> _Handler | None:
        """What reads a stream such as btcusdt@depth@100ms; None for one that nobody subscribed to."""
        name, _, kind = stream.partition("@")
        if kind.partition("@")[0] == "depth" and (item := self._by_name.get((name, _BOOK))) is not None:
            return self._depth_handler(name, item.symbol)
        if kind == "bookTicker" and (item := self._by_name.get((name, _QUOTES))) is not None:
            return self._quote_handler(item.symbol)
        item = self._by_name.get((name, _TRADES))
        if item is None or kind != self._kind_of(item.symbol):
            return None
        return self._trade_handler(item.symbol, kind)

    def _trade_handler(self, symbol: str, kind: str) -> _Handler:
        key = (_TRADES, symbol)
        aggregates = kind == "aggTrade"
        decode: Callable[[bytes], Any] = _AGGREGATE.decode if aggregates else _TRADE.decode
        last = 0

        def read(data: bytes, receive_time: int, rows: MessageRows) -> None:
            nonlocal last
            item = decode(data).data
            number = item.a if aggregates else item.t
            rows.heard[key] = rows.heard.get(key, 0) + 1
            if number != last + 1 and last:
                if number <= last:
                    # It came again, or after its place: the gap was told when the later one came.
                    return
                rows.skip(receive_time, last + 1, number - 1, _TRADES, symbol)
            last = number
            side = Side.SELL if item.m else Side.BUY
            rows.trades.append((symbol, item.T, receive_time, side, item.p, item.q, number, None, 0))

        return read

    def _quote_handler(self, symbol: str) -> _Handler:
        key = (_QUOTES, symbol)
        decode = _QUOTE.decode
        last = 0

        def read(data: bytes, receive_time: int, rows: MessageRows) -> None:
            nonlocal last
            item = decode(data).data
            number = item.u
            if number <= last:
                # Numbers of quotes have holes, so a late one is the only trace of a wrong order; one that comes again is none.
                if number < last:
                    rows.skip(receive_time, number, number, _QUOTES, symbol)
                return
            last = number
            rows.quotes.append((symbol, item.T, receive_time, item.b, item.B, item.a, item.A, number))
            rows.heard[key] = rows.heard.get(key, 0) + 1

        return read

    def _depth_handler(self, name: str, symbol: str) -> _Handler:
        key = (_BOOK, symbol)
        decode = _CHANGE.decode
        chain = self._chains.setdefault(name, DepthChain())
        if not chain.standing and name not in self._resync:
            self._resync.broken(name, self._now)

        def read(data: bytes, receive_time: int, rows: MessageRows) -> None:
            item = decode(data).data
            first, last, before = item.U, item.u, item.pu
            bids, asks = keep_levels(item.b), keep_levels(item.a)
            if chain.standing:
                if last <= chain.last:
                    # Of before the snapshot, or again.
                    return
                if chain.follows(first, last, before):
                    rows.heard[key] = rows.heard.get(key, 0) + 1
                else:
                    missing = chain.last + 1
                    until = max(missing, first - 1 if before is None else before)
                    rows.skip(receive_time, missing, until, _BOOK, symbol, resubscribe=True)
                    chain.break_at((first, last, before, bids, asks))
                    self._resync.broken(name, receive_time)
            else:
                chain.keep((first, last, before, bids, asks))
            # Changes that wait are kept too: rows are in the order in which they came, and the book counts from its snapshot on.
            rows.updates.append(
                (symbol, item.E if item.T is None else item.T, receive_time, bids, asks, first, last, None)
            )

        return read

    def _answer(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        answer = _ANSWER.decode(data)
        if answer.stream is not None:
            # Another order of the same fields.
            handler = self._handler(answer.stream)
            if handler is not None:
                self._handlers.setdefault(answer.stream.encode(), handler)
                self._handlers[answer.stream.encode()](data, receive_time, rows)  # type: ignore[misc]
            return
        failure = answer.error or (_Failure(answer.code, answer.msg) if answer.code is not None else None)
        number = answer.id if isinstance(answer.id, int) else 0
        requested = self._requested[number - 1] if 0 < number <= len(self._requested) else []
        if failure is not None:
            words, permanent = f"{failure.msg} (code {failure.code})", failure.code in _FOR_GOOD
            fix = "compare `symbols` and `options` in gb.yaml with what Binance lists" if permanent else _LATER
            # A refused request is refused as a whole.
            refused: list[tuple[StreamDataset | None, str | None]] = [(item.dataset, item.symbol) for item in requested]
            for dataset, symbol in refused or [(None, None)]:
                rows.deny(receive_time, words, fix, dataset=dataset, symbol=symbol, permanent=permanent)
            return
        if not requested:
            rows.refuse(data, receive_time, "neither a stream nor an answer")
            return
        for item in requested:
            rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, item.dataset, item.symbol))
            name = item.venue_symbol.lower()
            chain = self._chains.setdefault(name, DepthChain())
            if item.dataset is _BOOK and not chain.standing and name not in self._resync:
                self._resync.broken(name, receive_time)
