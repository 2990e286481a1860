"""This module speaks Binance's combined streams: trades, changes of books with a snapshot by REST, and the best bid and ask.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, and
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams. How changes chain is in `depth`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
import polars as pl

from gb_pipeline.collectors.messages import Level, MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.resync import Resync
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import (
    PERPETUAL,
    base_url_of,
    check_options,
    choice,
    currency_pair,
    rest_client,
    rest_url,
    websocket_url,
)
from gb_pipeline.collectors.venues.binance.depth import DepthChain
from gb_pipeline.collectors.venues.binance.trades import PACE, fetch_trades
from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.tick_schema import ConnectionEventKind, Side, StreamDataset
from gb_pipeline.providers.http.policy import Policy

_TRADES, _BOOK, _QUOTES = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES, StreamDataset.QUOTES
_SPOT = "stream.binance.com:9443/stream"
# Futures are routed by what is heard: books and quotes, and everything else.
_FUTURES = {
    _TRADES: "fstream.binance.com/market/stream",
    _BOOK: "fstream.binance.com/public/stream",
    _QUOTES: "fstream.binance.com/public/stream",
}
_REST = {False: "api.binance.com/api/v3", True: "fapi.binance.com/fapi/v1"}
# 1,024 streams are allowed on one connection; clients measured futures to take 200, and fewer share one loss.
_STREAMS_PER_CONNECTION = 200
# Five requests a second are allowed, and a request has a length.
_STREAMS_PER_REQUEST = 100
_MOST_LEVELS = {False: 5000, True: 1000}
# Of more levels a snapshot weighs 250 of the 6,000 that are allowed in a minute, of so many 50 (of futures 20 of 2,400).
_USUAL_LEVELS = 1000
_FUTURES_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_KINDS = ("trade", "aggTrade")
_PREFIX = b'{"stream":"'


class Binance(Venue):
    """Binance's spot market and its USD-M perpetuals, each symbol on its own.

    Options: `base_url` of a simulated venue on loopback; `trades`: `trade` for every trade, or `aggTrade` for what one order took
    at one price. By default spot has every trade, and perpetuals have aggregates, since Binance documents no other stream of them.
    """

    name: ClassVar[str] = "binance"
    datasets: ClassVar[tuple[StreamDataset, ...]] = (_TRADES, _BOOK, _QUOTES)
    time_unit: ClassVar[TimeUnit] = TimeUnit.MILLISECONDS
    snapshot_pace: ClassVar[RateLimit | None] = RateLimit(calls=1, seconds=1)

    def __init__(self, base_url: str | None = None, trades: str | None = None) -> None:
        """Nothing is opened."""
        self._base_url = base_url
        self._trades = trades

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml."""
        check_options(source, cls.name, options, ("base_url", "trades"))
        trades = choice(source, options, "trades", _KINDS, "trade") if options.get("trades") is not None else None
        return cls(base_url_of(source, options), trades)

    def venue_symbol(self, symbol: str) -> str:
        """`BTCUSDT` of BTC-USDT, and of BTC-USDT-PERP."""
        base, quote, _ = currency_pair(symbol, self.name, perpetuals=True)
        return base + quote

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """Spot and futures apart, at most 200 streams on each; no depth may be more than Binance's snapshots have."""
        groups: dict[tuple[str, bool], list[Subscription]] = {}
        for item in subscriptions:
            perpetual = item.symbol.endswith(PERPETUAL)
            if item.dataset is _BOOK:
                _limit_of(item)
            groups.setdefault((_FUTURES[item.dataset] if perpetual else _SPOT, perpetual), []).append(item)
        connections: list[Connection] = []
        for (address, _), items in groups.items():
            for at in range(0, len(items), _STREAMS_PER_CONNECTION):
                connections.append(
                    Connection(
                        f"{self.name}-{len(connections) + 1}",
                        websocket_url(address, self._base_url),
                        tuple(items[at : at + _STREAMS_PER_CONNECTION]),
                        # Nothing but pings comes for sure; whoever holds the connection pings it himself.
                        None,
                    )
                )
        return connections

    def opening(self, connection: Connection) -> list[bytes]:
        """Requests for a hundred streams each, numbered by their place."""
        return [
            msgspec.json.encode({"method": "SUBSCRIBE", "params": [self._stream(item) for item in part], "id": number})
            for number, part in enumerate(_parts(connection.subscriptions), 1)
        ]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions, self._kind)

    def snapshot_url(self, subscription: Subscription) -> str:
        """Its whole book by REST."""
        perpetual = subscription.symbol.endswith(PERPETUAL)
        query = f"symbol={subscription.venue_symbol}&limit={_limit_of(subscription)}"
        return f"{rest_url(_REST[perpetual], self._base_url)}/depth?{query}"

    async def fetch_trades(self, symbol: str, start_time: int, end_time: int) -> pl.DataFrame | None:
        """Trades of the window by REST, of the kind that is heard; None for every trade of a perpetual, which needs a key.

        Raises:
            VendorError: Binance refuses, or cannot be reached.
        """
        perpetual = symbol.endswith(PERPETUAL)
        kind = self._kind(symbol)
        if perpetual and kind == "trade":
            return None
        client = rest_client(self.name, Policy(rate=PACE), self._base_url)
        base = f"https://{_REST[perpetual]}"
        try:
            return await fetch_trades(client, base, self.venue_symbol(symbol), kind, start_time, end_time)
        finally:
            await client.aclose()
            client.transport.close()

    def _kind(self, symbol: str) -> str:
        return self._trades or ("aggTrade" if symbol.endswith(PERPETUAL) else "trade")

    def _stream(self, item: Subscription) -> str:
        name = {_TRADES: self._kind(item.symbol), _BOOK: "depth@100ms", _QUOTES: "bookTicker"}[item.dataset]
        return f"{item.venue_symbol.lower()}@{name}"


def _parts(subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
    return [subscriptions[at : at + _STREAMS_PER_REQUEST] for at in range(0, len(subscriptions), _STREAMS_PER_REQUEST)]


def _limit_of(item: Subscription) -> int:
    """Levels of a snapshot, 1,000 where none are named; changes come of all levels, whatever it has."""
    perpetual = item.symbol.endswith(PERPETUAL)
    most = _MOST_LEVELS[perpetual]
    if item.depth is None:
        return _USUAL_LEVELS
    if item.depth > most:
        raise ConfigError(
            f"Binance has no book of {item.depth:,} levels of {item.symbol}",
            fix=f"write depth: {most}, or leave it out",
        )
    return next(limit for limit in _FUTURES_LIMITS if limit >= item.depth) if perpetual else item.depth


# --- messages -------------------------------------------------------------------------------------------------------


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
    b: list[Level]
    a: list[Level]
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


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription], kind_of: Callable[[str], str]) -> None:
        self._requested = [list(part) for part in _parts(subscriptions)]
        self._by_name = {(item.venue_symbol.lower(), item.dataset): item for item in subscriptions}
        self._kind_of = kind_of
        # Streams by their name in messages; None for those of no interest.
        self._handlers: dict[bytes, _Handler | None] = {}
        self._chains: dict[str, DepthChain] = {}
        self._laid_before: set[str] = set()
        self._resync = Resync()
        self._now = 0

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
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
                rows.signals.append(
                    Signal(
                        ConnectionEventKind.SEQUENCE,
                        receive_time,
                        _TRADES,
                        symbol,
                        first_sequence=last + 1,
                        last_sequence=number - 1,
                    )
                )
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
                    rows.signals.append(
                        Signal(
                            ConnectionEventKind.SEQUENCE,
                            receive_time,
                            _QUOTES,
                            symbol,
                            first_sequence=number,
                            last_sequence=number,
                        )
                    )
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
            if chain.standing:
                if last <= chain.last:
                    # Of before the snapshot, or again.
                    return
                if chain.follows(first, last, before):
                    rows.heard[key] = rows.heard.get(key, 0) + 1
                else:
                    rows.signals.append(
                        Signal(
                            ConnectionEventKind.SEQUENCE,
                            receive_time,
                            _BOOK,
                            symbol,
                            first_sequence=chain.last + 1,
                            last_sequence=max(chain.last + 1, first - 1 if before is None else before),
                            resubscribe=True,
                        )
                    )
                    chain.break_at((first, last, before, item.b, item.a))
                    self._resync.broken(name, receive_time)
            else:
                chain.keep((first, last, before, item.b, item.a))
            # Changes that wait are kept too: rows are in the order in which they came, and the book counts from its snapshot on.
            rows.updates.append(
                (symbol, item.E if item.T is None else item.T, receive_time, item.b, item.a, first, last, None)
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
            detail: dict[str, str | int | float | bool | None] = {"error": failure.msg, "code": failure.code}
            # A refused request is refused as a whole.
            refused: list[tuple[StreamDataset | None, str | None]] = [(item.dataset, item.symbol) for item in requested]
            for dataset, symbol in refused or [(None, None)]:
                rows.signals.append(Signal(ConnectionEventKind.REFUSED, receive_time, dataset, symbol, detail=detail))
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
