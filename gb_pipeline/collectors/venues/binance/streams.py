"""This module speaks Binance's combined streams: trades, changes of books with a snapshot by REST, and the best bid and ask.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, and
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams. What messages say is in
`decoder`, and how changes chain in `depth`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec
import polars as pl

from gb_pipeline.collectors.messages import TimeUnit
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
from gb_pipeline.collectors.venues.binance.decoder import BinanceDecoder, request_parts
from gb_pipeline.collectors.venues.binance.trades import PACE, fetch_trades
from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.tick_schema import StreamDataset
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
_MOST_LEVELS = {False: 5000, True: 1000}
# Of more levels a snapshot weighs 250 of the 6,000 that are allowed in a minute, of so many 50 (of futures 20 of 2,400).
_USUAL_LEVELS = 1000
_FUTURES_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
_KINDS = ("trade", "aggTrade")


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
            for number, part in enumerate(request_parts(connection.subscriptions), 1)
        ]

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return BinanceDecoder(connection.subscriptions, self._kind)

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
