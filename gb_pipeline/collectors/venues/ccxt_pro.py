"""This module hears trades of exchanges that have no venue of their own, through ccxt.pro: best effort, and labelled so.

ccxt.pro drops what does not fit into its own buffers between two calls, tells nobody what was missed while a connection was down,
and checks few exchanges' numbers. So nothing that comes this way is ever covered: its intervals are gaps with the reason
`best_effort`, which say what was heard, and `Lake.valid_mask` takes no window of it. For a venue that matters, write a venue
(docs/collecting-venues.md).

Numbers are what ccxt reads: the digits of exchanges that write them as text, and the shortest decimal of those that write JSON
numbers. Books are left out: ccxt makes binary floating point of them.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import msgspec

from gb_pipeline.collectors.messages import MessageRows, Signal, TimeUnit
from gb_pipeline.collectors.venue import Connection, Decoder, Subscription, Venue
from gb_pipeline.collectors.venue_options import base_url_of, check_options, currency_pair
from gb_pipeline.errors import ConfigError, UnknownSymbol, VendorError
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset
from gb_pipeline.providers.ccxt.client import typed_errors
from gb_pipeline.providers.ccxt.quirks import QUIRKS

_TRADES = StreamDataset.TRADES
# Each symbol is a task of its own: calls for several at once lag behind, and their rest is lost.
_SYMBOLS_PER_CONNECTION = 50
_MOST_WAITING = 1000


class CcxtPro(Venue):
    """Trades of one of ccxt.pro's exchanges, best effort.

    Options: `exchange`, its name in ccxt; `base_url` of a simulated venue on loopback.
    """

    name: ClassVar[str] = "ccxt_pro"
    datasets: ClassVar[tuple[StreamDataset, ...]] = (_TRADES,)
    time_unit: ClassVar[TimeUnit] = TimeUnit.MILLISECONDS
    best_effort: ClassVar[bool] = True

    def __init__(self, exchange: str, base_url: str | None = None) -> None:
        """Nothing is opened."""
        self._exchange, self._base_url = exchange, base_url

    @classmethod
    def from_options(cls, source: str, options: Mapping[str, Any]) -> Self:
        """The venue of one stream of gb.yaml.

        Raises:
            ConfigError: no exchange, one that ccxt does not have, or one whose trades it cannot hear.
        """
        import ccxt.pro as library

        check_options(source, cls.name, options, ("exchange", "base_url"))
        exchange = str(options.get("exchange", ""))
        if exchange not in library.exchanges:
            near = difflib.get_close_matches(exchange, library.exchanges, 3, 0.5)
            raise ConfigError(
                f"stream {source}: ccxt.pro has no exchange {exchange!r}",
                fix=f"did you mean {', '.join(near)}?" if near else "name one of `ccxt.pro.exchanges` as `exchange`",
            )
        if not getattr(library, exchange)().has.get("watchTrades"):
            raise ConfigError(
                f"stream {source}: ccxt.pro cannot hear trades of {exchange}",
                fix="use another exchange, or write a venue",
            )
        return cls(exchange, base_url_of(source, options))

    def venue_symbol(self, symbol: str) -> str:
        """ccxt's own: `BTC/USDT` of BTC-USDT, `BTC/USDT:USDT` of BTC-USDT-PERP."""
        base, quote, perpetual = currency_pair(symbol, self.name, perpetuals=True)
        return f"{base}/{quote}:{quote}" if perpetual else f"{base}/{quote}"

    def connections(self, subscriptions: Sequence[Subscription]) -> list[Connection]:
        """One client for each fifty symbols; how many websockets it opens is its own business."""
        parts = [
            tuple(subscriptions[at : at + _SYMBOLS_PER_CONNECTION])
            for at in range(0, len(subscriptions), _SYMBOLS_PER_CONNECTION)
        ]
        return [
            Connection(f"{self._exchange}-ccxt-{number}", f"ccxt://{self._exchange}", part)
            for number, part in enumerate(parts, 1)
        ]

    def opening(self, connection: Connection) -> list[bytes]:  # noqa: ARG002 - its client sends what is needed
        """Nothing."""
        return []

    def decoder(self, connection: Connection) -> Decoder:
        """A reader of a connection that was just opened."""
        return _Decoder(connection.subscriptions)

    async def listen(self, connection: Connection) -> AsyncIterator[bytes]:
        """Each answer of `watch_trades` as a message; see `Venue.listen`.

        Raises:
            VendorError: the exchange refuses, or the connection is lost.
        """
        client = self._client()
        queue: asyncio.Queue[bytes | VendorError] = asyncio.Queue(_MOST_WAITING)
        watching: list[asyncio.Task[None]] = []
        try:
            with typed_errors(self._exchange):
                # Once, before a task for each symbol would.
                await client.load_markets()
            watching = [asyncio.create_task(self._watch(client, item, queue)) for item in connection.subscriptions]
            while True:
                item = await queue.get()
                if isinstance(item, VendorError):
                    raise item
                yield item
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await client.close()

    async def _watch(self, client: Any, item: Subscription, queue: asyncio.Queue[bytes | VendorError]) -> None:
        try:
            with typed_errors(self._exchange):
                await queue.put(_message(item, "subscribed"))
                while True:
                    trades = await client.watch_trades(item.venue_symbol)
                    await queue.put(_message(item, "trades", trades=[_told(trade) for trade in trades]))
        except UnknownSymbol as error:
            # The others go on.
            await queue.put(_message(item, "refused", error=error.what, fix=error.fix))
        except VendorError as error:
            await queue.put(error)

    def _client(self) -> Any:
        import ccxt.pro as library

        quirks = QUIRKS.get(self._exchange)
        client = getattr(library, self._exchange)(
            {
                "has": {"fetchCurrencies": False},
                "newUpdates": True,
                "aiohttp_trust_env": self._base_url is None,
                **(quirks.config if quirks is not None else {}),
            }
        )
        # Without it every number would be a binary one.
        client.number = str
        if self._base_url is not None:
            client.urls["api"] = _reroute(client.urls["api"], self._base_url)
            client.timeout_on_exit = 0
        return client


class _Message(msgspec.Struct):
    kind: str
    symbol: str
    trades: list[tuple[int | None, str | None, str, str, str | None]] = []
    error: str = ""
    fix: str = ""


_MESSAGES = msgspec.json.Decoder(_Message)


class _Decoder(Decoder):
    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._symbols = {item.venue_symbol: item.symbol for item in subscriptions}

    def decode(self, data: bytes, receive_time: int, rows: MessageRows) -> None:
        rows.messages += 1
        try:
            message = _MESSAGES.decode(data)
            symbol = self._symbols[message.symbol]
        except (msgspec.MsgspecError, KeyError) as error:
            rows.refuse(data, receive_time, str(error), _TRADES)
            return
        if message.kind == "subscribed":
            rows.signals.append(Signal(ConnectionEventKind.SUBSCRIBED, receive_time, _TRADES, symbol))
        elif message.kind == "refused":
            rows.deny(receive_time, message.error, message.fix, dataset=_TRADES, symbol=symbol, permanent=True)
        else:
            for ordinal, (time, side, price, size, identity) in enumerate(message.trades):
                rows.trades.append((symbol, time, receive_time, side, price, size, identity, None, ordinal))
            key = (_TRADES, symbol)
            rows.heard[key] = rows.heard.get(key, 0) + 1


def _message(item: Subscription, kind: str, **more: Any) -> bytes:
    return msgspec.json.encode({"kind": kind, "symbol": item.venue_symbol, **more})


def _told(trade: Mapping[str, Any]) -> tuple[int | None, str | None, str, str, str | None]:
    side, identity = trade.get("side"), trade.get("id")
    return (
        trade.get("timestamp"),
        side if side in {"buy", "sell"} else None,
        str(trade.get("price")),
        str(trade.get("amount")),
        None if identity is None else str(identity),
    )


def _reroute(node: Any, base: str) -> Any:
    """Every address with its host as the first segment of the path; ports are the real venue's."""
    if isinstance(node, dict):
        return {key: _reroute(value, base) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    found = re.fullmatch(r"(https?|wss?)://([^/:]+)(?::\d+)?(/.*)?", node)
    if found is None:
        return node
    place = base if found[1].startswith("http") else re.sub("^http", "ws", base)
    return f"{place}/{found[2]}{found[3] or ''}"
