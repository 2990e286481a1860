"""A book is what its messages say, exactly; one of many moments at once is that of message by message."""

from __future__ import annotations

import zlib
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.market.book_states import book_states
from gb_pipeline.market.order_book import Level, OrderBook

_PRICES = st.decimals("0.0001", "99", places=4, allow_nan=False).map(str) | st.sampled_from(
    ["1", "1.0", "1.00", "10", "9.99", "0.1", "0.10", "123456789012345678901234567890.5", "5e-3", "1E+2"]
)
_SIZES = st.sampled_from(["0", "0.00000000", "0.0", "1", "2.50", "0.00000001", "10"])
_LEVELS = st.lists(st.tuples(_PRICES, _SIZES), max_size=8)


def expected(messages: list[tuple[list[Level], list[Level]]], depth: int | None) -> tuple[list[Level], list[Level]]:
    """The plainest book that there is."""
    sides: tuple[dict[Decimal, Level], dict[Decimal, Level]] = ({}, {})
    for message in messages:
        for place, levels in enumerate(message):
            for level in levels:
                if Decimal(level[1]):
                    sides[place][Decimal(level[0])] = level
                else:
                    sides[place].pop(Decimal(level[0]), None)
            best = sorted(sides[place], reverse=place == 0)
            for price in best[depth:] if depth is not None else ():
                del sides[place][price]
    bids, asks = ([side[price] for price in sorted(side, reverse=not place)] for place, side in enumerate(sides))
    return bids, asks


@given(st.lists(st.tuples(_LEVELS, _LEVELS), max_size=8), st.none() | st.integers(1, 4))
def test_a_book_is_what_its_messages_say(messages: list[tuple[list[Level], list[Level]]], depth: int | None) -> None:
    book = OrderBook(depth)
    for number, (bids, asks) in enumerate(messages):
        if number == 0:
            book.lay(bids, asks)
        else:
            book.apply(bids, asks)
        # Asked for in between, so that what is kept of the answer is put to the test.
        book.checksum()
    bids, asks = expected(messages, depth)
    assert (book.bids(), book.asks()) == (bids, asks)
    assert (book.best_bid, book.best_ask) == (bids[0] if bids else None, asks[0] if asks else None)
    assert (book.bids(2), book.asks(0), len(book)) == (bids[:2], [], len(bids) + len(asks))
    assert book.crossed == bool(bids and asks and Decimal(bids[0][0]) >= Decimal(asks[0][0]))
    text = "".join(
        price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
        for side in (asks, bids)
        for price, size in side[:10]
    )
    assert book.checksum() == zlib.crc32(text.encode())


def test_the_checksum_of_krakens_own_example() -> None:
    asks = [
        "0.05005",
        "0.05010",
        "0.05015",
        "0.05020",
        "0.05025",
        "0.05030",
        "0.05035",
        "0.05040",
        "0.05045",
        "0.05050",
    ]
    bids = [
        "0.05000",
        "0.04995",
        "0.04990",
        "0.04980",
        "0.04975",
        "0.04970",
        "0.04965",
        "0.04960",
        "0.04955",
        "0.04950",
    ]
    book = OrderBook()
    book.lay([(price, "0.00000500") for price in bids], [(price, "0.00000500") for price in asks])
    # https://docs.kraken.com/api/docs/guides/spot-ws-book-v1
    assert book.checksum() == 974947235


@pytest.mark.parametrize("price", ["", "x", "1,5", "1_0", " 1", "NaN", "Infinity", "٣"])
def test_what_is_no_price_is_refused(price: str) -> None:
    with pytest.raises(ValueError, match="is no price"):
        OrderBook().lay([(price, "1")], [])


def to_frame(messages: list[tuple[int, list[Level], list[Level]]]) -> pl.DataFrame:
    rows = [
        (time, ordinal, side, Decimal(price), Decimal(size))
        for time, bids, asks in messages
        for ordinal, (side, (price, size)) in enumerate(
            [("bid", level) for level in bids] + [("ask", level) for level in asks]
        )
    ]
    number = pl.Decimal(38, 18)
    schema = {"receive_time": pl.Int64, "ordinal": pl.Int32, "side": pl.String, "price": number, "size": number}
    return pl.DataFrame(rows, schema=schema, orient="row")


_PLAIN = st.lists(
    st.tuples(st.sampled_from(["1", "2", "2.5", "3", "3.25", "4"]), st.sampled_from(["0", "1", "7"])), max_size=5
)
_MESSAGES = st.lists(st.tuples(st.booleans(), _PLAIN, _PLAIN), max_size=12)


@given(_MESSAGES, st.lists(st.integers(-1, 30), max_size=6), st.none() | st.integers(1, 3))
def test_books_of_many_moments_are_those_of_message_by_message(
    messages: list[tuple[bool, list[Level], list[Level]]], moments: list[int], depth: int | None
) -> None:
    whole = [(2 * at, bids, asks) for at, (is_whole, bids, asks) in enumerate(messages) if is_whole]
    # A snapshot of nothing has no rows, so that nobody can know of it.
    whole = [message for message in whole if message[1] or message[2]]
    changes = [(2 * at, bids, asks) for at, (is_whole, bids, asks) in enumerate(messages) if not is_whole]
    states = book_states(to_frame(whole), to_frame(changes), moments, depth=depth)
    for moment in set(moments):
        book, begun = OrderBook(), False
        for time, bids, asks in sorted(whole + changes, key=lambda message: message[0]):
            if time > moment:
                break
            if (time, bids, asks) in whole:
                book.lay(bids, asks)
                begun = True
            elif begun:
                book.apply(bids, asks)
        found = states.filter(pl.col("moment") == moment)
        for side, levels in (("bid", book.bids(depth)), ("ask", book.asks(depth))):
            wanted = [(place, Decimal(price), Decimal(size)) for place, (price, size) in enumerate(levels, 1) if begun]
            assert found.filter(pl.col("side") == side).select("level", "price", "size").rows() == wanted
    keys = states.select("moment", pl.col("side") == "ask", "level")
    assert keys.equals(keys.sort("moment", "side", "level"))


def test_a_book_of_more_prices_than_are_remembered_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gb_pipeline.market.order_book._MOST_KNOWN", 7)
    bids = [(f"{number}.{number % 100:02}", "1") for number in range(300)]
    book = OrderBook()
    book.lay(bids, [("1000.123", "2")])
    book.apply([("299.9999", "3"), ("5.05", "0")], [])
    expected = {**{price: size for price, size in bids if price != "5.05"}, "299.9999": "3"}
    assert dict(book.bids()) == expected
    assert book.best_bid == ("299.9999", "3")
