"""The same messages through our decoders, columns and spool, and through cryptofeed's handlers, whose callbacks keep what they get.

Ours goes further: rows are exact columns on disk at the end, where cryptofeed's are Python objects in a list. Messages are real;
those of Coinbase are put into the form of Advanced Trade, which cryptofeed reads. Without an index of packages there is no
cryptofeed, and nothing is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.bytes_per_row import COLLECTION
from benchmarks.measurement import Measurement
from benchmarks.peers.environment import PeersUnavailable, peers_python
from gb_pipeline.collectors import MessageRows, Subscription
from gb_pipeline.collectors.collector import few_collections
from gb_pipeline.collectors.columns import to_columns
from gb_pipeline.collectors.flush import SPOOLED
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.collectors.venue import Connection
from gb_pipeline.formats.streams.archive import StreamOptions
from gb_pipeline.formats.streams.recorded_venues import RecordedBooks, inspect_recording, merged_messages
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage

TIMES = 5
_FOLDER = Path(__file__).parent / "peers"
_TURNS = 3


class _Race(NamedTuple):
    """Frames of one venue, and what cryptofeed calls its class and its instruments."""

    name: str
    venue: str
    options: dict[str, Any]
    cryptofeed: str
    channels: list[str]
    symbols: dict[str, str]
    messages: list[RecordedMessage]
    subscriptions: tuple[Subscription, ...]
    checksums: bool = False


def measure(messages: int = 20_000) -> Iterator[Measurement]:
    """Kraken, Coinbase and Binance, as many messages of each recording as there are, at the most so many."""
    try:
        python = peers_python(_FOLDER / "cryptofeed.txt")
    except PeersUnavailable as error:
        print(f"    {error}", file=sys.stderr)
        return
    for race in _races(messages):
        ours, theirs, objects = float("inf"), float("inf"), 0
        for _ in range(_TURNS):
            ours = min(ours, _ours(race))
            seconds, objects = _theirs(python, race)
            theirs = min(theirs, seconds)
        count = sum(message.direction is Direction.RECEIVED for message in race.messages)
        ratio = theirs / ours
        yield Measurement(
            f"{race.name}: beside cryptofeed", count / ours, "messages/s", f">= {TIMES} times cryptofeed", ratio >= TIMES,
            f"cryptofeed {count / theirs:,.0f} with {objects:,} objects, {ratio:.1f} times as many",
        )  # fmt: skip


def _races(most: int) -> Iterator[_Race]:
    books = COLLECTION / "order-book"
    kraken, coinbase = books / "cryptofeed" / "KRAKEN.ws.50.0", books / "cryptofeed" / "COINBASE.ws.28.0"
    futures = books / "hftbacktest-binance-usdm-btcusdt_20240718.gz"
    if kraken.exists():
        found, messages = _recorded(kraken, most)
        names = {item.symbol: item.venue_symbol for item in found}
        channels = ["l2_book", "trades"]
        yield _Race("Kraken v1", "kraken_v1", {}, "Kraken", channels, names, messages, found, checksums=True)
    if coinbase.exists():
        found, messages = _recorded(coinbase, most)
        names = {item.symbol: item.venue_symbol for item in found}
        messages = [item for number, message in enumerate(messages) for item in _advanced(message, number)]
        yield _Race("Coinbase", "coinbase", {}, "Coinbase", ["l2_book", "trades"], names, messages, found)
    if futures.exists():
        found, messages = _recorded(futures, most)
        # cryptofeed reads no stream `trade` of futures.
        messages = [message for message in messages if b"@trade" not in message.data[:60]]
        channels = ["l2_book", "ticker"]
        names = {"BTC-USDT-PERP": "BTCUSDT"}
        yield _Race("Binance futures", "binance", {}, "BinanceFutures", channels, names, messages, found)


def _recorded(path: Path, most: int) -> tuple[tuple[Subscription, ...], list[RecordedMessage]]:
    recording = inspect_recording(path, StreamOptions(), {}, path.name)
    assert recording is not None
    kinds = {Direction.RECEIVED, Direction.ANSWERED}
    return recording.subscriptions, [item for item in merged_messages(recording) if item.direction in kinds][:most]


def _advanced(message: RecordedMessage, number: int) -> Iterator[RecordedMessage]:
    """A message of Coinbase Exchange as Advanced Trade would say it; none of what it has no counterpart of."""
    said = json.loads(message.data)
    product, moment = said.get("product_id"), said.get("time", "2021-01-01T00:00:00.000000Z")
    names = {"buy": "bid", "sell": "offer"}
    if said["type"] in {"l2update", "snapshot"}:
        changes = said.get("changes") or [
            *(("buy", *level) for level in said.get("bids", ())), *(("sell", *level) for level in said.get("asks", ()))
        ]  # fmt: skip
        updates = [
            {"side": names[side], "event_time": moment, "price_level": price, "new_quantity": size}
            for side, price, size in changes
        ]
        kind = "update" if said["type"] == "l2update" else "snapshot"
        channel, event = "l2_data", {"type": kind, "product_id": product, "updates": updates}
    elif said["type"] == "match":
        trade = {"trade_id": str(said["trade_id"]), "product_id": product, "price": said["price"], "size": said["size"]}
        trade |= {"side": said["side"].upper(), "time": moment}
        channel, event = "market_trades", {"type": "update", "trades": [trade]}
    else:
        return
    whole = {"channel": channel, "client_id": "", "timestamp": moment, "sequence_num": number, "events": [event]}
    data = json.dumps(whole, separators=(",", ":")).encode()
    yield RecordedMessage(message.receive_time, message.connection, message.direction, data)


def _ours(race: _Race) -> float:
    """Seconds of processor time from text to rows in the spool."""
    venue = venue_class(race.venue).from_options("feed", race.options)
    connection = Connection("recorded", "wss://recorded", race.subscriptions)
    decoder, books = venue.decoder(connection), RecordedBooks(race.subscriptions)
    rows, now = MessageRows(), race.messages[0].receive_time
    with TemporaryDirectory(prefix="gb-benchmark-") as folder, few_collections():
        spool = Spool(Path(folder) / "spool", SPOOLED)
        began = time.process_time()
        for message in race.messages:
            now += 1_000
            if message.direction is Direction.ANSWERED:
                books.answered(message)
            else:
                decoder.decode(message.data, now, rows)
            now = books.lay(decoder, now, rows)
        spool.append(to_columns(rows, "feed", venue.time_unit, "one").tables.items())
        seconds = time.process_time() - began
        spool.close()
    return seconds


def _theirs(python: Path, race: _Race) -> tuple[float, int]:
    """Seconds of processor time of cryptofeed's handlers, and objects that its callbacks got."""
    first = {
        "class": race.cryptofeed, "symbols": race.symbols, "channels": race.channels, "checksums": race.checksums,
    }  # fmt: skip
    lines = [json.dumps(first), *map(json.dumps, _frames(race.messages))]
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        file = Path(folder) / "frames.jsonl"
        file.write_text("\n".join(lines), encoding="utf-8")
        command = [str(python), "-P", str(_FOLDER / "cryptofeed_frames.py"), str(file), "1"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        raise RuntimeError(f"cryptofeed failed: {done.stderr[-1500:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["objects"]


def _frames(messages: Sequence[RecordedMessage]) -> Iterator[list[str]]:
    for message in messages:
        yield ["book" if message.direction is Direction.ANSWERED else "message", message.data.decode()]
