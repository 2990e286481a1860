"""A real recording of BitMEX, counted against its own lines; nothing of it is called covered."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from gb_pipeline.collectors.messages import MessageRows
from gb_pipeline.collectors.venue import Connection, Subscription
from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams.bitmex import RecordedBitmex
from gb_pipeline.formats.streams.importing import import_streams
from gb_pipeline.market.recorded_messages import Direction, read_recording
from gb_pipeline.market.tick_schema import StreamDataset

FILE = "order-book/cryptofeed/BITMEX.ws.1.0"


def test_every_line_of_a_recording_of_bitmex_is_stored(lake, stored, market_data):
    file = market_data(FILE)
    report = import_streams(lake, "recordings", file, source="bitmex")
    assert not report.errors and not report.total.quarantined
    wanted: Counter[str] = Counter()
    for message in read_recording(file):
        body = json.loads(message.data) if message.direction is Direction.RECEIVED else {}
        name = {"trade": "trades", "quote": "quotes", "orderBookL2": "book_updates"}.get(body.get("table", ""))
        if name and (body["action"] != "partial" or name == "quotes"):
            wanted[name] += len(body["data"])
        elif name == "book_updates":
            wanted["book_snapshots"] += len(body["data"])
    for table, rows in wanted.items():
        assert stored(table).height == rows > 0, table
    assert "BTC-USD-PERP" in set(stored("quotes")["symbol"])
    assert lake.stream_coverage("bitmex").is_empty()
    book = lake.book(
        "BTC-USD-PERP", stored("book_updates").filter(symbol="BTC-USD-PERP")["receive_time"].max(), across_holes=True
    )
    best = book.filter(level=1)["price"].to_list()
    assert best[0] < best[1]
    assert import_streams(lake, "recordings", file, source="bitmex").total.stored == 0


BOOK = Subscription(StreamDataset.BOOK_UPDATES, "BTC-USD-PERP", "XBTUSD")


def message(action: str, *levels: dict[str, object]) -> bytes:
    data = [{"symbol": "XBTUSD"} | level for level in levels]
    return json.dumps({"table": "orderBookL2", "action": action, "data": data}).encode()


def test_levels_are_named_by_numbers_and_have_the_price_that_was_told():
    decoder, rows = RecordedBitmex().decoder(Connection("x", "wss://recorded", (BOOK,))), MessageRows()
    early = message("update", {"id": 1, "side": "Buy", "size": 5})
    whole = message(
        "partial",
        {"id": 1, "side": "Buy", "size": 7, "price": 100.5},
        {"id": 2, "side": "Sell", "size": 3, "price": 101},
    )
    changes = [
        message("update", {"id": 1, "side": "Buy", "size": 9}),
        message("insert", {"id": 3, "side": "Sell", "size": 4, "price": 100.75}),
        message("delete", {"id": 2, "side": "Sell"}),
        message("update", {"id": 2, "side": "Sell", "size": 1}),
    ]
    for number, data in enumerate([early, whole, *changes]):
        decoder.decode(data, number, rows)
    assert [row[3:5] for row in rows.snapshots] == [([("100.5", "7")], [("101", "3")])]
    assert [row[3:5] for row in rows.updates] == [([("100.5", "9")], []), ([], [("100.75", "4")]), ([], [("101", "0")])]
    # A change of a level that nobody told is not guessed.
    assert rows.unreadable == 1


@pytest.mark.parametrize("name", ["BITSTAMP.ws.1.0", "DERIBIT.ws.1.0"])
def test_recordings_of_others_are_refused_with_the_venues_that_are_read(lake, market_data, name):

    with pytest.raises(FormatRefused, match="Binance, BitMEX, Coinbase, Kraken"):
        import_streams(lake, "recordings", market_data(f"order-book/cryptofeed/{name}"), source="other")
