"""Coinbase's messages become rows: real ones of the Exchange, and those of Advanced Trade, of which none is missed unnoticed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.collectors import Decoder, MessageRows, Subscription, Venue
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.recorded_messages import Direction, read_recording
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

_SYMBOLS = [
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


def reader(name: str, symbols: Iterable[str]) -> tuple[Venue, Decoder]:
    venue = venue_class(name).from_options("test", {})
    subscriptions = [
        Subscription(dataset, symbol, venue.venue_symbol(symbol)) for symbol in symbols for dataset in venue.datasets
    ]
    (connection,) = venue.connections(subscriptions)
    return venue, venue.decoder(connection)


def test_a_real_recording_is_read_whole_and_its_books_never_cross(market_data: Callable[[str], Path]) -> None:
    messages = [
        message
        for message in read_recording(market_data("order-book/cryptofeed/COINBASE.ws.28.0"))
        if message.direction is Direction.RECEIVED
    ]
    types = Counter(json.loads(message.data)["type"] for message in messages)
    _, decoder = reader("coinbase_exchange", _SYMBOLS)
    rows = MessageRows()
    for message in messages:
        decoder.decode(message.data, message.receive_time, rows)
    assert (len(rows.updates), len(rows.snapshots)) == (9719, 10)
    assert (len(rows.trades), len(rows.quotes)) == (types["match"], types["ticker"])
    assert rows.unreadable == 0
    assert {signal.kind for signal in rows.signals} == {ConnectionEventKind.SUBSCRIBED, ConnectionEventKind.SNAPSHOT}
    # Told again by another book: what was stored never crosses.
    books: dict[str, OrderBook] = {}
    for _, snapshot, row in sorted(
        [(row[2], True, row) for row in rows.snapshots] + [(row[2], False, row) for row in rows.updates],
        key=lambda item: item[0],
    ):
        if snapshot:
            books.setdefault(row[0], OrderBook()).lay(row[3], row[4])
        else:
            books[row[0]].apply(row[3], row[4])
        assert not books[row[0]].crossed
    # The maker sold, so the taker bought.
    first = next(json.loads(message.data) for message in messages if b'"type":"match"' in message.data)
    row = rows.trades[0]
    assert (row[0], row[3], row[4], row[5], row[6]) == (
        first["product_id"],
        {"buy": "sell", "sell": "buy"}[first["side"]],
        first["price"],
        first["size"],
        first["trade_id"],
    )


def test_heartbeats_tell_of_a_trade_that_never_came() -> None:
    _, decoder = reader("coinbase_exchange", ["BTC-USD"])
    rows = MessageRows()

    def say(**body: Any) -> None:
        decoder.decode(json.dumps({"product_id": "BTC-USD", **body}).encode(), rows.messages, rows)

    match = {"type": "match", "side": "sell", "size": "1", "price": "2", "time": "2024-01-02T00:00:00Z"}
    say(type="last_match", trade_id=10)
    say(**match, trade_id=11)
    say(type="heartbeat", last_trade_id=12, sequence=1, time="2024-01-02T00:00:00Z")
    # It was on its way.
    say(**match, trade_id=12)
    say(type="heartbeat", last_trade_id=14, sequence=1, time="2024-01-02T00:00:00Z")
    assert not rows.signals
    say(type="heartbeat", last_trade_id=14, sequence=1, time="2024-01-02T00:00:00Z")
    (gap,) = rows.signals
    assert (gap.kind, gap.symbol, gap.first_sequence, gap.last_sequence) == (
        ConnectionEventKind.SEQUENCE, "BTC-USD", 13, 14,
    )  # fmt: skip
    say(**match, trade_id=15)
    assert [row[6] for row in rows.trades] == [11, 12, 15]
    assert len(rows.signals) == 1


def test_a_book_of_the_exchange_that_crosses_is_laid_anew() -> None:
    _, decoder = reader("coinbase_exchange", ["BTC-USD"])
    rows = MessageRows()
    snapshot = {"type": "snapshot", "product_id": "BTC-USD", "bids": [["10", "1"]], "asks": [["11", "1"]]}
    decoder.decode(json.dumps(snapshot).encode(), 1, rows)
    update = {
        "type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "11", "2"]], "time": "2024-01-02T00:00:00Z",
    }  # fmt: skip
    decoder.decode(json.dumps(update).encode(), 2, rows)
    assert (rows.signals[-1].kind, rows.signals[-1].resubscribe) == (ConnectionEventKind.CHECKSUM, True)
    assert [json.loads(item)["type"] for item in decoder.requests()] == ["unsubscribe", "subscribe"]
    decoder.decode(json.dumps(snapshot).encode(), 3, rows)
    assert [row[6] for row in rows.snapshots] == ["subscribed", "resync"]
    assert not rows.updates


class Feed:
    """A feed of Advanced Trade of one product, and what its book and trades are after each message."""

    def __init__(self, kinds: list[str]) -> None:
        self.messages: list[bytes] = []
        self.books: list[dict[str, str]] = []
        self.trades: list[list[int]] = []
        book: dict[str, str] = {}
        told: list[int] = []
        for number, kind in enumerate(["snapshot", *kinds]):
            events: list[dict[str, Any]]
            if kind == "trade":
                told = [*told, len(told) + 1]
                trade = {
                    "trade_id": str(told[-1]),
                    "product_id": "BTC-USD",
                    "price": "1.50",
                    "size": "2",
                    "side": "BUY",
                }
                events = [{"type": "update", "trades": [trade | {"time": "2024-01-02T00:00:00Z"}]}]
                channel = "market_trades"
            elif kind == "heartbeat":
                events, channel = [{"current_time": "x", "heartbeat_counter": number}], "heartbeats"
            else:
                price, size = str(100 + number % 4), "0" if number % 5 == 3 else str(number + 1)
                book = {name: text for name, text in ({**book, price: size}).items() if Decimal(text)}
                updates = [
                    {"side": "bid", "event_time": "2024-01-02T00:00:00Z", "price_level": price, "new_quantity": size}
                ]
                events = [{"type": kind, "product_id": "BTC-USD", "updates": updates}]
                channel = "l2_data"
            body = {"channel": channel, "timestamp": "2024-01-02T00:00:00Z", "sequence_num": number, "events": events}
            self.messages.append(json.dumps(body).encode())
            self.books.append(book)
            self.trades.append(told)


def heard_book(rows: MessageRows) -> dict[str, str]:
    book = OrderBook()
    for row in sorted([*rows.snapshots, *rows.updates], key=lambda item: item[2]):
        if row in rows.snapshots:
            book.lay(row[3], row[4])
        else:
            book.apply(row[3], row[4])
    return dict(book.bids())


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(["update", "update", "trade", "heartbeat"]), min_size=3, max_size=20),
    st.sampled_from(["drop", "duplicate", "swap"]),
    st.data(),
)
def test_whatever_happens_to_a_message_the_book_is_exact_or_a_hole_is_told(
    kinds: list[str], fault: str, data: st.DataObject
) -> None:
    feed = Feed(kinds)
    at = data.draw(st.integers(1, len(feed.messages) - 2))
    messages = list(feed.messages)
    if fault == "drop":
        del messages[at]
    elif fault == "duplicate":
        messages.insert(at, messages[at])
    else:
        messages[at], messages[at + 1] = messages[at + 1], messages[at]
    _, decoder = reader("coinbase", ["BTC-USD"])
    rows = MessageRows()
    for time, message in enumerate(messages, 1):
        decoder.decode(message, time, rows)
    gaps = [signal for signal in rows.signals if signal.kind is ConnectionEventKind.SEQUENCE]
    numbers = [row[6] for row in rows.trades]
    assert numbers == sorted(set(numbers))
    if fault == "duplicate":
        assert not gaps
        assert (heard_book(rows), numbers) == (feed.books[-1], feed.trades[-1])
        return
    assert (gaps[0].first_sequence, gaps[0].last_sequence, gaps[0].resubscribe) == (at, at, True)
    assert [json.loads(item)["type"] for item in decoder.requests()] == ["unsubscribe", "subscribe"]
    # What was stored before the hole is exact, and nothing of the book after it.
    assert heard_book(rows) == feed.books[at - 1]
    missing = {int(number) for number in feed.trades[-1]} - set(numbers)
    assert missing <= {len(feed.trades[at])}


def test_what_is_in_the_snapshot_of_trades_was_before() -> None:
    _, decoder = reader("coinbase", ["BTC-USD"])
    rows = MessageRows()

    def say(number: int, kind: str, *trades: int) -> None:
        shown = [
            {
                "trade_id": str(item), "product_id": "BTC-USD", "price": "1", "size": "1", "side": "SELL",
                "time": "2024-01-02T00:00:00Z",
            }
            for item in trades
        ]  # fmt: skip
        events = [{"type": kind, "trades": shown}]
        body = {"channel": "market_trades", "timestamp": "x", "sequence_num": number, "events": events}
        decoder.decode(json.dumps(body).encode(), number, rows)

    say(0, "snapshot", 9, 8, 7)
    say(1, "update", 11, 10)
    assert [(row[6], row[3], row[8]) for row in rows.trades] == [(10, "buy", 0), (11, "buy", 1)]
    assert not rows.signals
    say(2, "update", 13)
    assert (rows.signals[0].first_sequence, rows.signals[0].last_sequence) == (12, 12)


def test_errors_and_unknown_messages() -> None:
    for name in ("coinbase", "coinbase_exchange"):
        _, decoder = reader(name, ["BTC-USD"])
        rows = MessageRows()
        for data in (b"", b"[", b"[]", b'{"channel":"l2_data"}', b'{"type":"l2update"}', b"\xff"):
            decoder.decode(data, 1, rows)
        decoder.decode(b'{"type":"error","message":"no such product","reason":"x"}', 2, rows)
        assert rows.signals[-1].kind is ConnectionEventKind.REFUSED
        for words, permanent in (("XXX-USD is not a valid product", True), ("rate limit exceeded", None)):
            decoder.decode(b'{"type":"error","message":"%s"}' % words.encode(), 3, rows)
            assert (rows.signals[-1].detail["error"], rows.signals[-1].detail.get("permanent")) == (words, permanent)
        assert rows.unreadable >= 5
        assert not (rows.trades or rows.updates or rows.snapshots)
    with pytest.raises(ConfigError, match="use one of level2, level2_batch"):
        venue_class("coinbase_exchange").from_options("c", {"book_channel": "level3"})
    venue = venue_class("coinbase").from_options("c", {})
    many = [Subscription(StreamDataset.TRADES, f"C{number}-USD", f"C{number}-USD") for number in range(45)]
    assert [len(item.subscriptions) for item in venue.connections(many)] == [20, 20, 5]
