"""This module finds out whose a raw recording is and what was subscribed to, and lays the books that were answered by REST.

Which venue it is, is told by the address and the requests that cryptofeed notes, and by the names of streams that messages of
hftbacktest's collector carry. What recordings say is read in `recordings`.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from gb_pipeline.collectors.messages import MessageRows
from gb_pipeline.collectors.venue import Decoder, Subscription
from gb_pipeline.errors import FormatRefused, GbError
from gb_pipeline.formats.streams.archive import StreamOptions
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage, read_recording
from gb_pipeline.market.symbol import AssetClass
from gb_pipeline.market.tick_schema import StreamDataset

_TRADES, _BOOK, _QUOTES = StreamDataset.TRADES, StreamDataset.BOOK_UPDATES, StreamDataset.QUOTES
# Venues by the address that was recorded.
_HOSTS = {
    "ws.kraken.com": "kraken_v1", "ws-feed.pro.coinbase.com": "coinbase_exchange",
    "ws-feed.exchange.coinbase.com": "coinbase_exchange", "advanced-trade-ws.coinbase.com": "coinbase",
    "stream.binance.com": "binance", "fstream.binance.com": "binance", "www.bitmex.com": "bitmex", "ws.bitmex.com": "bitmex",
}  # fmt: skip
_CHANNELS = {
    "trade": _TRADES, "matches": _TRADES, "market_trades": _TRADES, "aggTrade": _TRADES,
    "book": _BOOK, "level2": _BOOK, "level2_batch": _BOOK, "depth": _BOOK,
    "ticker": _QUOTES, "spread": _QUOTES, "bookTicker": _QUOTES, "quote": _QUOTES, "orderBookL2": _BOOK,
}  # fmt: skip
# What a venue proves by numbers or checksums; nothing else is said to be covered.
PROVEN: dict[str, set[StreamDataset]] = {
    "binance": {_TRADES, _BOOK}, "kraken": {_TRADES, _BOOK}, "kraken_v1": {_BOOK}, "coinbase": {_TRADES, _BOOK, _QUOTES},
    "coinbase_exchange": {_TRADES}, "bitmex": set(),
}  # fmt: skip
# What BitMEX calls a perpetual.
_PERPETUAL = re.compile(r"[A-Z]+?(USDT?|EUR)")
_OLD_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
_STREAM = re.compile(rb'\{"stream":"([^"]+)"')
_MESSAGE = re.compile(rb'"pu":')


@dataclass(frozen=True, slots=True)
class Recording:
    """One raw recording.

    Attributes:
        path: of the file.
        venue: whose decoder reads it.
        subscriptions: what was asked for.
        answers: files beside it, with answers by REST.
        trades: which trades of Binance it has: `trade` or `aggTrade`.
    """

    path: Path
    venue: str
    subscriptions: tuple[Subscription, ...]
    answers: tuple[Path, ...] = ()
    trades: str = "trade"


def inspect_recording(file: Path, options: StreamOptions, skipped: dict[str, str], place: str) -> Recording | None:
    """Whose recording it is, and what was subscribed to; None where it is of no venue that is known.

    Args:
        file: the recording.
        options: names of symbols.
        skipped: gets what is left out, by place, with the reason.
        place: what the file is called there.

    Raises:
        FormatRefused: it is no recording.
    """
    hosts: dict[str, None] = {}
    wanted: dict[tuple[StreamDataset, str], int | None] = {}
    names: set[bytes] = set()
    futures = False
    for message in _whole_part(file):
        if message.direction is Direction.CONNECTED:
            address = urlsplit(message.connection)
            hosts[_venue_at(address.hostname or "", address.path)] = None
            futures |= (address.hostname or "").startswith("fstream.")
            names |= {name.encode() for text in parse_qs(address.query).get("streams", []) for name in text.split("/")}
        elif message.direction is Direction.SENT:
            wanted |= _requested(message.data)
        elif message.direction is Direction.RECEIVED and (named := _STREAM.match(message.data)) is not None:
            if named[1] not in names:
                names.add(named[1])
            futures = futures or (b"@depth" in named[1] and _MESSAGE.search(message.data) is not None)
    for name in names:
        symbol, _, channel = name.decode().partition("@")
        dataset = _CHANNELS.get(channel.partition("@")[0])
        if dataset is not None:
            wanted.setdefault((dataset, symbol.upper()), None)
    venue = next(iter(hosts), "binance" if names else "")
    if venue not in PROVEN or not wanted:
        skipped[place] = (
            "it has no messages of a venue whose decoder this package has: Binance, BitMEX, Coinbase, Kraken"
        )
        return None
    kinds = {name.decode().partition("@")[2] for name in names}
    trades = "trade" if "trade" in kinds or "aggTrade" not in kinds else "aggTrade"
    subscriptions = []
    for (dataset, theirs), depth in wanted.items():
        try:
            if venue == "bitmex":
                futures = _PERPETUAL.fullmatch(theirs) is not None
            code = _canonical(options, theirs, suffix="-PERP" if futures else "")
        except GbError as error:
            skipped[f"{place} {theirs}"] = error.what
            continue
        subscriptions.append(Subscription(dataset, code, theirs, depth))
    return Recording(file, venue, tuple(subscriptions), trades=trades)


def _whole_part(file: Path) -> Iterator[RecordedMessage]:
    """The messages before a damage, which is told when they are imported; a file that has none is refused now."""
    found = False
    try:
        for message in read_recording(file):
            found = True
            yield message
    except FormatRefused:
        if not found:
            raise


def _venue_at(host: str, path: str) -> str:
    name = _HOSTS.get(host, host)
    return "kraken" if name == "kraken_v1" and "v2" in path else name


def _requested(data: bytes) -> dict[tuple[StreamDataset, str], int | None]:
    """Subscriptions of a request, by what Kraken, Coinbase and BitMEX call datasets and instruments, and their depth."""
    try:
        request = msgspec.json.decode(data)
    except msgspec.MsgspecError:
        return {}
    if not isinstance(request, dict) or "unsubscribe" in (
        request.get("event"),
        request.get("method"),
        request.get("type"),
    ):
        return {}
    if request.get("op") == "subscribe":
        topics = [str(topic).partition(":") for topic in request.get("args") or []]
        return {(_CHANNELS[channel], name): None for channel, _, name in topics if channel in _CHANNELS and name}
    params = request.get("params")
    params = params if isinstance(params, dict) else {}
    subscription = request.get("subscription")
    subscription = subscription if isinstance(subscription, dict) else params
    pairs = request.get("pair") or params.get("symbol") or request.get("product_ids") or []
    channels = request.get("channels") or [request.get("channel") or subscription.get("name") or params.get("channel")]
    found: dict[tuple[StreamDataset, str], int | None] = {}
    for channel in channels:
        # Coinbase may name instruments for a channel of their own.
        named = channel if isinstance(channel, dict) else {"name": channel}
        own = named.get("product_ids") or pairs
        dataset = _CHANNELS.get(str(named.get("name")))
        if dataset is not None:
            found |= {(dataset, str(pair)): subscription.get("depth") for pair in own}
    return found


def _canonical(options: StreamOptions, name: str, *, suffix: str) -> str:
    if name in options.names:
        return options.canonical(name, AssetClass.CRYPTO)
    parts = re.split(r"[/-]", name)
    text = "-".join(_OLD_NAMES.get(part, part) for part in parts) if len(parts) > 1 else name
    if name.startswith("XBT") and len(parts) == 1:
        text = f"BTC{name.removeprefix('XBT')}"
    return options.canonical(text, AssetClass.CRYPTO, suffix=suffix)


def venue_options(recording: Recording) -> Mapping[str, Any]:
    """Options of the venue, as it was heard."""
    return {"trades": recording.trades} if recording.venue == "binance" else {}


def merged_messages(recording: Recording) -> Iterable[RecordedMessage]:
    """Messages in the order of reception, with answers of the files beside."""
    streams = [read_recording(file) for file in (recording.path, *recording.answers)]
    return heapq.merge(*streams, key=lambda message: message.receive_time) if len(streams) > 1 else streams[0]


class RecordedBooks:
    """Whole books that were answered by REST, and the decoders that wait for them."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        """None was answered yet."""
        self._by_name = {item.venue_symbol.upper(): item for item in subscriptions if item.dataset is _BOOK}
        self._answers: dict[str, bytes] = {}
        self._needed: dict[str, Subscription] = {}

    def answered(self, message: RecordedMessage) -> None:
        """Keep an answer that is a book: that of the symbol in its address, or of the only one that there is."""
        query = parse_qs(urlsplit(message.connection).query)
        name = query.get("symbol", [""])[0].upper()
        if not name and len(self._by_name) == 1:
            name = next(iter(self._by_name))
        if name in self._by_name:
            self._answers[name] = message.data

    def lay(self, decoder: Decoder, now: int, rows: MessageRows) -> int:
        """Hand over the answers that are waited for; the last moment that was used."""
        if not self._answers:
            return now
        self._needed |= {item.venue_symbol.upper(): item for item in decoder.snapshot_needed()}
        for name in [name for name in self._answers if name in self._needed]:
            now += 1
            decoder.apply_snapshot(self._needed.pop(name), self._answers.pop(name), now, rows)
            rows.last_receive = now
        return now
