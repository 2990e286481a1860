"""Binance's messages become rows, and changes of a book chain to its snapshot or a hole is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.collectors import Decoder, MessageRows, Subscription, Venue
from gb_pipeline.collectors.levels import read_levels
from gb_pipeline.collectors.registry import venue_class
from gb_pipeline.errors import ConfigError
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.recorded_messages import Direction, RecordedMessage, read_recording
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

_BOOK = StreamDataset.BOOK_UPDATES


def reader(symbols: list[str], options: dict[str, Any]) -> tuple[Venue, list[Subscription], Decoder]:
    """One reader of everything: a recording has no connections of its own."""
    venue = venue_class("binance").from_options("test", options)
    subscriptions = [
        Subscription(dataset, symbol, venue.venue_symbol(symbol)) for symbol in symbols for dataset in venue.datasets
    ]
    whole = venue.connections(subscriptions)[0]
    return venue, subscriptions, venue.decoder(type(whole)("all", whole.url, tuple(subscriptions)))


def replay(messages: list[RecordedMessage], symbols: list[str], options: dict[str, Any]) -> MessageRows:
    _, subscriptions, decoder = reader(symbols, options)
    books = {item.venue_symbol: item for item in subscriptions if item.dataset is _BOOK}
    rows = MessageRows()
    for message in sorted(messages, key=lambda item: item.receive_time):
        if message.direction is Direction.RECEIVED:
            decoder.decode(message.data, message.receive_time, rows)
        elif message.direction is Direction.ANSWERED:
            named = message.connection.partition("symbol=")[2].partition("&")[0] or next(iter(books))
            decoder.apply_snapshot(books[named], message.data, message.receive_time, rows)
    return rows


@pytest.mark.parametrize(
    ("files", "symbols", "options", "changes", "snapshots"),
    [
        (
            ["cryptofeed/BINANCE.ws.1.0", "cryptofeed/BINANCE.http.0.0"],
            ["NKN-USDT", "BLZ-ETH", "LRC-BTC", "RUNE-EUR"], {"trades": "aggTrade"}, 176, 4,
        ),
        (["hftbacktest-binance-spot-btcusdt_20240808.gz"], ["BTC-USDT"], {}, 3451, 1),
        (
            ["hftbacktest-binance-usdm-btcusdt_20240718.gz", "hftbacktest-binance-usdm-btcusdt_20240719.gz"],
            ["BTC-USDT-PERP"], {"trades": "trade"}, 9022, 1,
        ),
    ],
)  # fmt: skip
def test_real_recordings_chain_to_their_snapshots_and_never_cross(
    market_data: Callable[[str], Path],
    files: list[str],
    symbols: list[str],
    options: dict[str, Any],
    changes: int,
    snapshots: int,
) -> None:
    messages = [message for name in files for message in read_recording(market_data(f"order-book/{name}"))]
    rows = replay(messages, symbols, options)
    assert (len(rows.updates), len(rows.snapshots), rows.unreadable) == (changes, snapshots, 0)
    assert {signal.kind for signal in rows.signals} == {ConnectionEventKind.SNAPSHOT}
    streams = Counter(
        json.loads(message.data)["stream"].partition("@")[2].partition("@")[0]
        for message in messages
        if message.direction is Direction.RECEIVED
    )
    assert len(rows.trades) == streams[options.get("trades", "trade")]
    assert len(rows.quotes) == streams["bookTicker"]
    books = {row[0]: (row[2], OrderBook()) for row in rows.snapshots}
    for row in rows.snapshots:
        books[row[0]][1].lay(read_levels(row[3]), read_levels(row[4]))
    followed = 0
    for row in rows.updates:
        laid, book = books[row[0]]
        if row[2] > laid:
            book.apply(read_levels(row[3]), read_levels(row[4]))
            followed += 1
            assert not book.crossed
    # Four fifths and more come after the snapshot.
    assert followed > 0.8 * changes


def change(number: int, *, futures: bool) -> tuple[dict[str, Any], int]:
    """The `number`-th change of a book: two numbers each on spot; on futures numbers have holes, and name the one before."""
    last = 10 + (5 if futures else 2) * number
    body: dict[str, Any] = {"e": "depthUpdate", "E": number, "s": "BTCUSDT", "U": last - 1, "u": last}
    if futures:
        body |= {"T": number, "pu": last - 5}
    price = str(100 + number % 3)
    return body | {"b": [[price, "0" if number % 4 == 3 else str(number)]], "a": []}, last


def book_after(count: int) -> dict[str, str]:
    book = OrderBook()
    for number in range(1, count + 1):
        body, _ = change(number, futures=False)
        book.apply([(body["b"][0][0], body["b"][0][1])], [])
    return dict(book.bids())


@settings(max_examples=300)
@given(
    st.booleans(),
    st.integers(2, 14),
    st.integers(0, 14),
    st.sampled_from(["none", "drop", "duplicate", "swap"]),
    st.integers(1, 14),
    st.integers(0, 14),
)
def test_whatever_happens_to_a_change_the_book_is_exact_or_a_hole_is_told(
    futures: bool, count: int, snapshot_of: int, fault: str, at: int, asked_after: int
) -> None:
    symbol = "BTC-USDT-PERP" if futures else "BTC-USDT"
    _, subscriptions, decoder = reader([symbol], {})
    subscription = next(item for item in subscriptions if item.dataset is _BOOK)
    numbers = list(range(1, count + 1))
    at = min(at, count - 1)
    if fault == "drop":
        numbers.remove(at)
    elif fault == "duplicate":
        numbers.insert(at, at)
    elif fault == "swap":
        numbers[at - 1], numbers[at] = numbers[at], numbers[at - 1]
    rows = MessageRows()
    time = 0

    def snapshot(of: int) -> None:
        nonlocal time
        time += 1
        levels = [list(level) for level in book_after(of).items()]
        body = {"lastUpdateId": change(of, futures=futures)[1], "bids": levels, "asks": []}
        decoder.apply_snapshot(subscription, json.dumps(body).encode(), time, rows)

    for place, number in enumerate(numbers):
        if place == min(asked_after, len(numbers) - 1):
            snapshot(min(snapshot_of, count))
        time += 1
        body, _ = change(number, futures=futures)
        decoder.decode(
            json.dumps({"stream": "btcusdt@depth@100ms", "data": body}, separators=(",", ":")).encode(), time, rows
        )
    assert rows.unreadable == 0
    told = [signal for signal in rows.signals if signal.kind is ConnectionEventKind.SEQUENCE]
    # As the lake has it: the last snapshot, and what came after it.
    laid = list(rows.snapshots)
    needed = bool(decoder.snapshot_needed()) or bool(told)
    if laid and not needed:
        book = OrderBook()
        book.lay(laid[-1][3], laid[-1][4])
        last_of_book = laid[-1][5] or 0
        for row in rows.updates:
            if row[2] > laid[-1][2]:
                book.apply(read_levels(row[3]), read_levels(row[4]))
                last_of_book = max(last_of_book, row[6] or 0)
        newest = max(change(number, futures=futures)[1] for number in [*numbers, min(snapshot_of, count)])
        expected = count if newest == change(count, futures=futures)[1] else None
        if expected is not None:
            assert dict(book.bids()) == book_after(expected)
    elif not laid:
        assert needed or fault != "none" or not numbers
    if fault in {"none", "duplicate"}:
        assert not told


def test_a_hole_is_told_with_its_numbers_and_the_book_asked_for_anew() -> None:
    venue, subscriptions, decoder = reader(["BTC-USDT"], {})
    rows = MessageRows()
    subscription = next(item for item in subscriptions if item.dataset is _BOOK)

    def say(number: int, time: int) -> None:
        body, _ = change(number, futures=False)
        decoder.decode(
            json.dumps({"stream": "btcusdt@depth", "data": body}, separators=(",", ":")).encode(), time, rows
        )

    say(1, 1)
    assert decoder.snapshot_needed() == [subscription]
    assert not decoder.snapshot_needed()
    assert venue.snapshot_url(subscription) == "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"
    decoder.apply_snapshot(subscription, b'{"lastUpdateId":12,"bids":[["101","1"]],"asks":[]}', 2, rows)
    say(2, 3)
    say(4, 4)
    signal = rows.signals[-1]
    assert (signal.kind, signal.first_sequence, signal.last_sequence, signal.resubscribe) == (
        ConnectionEventKind.SEQUENCE, 15, 16, True,
    )  # fmt: skip
    # It broke a moment ago, so a second passes.
    say(5, 5)
    assert not decoder.snapshot_needed()
    say(6, 2_000_000_000)
    assert decoder.snapshot_needed() == [subscription]
    # Older than what waits: again.
    decoder.apply_snapshot(subscription, b'{"lastUpdateId":15,"bids":[],"asks":[]}', 2_000_000_001, rows)
    assert len(rows.snapshots) == 1
    decoder.apply_snapshot(subscription, b'{"lastUpdateId":17,"bids":[["9","9"]],"asks":[]}', 2_000_000_002, rows)
    assert (rows.snapshots[-1][5], rows.snapshots[-1][6]) == (22, "resync")
    assert len(rows.updates) == 5


def test_trades_quotes_and_answers() -> None:
    venue, _, decoder = reader(["BTC-USDT"], {})
    rows = MessageRows()

    def say(stream: str, **body: Any) -> None:
        text = json.dumps({"stream": f"btcusdt@{stream}", "data": body}, separators=(",", ":"))
        decoder.decode(text.encode(), rows.messages, rows)

    for number in (5, 6, 6, 9, 7):
        say("trade", e="trade", t=number, p="1.50", q="2", T=1000, m=True)
    assert [(row[6], row[3], row[4]) for row in rows.trades] == [
        (5, "sell", "1.50"),
        (6, "sell", "1.50"),
        (9, "sell", "1.50"),
    ]
    assert [(item.first_sequence, item.last_sequence) for item in rows.signals] == [(7, 8)]
    say("bookTicker", u=4, s="BTCUSDT", b="1", B="2", a="3", A="4")
    say("bookTicker", u=4, s="BTCUSDT", b="1", B="2", a="3", A="4")
    assert [row[3:] for row in rows.quotes] == [("1", "2", "3", "4", 4)]
    say("kline_1m", e="kline")
    assert rows.unreadable == 0
    decoder.decode(b'{"result":null,"id":1}', 100, rows)
    assert Counter(item.kind for item in rows.signals)[ConnectionEventKind.SUBSCRIBED] == 3
    decoder.decode(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}', 101, rows)
    assert Counter(item.kind for item in rows.signals)[ConnectionEventKind.REFUSED] == 3
    assert rows.signals[-1].detail["permanent"] is True
    decoder.decode(b'{"error":{"code":4,"msg":"Too many streams"},"id":1}', 101, rows)
    assert rows.signals[-1].detail["error"] == "Too many streams (code 4)"
    assert "permanent" not in rows.signals[-1].detail
    # The same fields in another order.
    decoder.decode(b'{"data":{"t":10,"p":"1","q":"1","T":1,"m":false},"stream":"btcusdt@trade"}', 102, rows)
    assert rows.trades[-1][6] == 10
    for data in (b"", b"{", b"[]", b"{}", b'{"stream":"btcusdt@trade","data":{}}', b'{"stream":"btcusdt'):
        before = rows.unreadable
        decoder.decode(data, 200, rows)
        assert rows.unreadable == before + 1, data
    assert venue.venue_symbol("BTC-USDT-PERP") == "BTCUSDT"


def test_spot_and_futures_have_connections_of_their_own() -> None:
    venue = venue_class("binance").from_options("b", {})
    wanted = [
        Subscription(dataset, symbol, venue.venue_symbol(symbol), 50)
        for symbol in ("BTC-USDT", "BTC-USDT-PERP")
        for dataset in venue.datasets
    ]
    found = {item.url: [part.decode() for part in venue.opening(item)] for item in venue.connections(wanted)}
    assert found == {
        "wss://stream.binance.com:9443/stream": [
            '{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@depth@100ms","btcusdt@bookTicker"],"id":1}'
        ],
        "wss://fstream.binance.com/market/stream": ['{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}'],
        "wss://fstream.binance.com/public/stream": [
            '{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms","btcusdt@bookTicker"],"id":1}'
        ],
    }
    with pytest.raises(ConfigError, match="no book of 2,000 levels"):
        venue.connections([Subscription(_BOOK, "BTC-USDT-PERP", "BTCUSDT", 2000)])
