"""Messages a second of the decoders of crypto exchanges, on real recordings, beside ccxt.pro on the same messages; books rebuilt.

Processor time of one core is taken: rows as tuples with text, ready for columns. Kraken's numbers have the proof of every checksum.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.bytes_per_row import COLLECTION
from benchmarks.measurement import Measurement
from gb_pipeline.collectors import Connection, MessageRows, Subscription
from gb_pipeline.collectors.levels import read_levels
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.market.book_states import book_states
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage, read_recording
from gb_pipeline.market.tick_schema import StreamDataset

MESSAGES, UPDATES, TIMES_CCXT = 150_000, 1_000_000, 5
_BOOKS = COLLECTION / "order-book"
_KRAKEN = [
    "WAVES-EUR",
    "XMR-USD",
    "KSM-BTC",
    "GRT-ETH",
    "SC-EUR",
    "ETH-CHF",
    "OCEAN-BTC",
    "OMG-USD",
    "BTC-CHF",
    "ADA-BTC",
]
_COINBASE = [
    "SKL-USD",
    "SKL-BTC",
    "BAND-GBP",
    "NMR-EUR",
    "BAND-BTC",
    "YFI-BTC",
    "DASH-BTC",
    "NU-GBP",
    "CRV-EUR",
    "SKL-GBP",
]
_FUTURES = [f"hftbacktest-binance-usdm-btcusdt_202407{day}.gz" for day in (18, 19)]
FEEDS: tuple[tuple[str, str, dict[str, Any], list[str], list[str]], ...] = (
    ("Kraken, books with checksums", "kraken_v1", {}, _KRAKEN, ["cryptofeed/KRAKEN.ws.50.0"]),
    ("Coinbase Exchange, books and trades", "coinbase_exchange", {}, _COINBASE, ["cryptofeed/COINBASE.ws.28.0"]),
    ("Binance spot", "binance", {}, ["BTC-USDT"], ["hftbacktest-binance-spot-btcusdt_20240808.gz"]),
    ("Binance perpetual", "binance", {"trades": "trade"}, ["BTC-USDT-PERP"], _FUTURES),
)
_REPEATS = 5


def measure() -> Iterator[Measurement]:
    """Every recording that is there."""
    if not _BOOKS.is_dir():
        return
    for name, venue, options, symbols, files in FEEDS:
        messages = _messages(files)
        rate = _rate(len(messages), lambda v=venue, o=options, s=symbols, m=messages: _decode(v, o, s, m))  # type: ignore[misc]
        yield Measurement(f"decoding: {name}", rate, "messages/s", f">= {MESSAGES:,}", rate >= MESSAGES)
    trades = [message for message in _messages(_FUTURES) if b"@trade" in message.data]
    ours = _rate(len(trades), lambda: _decode("binance", {"trades": "trade"}, ["BTC-USDT-PERP"], trades))
    theirs = _rate(len(trades), lambda: _ccxt(trades))
    ratio = ours / theirs
    by_hand = f"ccxt.pro {theirs:,.0f}, {ratio:.1f} times as many"
    target, met = f">= {TIMES_CCXT} times ccxt.pro", ratio >= TIMES_CCXT
    yield Measurement("decoding: trades of Binance", ours, "messages/s", target, met, by_hand)
    yield _rebuilt()


def _messages(files: Sequence[str]) -> list[RecordedMessage]:
    return [
        message
        for name in files
        for message in read_recording(Path(_BOOKS, name))
        if message.direction is not Direction.SENT
    ]


def _rate(count: int, act: Callable[[], object]) -> float:
    act()
    best = float("inf")
    for _ in range(_REPEATS):
        began = time.process_time()
        act()
        best = min(best, time.process_time() - began)
    return count / best


def _decode(
    name: str, options: dict[str, Any], symbols: Sequence[str], messages: Sequence[RecordedMessage]
) -> MessageRows:
    venue = venue_class(name).from_options("benchmark", options)
    subscriptions = [
        Subscription(dataset, symbol, venue.venue_symbol(symbol)) for symbol in symbols for dataset in venue.datasets
    ]
    decoder = venue.decoder(Connection("all", "wss://recorded", tuple(subscriptions)))
    rows = MessageRows()
    for message in messages:
        if message.direction is Direction.RECEIVED:
            decoder.decode(message.data, message.receive_time, rows)
        elif message.direction is Direction.ANSWERED:
            book = next(item for item in subscriptions if item.dataset is StreamDataset.BOOK_UPDATES)
            decoder.apply_snapshot(book, message.data, message.receive_time, rows)
    return rows


class _Client:
    """What ccxt.pro's handlers ask of a connection."""

    url = "wss://fstream.binance.com/stream"
    subscriptions: Mapping[str, Any] = {}
    futures: Mapping[str, Any] = {}

    def resolve(self, *_: object) -> None:
        """Nobody waits."""


def _ccxt(messages: Sequence[RecordedMessage]) -> None:
    import ccxt.pro

    exchange = ccxt.pro.binance()
    precision = {"price": 0.1, "amount": 0.001}
    market = {
        "id": "BTCUSDT",
        "symbol": "BTC/USDT:USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "swap": True,
    }
    market |= {"spot": False, "option": False, "future": False, "inverse": False, "margin": False, "active": True}
    market |= {"contract": True, "linear": True, "type": "swap", "precision": precision, "limits": {}}
    exchange.set_markets([market | {"baseId": "BTC", "quoteId": "USDT", "contractSize": 1, "info": {}}])
    client = _Client()
    for message in messages:
        exchange.handle_message(client, json.loads(message.data))
    asyncio.run(exchange.close())


def _rebuilt() -> Measurement:
    rows = _decode("binance", {"trades": "trade"}, ["BTC-USDT-PERP"], _messages(_FUTURES))
    snapshots, updates = (_levels(heard) for heard in (rows.snapshots, rows.updates))
    # Eight times the same stretch, one after another: three million changes.
    span = int(updates["receive_time"][-1]) - int(updates["receive_time"][0]) + 1
    many = pl.concat([updates.with_columns(pl.col("receive_time") + turn * span) for turn in range(8)])
    moments = np.linspace(snapshots["receive_time"][0], many["receive_time"][-1], 1000).astype(np.int64).tolist()
    rate = _rate(many.height, lambda: book_states(snapshots, many, moments, depth=10))
    by_hand = f"{many.height:,} changes, ten levels at 1,000 moments"
    return Measurement("books rebuilt", rate, "changes/s", f">= {UPDATES:,}", rate >= UPDATES, by_hand)


def _levels(heard: Sequence[Any]) -> pl.DataFrame:
    rows = [
        (row[2], ordinal, side, Decimal(price), Decimal(size))
        for row in heard
        for ordinal, (side, (price, size)) in enumerate(
            [("bid", level) for level in read_levels(row[3])] + [("ask", level) for level in read_levels(row[4])]
        )
    ]
    number = pl.Decimal(18, 8)
    schema: dict[str, Any] = {
        "receive_time": pl.Int64,
        "ordinal": pl.Int32,
        "side": pl.String,
        "price": number,
        "size": number,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
