"""Kraken's messages become rows, and every book is proven by the venue's own checksum."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gb_pipeline.collectors import Connection, Decoder, MessageRows, Subscription, Venue
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.errors import ConfigError, InvalidSymbol
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage, read_recording
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

SYMBOLS = (
    "WAVES-EUR", "XMR-USD", "KSM-BTC", "GRT-ETH", "SC-EUR", "ETH-CHF", "OCEAN-BTC", "OMG-USD", "BTC-CHF", "ADA-BTC",
)  # fmt: skip
_V2_KEYS = {"as": "asks", "bs": "bids", "a": "asks", "b": "bids"}


def connect(name: str, symbols: Iterable[str] = SYMBOLS, depth: int | None = None) -> tuple[Venue, Connection]:
    """A venue and the one connection that carries all of its datasets of some symbols."""
    venue = venue_class(name).from_options("test", {})
    subscriptions = [
        Subscription(dataset, symbol, venue.venue_symbol(symbol), depth)
        for symbol in symbols
        for dataset in venue.datasets
    ]
    (connection,) = venue.connections(subscriptions)
    return venue, connection


def recorded(path: Path) -> list[RecordedMessage]:
    return [message for message in read_recording(path) if message.direction is Direction.RECEIVED]


def decode_all(decoder: Decoder, messages: Iterable[RecordedMessage]) -> MessageRows:
    rows = MessageRows()
    for message in messages:
        decoder.decode(message.data, message.receive_time, rows)
    return rows


def to_v2(message: RecordedMessage) -> RecordedMessage | None:
    """The same message of a book as version 2 sends it; numbers keep every digit."""
    body = msgspec.json.decode(message.data)
    if not isinstance(body, list):
        return None
    pair = body[-1].replace("XBT", "BTC")
    item: dict[str, Any] = {"symbol": pair, "bids": [], "asks": []}
    kind = "update"
    for part in body[1:-2]:
        for key, levels in part.items():
            if key == "c":
                item["checksum"] = int(levels)
                continue
            kind = "snapshot" if key in {"as", "bs"} else kind
            item[_V2_KEYS[key]] += [
                {"price": msgspec.Raw(level[0].encode()), "qty": msgspec.Raw(level[1].encode())} for level in levels
            ]
    item["timestamp"] = "2021-04-17T16:48:53.000000Z"
    data = msgspec.json.encode({"channel": "book", "type": kind, "data": [item]})
    return message._replace(data=data)


@pytest.fixture(scope="module")
def book_messages(request: pytest.FixtureRequest) -> list[RecordedMessage]:
    market_data: Callable[[str], Path] = request.getfixturevalue("market_data")
    return recorded(market_data("order-book/cryptofeed/KRAKEN.ws.50.0"))


def test_all_4269_checksums_of_a_real_recording_hold(book_messages: list[RecordedMessage]) -> None:
    venue, connection = connect("kraken_v1")
    rows = decode_all(venue.decoder(connection), book_messages)
    assert (len(rows.updates), len(rows.snapshots), rows.unreadable) == (4269, 10, 0)
    assert all(row[7] is not None for row in rows.updates)
    kinds = Counter(signal.kind for signal in rows.signals)
    assert kinds == {
        ConnectionEventKind.SUBSCRIBED: 10, ConnectionEventKind.SNAPSHOT: 10, ConnectionEventKind.VENUE: 1,
    }  # fmt: skip
    assert sum(rows.heard.values()) == 4279
    assert rows.messages == len(book_messages)


def test_version_2_gives_the_same_books_and_proves_them_alike(book_messages: list[RecordedMessage]) -> None:
    old, new = connect("kraken_v1"), connect("kraken")
    v1 = decode_all(old[0].decoder(old[1]), book_messages)
    v2 = decode_all(new[0].decoder(new[1]), [item for message in book_messages if (item := to_v2(message))])
    assert len(v2.updates) == 4269
    assert not [signal for signal in v2.signals if signal.kind is not ConnectionEventKind.SNAPSHOT]
    without_time = [[(row[0], *row[2:]) for row in rows.updates] for rows in (v1, v2)]
    assert without_time[0] == without_time[1]
    assert [row[3:5] for row in v1.snapshots] == [row[3:5] for row in v2.snapshots]


def test_a_wrong_checksum_is_told_and_the_book_laid_anew(book_messages: list[RecordedMessage]) -> None:
    venue, connection = connect("kraken")
    messages = [item for message in book_messages if (item := to_v2(message))]
    snapshots = {msgspec.json.decode(item.data)["data"][0]["symbol"]: item for item in messages[:10]}
    broken = messages[50]
    body = msgspec.json.decode(broken.data, type=dict[str, Any])
    pair, checksum = body["data"][0]["symbol"], body["data"][0]["checksum"]
    wrong = broken._replace(data=broken.data.replace(str(checksum).encode(), b"1"))
    decoder = venue.decoder(connection)
    rows = decode_all(decoder, [*messages[:50], wrong])
    signal = rows.signals[-1]
    assert (signal.kind, signal.symbol, signal.resubscribe) == (
        ConnectionEventKind.CHECKSUM, pair.replace("/", "-"), True,
    )  # fmt: skip
    assert signal.detail == {"venue": 1, "ours": checksum}
    asked = [msgspec.json.decode(request) for request in decoder.requests()]
    assert [(item["method"], item["params"]["symbol"]) for item in asked] == [
        ("unsubscribe", [pair]), ("subscribe", [pair]),
    ]  # fmt: skip
    assert not decoder.requests()
    # Until then its updates belong to no book.
    kept = decode_all(decoder, messages[51:])
    assert pair.replace("/", "-") not in {row[0] for row in kept.updates}
    laid = decode_all(decoder, [snapshots[pair]])
    assert [row[6] for row in laid.snapshots] == ["resync"]


def test_a_missing_trade_is_told_with_its_number_and_one_that_came_again_is_not_stored_twice() -> None:
    venue, connection = connect("kraken", ["BTC-USD"])
    decoder = venue.decoder(connection)

    def trade(number: int) -> RecordedMessage:
        data = (
            b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":45285.20,'
            b'"qty":0.00100000,"ord_type":"market","trade_id":%d,"timestamp":"2023-09-25T07:49:37.708706Z"}]}' % number
        )
        return RecordedMessage(number, "", Direction.RECEIVED, data)

    rows = decode_all(decoder, map(trade, (7, 8, 8, 12, 10, 13)))
    assert [row[6] for row in rows.trades] == [7, 8, 12, 13]
    assert rows.trades[0][3:6] == ("sell", "45285.20", "0.00100000")
    (gap,) = rows.signals
    assert (gap.kind, gap.dataset, gap.symbol, gap.first_sequence, gap.last_sequence) == (
        ConnectionEventKind.SEQUENCE, StreamDataset.TRADES, "BTC-USD", 9, 11,
    )  # fmt: skip


def test_answers_to_subscriptions_say_what_was_taken_and_what_refused() -> None:
    venue, connection = connect("kraken", ["BTC-USD"])
    messages = [
        b'{"channel":"status","data":[{"api_version":"v2","connection_id":1,"system":"online","version":"2.0.0"}],"type":"update"}',
        b'{"method":"subscribe","result":{"channel":"book","depth":1000,"snapshot":true,"symbol":"BTC/USD"},"success":true,"req_id":2}',
        b'{"error":"Currency pair not supported BTC/USD","method":"subscribe","success":false,"symbol":"BTC/USD","req_id":1}',
        b'{"channel":"heartbeat"}',
        b'{"method":"pong","req_id":4}',
        b'{"channel":"ohlc","type":"update","data":[]}',
    ]
    rows = MessageRows()
    decoder = venue.decoder(connection)
    for at, data in enumerate(messages):
        decoder.decode(data, at, rows)
    assert [(signal.kind, signal.dataset, signal.symbol) for signal in rows.signals] == [
        (ConnectionEventKind.VENUE, None, None),
        (ConnectionEventKind.SUBSCRIBED, StreamDataset.BOOK_UPDATES, "BTC-USD"),
        (ConnectionEventKind.REFUSED, StreamDataset.TRADES, "BTC-USD"),
    ]
    assert rows.signals[2].detail["error"] == "Currency pair not supported BTC/USD"
    assert rows.signals[2].detail["permanent"] is True
    for name, limited in (
        ("kraken", b'{"error":"Exceeded msg rate","method":"subscribe","success":false,"symbol":"BTC/USD","req_id":1}'),
        (
            "kraken_v1",
            b'{"event":"subscriptionStatus","status":"error","errorMessage":"Exceeded msg rate","pair":"XBT/USD"}',
        ),
    ):
        venue, connection = connect(name, ["BTC-USD"])
        rows = MessageRows()
        venue.decoder(connection).decode(limited, 1, rows)
        [signal] = rows.signals
        assert "permanent" not in signal.detail
        assert str(signal.detail["error"]).startswith("Exceeded msg rate (")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"[1,2",
        b"\xff\xfe",
        b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":"x"}]}]}',
        b'{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":"x","qty":1}]}]}',
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD"}]}',
    ],
)
@pytest.mark.parametrize("name", ["kraken", "kraken_v1"])
def test_what_cannot_be_read_is_told_and_never_raises(name: str, data: bytes) -> None:
    venue, connection = connect(name, ["BTC-USD"])
    rows = MessageRows()
    venue.decoder(connection).decode(data, 1, rows)
    assert rows.unreadable == 1
    assert rows.signals[-1].kind is ConnectionEventKind.UNREADABLE
    assert not (rows.trades or rows.updates or rows.snapshots)


def test_symbols_depths_and_options() -> None:
    assert venue_class("kraken").from_options("k", {}).venue_symbol("BTC-USD") == "BTC/USD"
    venue = venue_class("kraken_v1").from_options("k", {"base_url": "http://127.0.0.1:1"})
    assert venue.venue_symbol("DOGE-BTC") == "XDG/XBT"
    assert connect("kraken", ["BTC-USD"])[1].url == "wss://ws.kraken.com/v2"
    assert (
        venue.connections([Subscription(StreamDataset.TRADES, "A-B", "A/B")])[0].url == "ws://127.0.0.1:1/ws.kraken.com"
    )
    with pytest.raises(InvalidSymbol, match="no perpetual"):
        venue.venue_symbol("BTC-USD-PERP")
    with pytest.raises(ConfigError, match="no book of 2,000 levels"):
        connect("kraken", ["BTC-USD"], 2000)
    with pytest.raises(ConfigError, match="did you mean base_url"):
        venue_class("kraken").from_options("k", {"base_ulr": "x"})
    venue, connection = connect("kraken", ["BTC-USD"], 20)
    requests = [msgspec.json.decode(item) for item in venue.opening(connection)]
    assert [item["params"] for item in requests] == [
        {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": False},
        {"channel": "book", "symbol": ["BTC/USD"], "depth": 25},
        {"channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": "bbo"},
    ]
    # Books are cut at what was asked for, not at what was wanted.
    assert {item.depth for item in connection.subscriptions if item.dataset is StreamDataset.BOOK_UPDATES} == {25}
    many = [Subscription(StreamDataset.TRADES, f"C{number}-USD", f"C{number}/USD") for number in range(250)]
    spread = venue.connections(many)
    assert [len(item.subscriptions) for item in spread] == [100, 100, 50]
    assert {item for part in spread for item in part.subscriptions} == set(many)


@pytest.mark.parametrize("fault", ["drop", "duplicate", "swap"])
def test_whatever_happens_to_a_message_the_best_ten_levels_are_exact_or_it_is_told(
    book_messages: list[RecordedMessage], fault: str
) -> None:
    messages = [item for message in book_messages[:360] if (item := to_v2(message))]
    venue, connection = connect("kraken")
    right = decode_all(venue.decoder(connection), messages)
    told_at_all = 0
    for at in random.Random(fault).sample(range(10, len(messages) - 1), 15):
        faulty = list(messages)
        if fault == "drop":
            del faulty[at]
        elif fault == "duplicate":
            faulty.insert(at, faulty[at])
        else:
            faulty[at], faulty[at + 1] = faulty[at + 1], faulty[at]
        found = decode_all(venue.decoder(connection), faulty)
        told = {signal.symbol for signal in found.signals if signal.kind is ConnectionEventKind.CHECKSUM}
        told_at_all += len(told)
        for symbol in set(SYMBOLS) - told:
            assert best_ten(right, symbol) == best_ten(found, symbol)
    assert bool(told_at_all) == (fault != "duplicate")


def best_ten(rows: MessageRows, symbol: str) -> tuple[list[Any], list[Any]]:
    book = OrderBook(1000)
    for row in rows.snapshots:
        if row[0] == symbol:
            book.lay(row[3], row[4])
    for row in rows.updates:
        if row[0] == symbol:
            book.apply(row[3], row[4])
    return book.bids(10), book.asks(10)
