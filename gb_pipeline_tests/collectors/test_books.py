"""Books that are kept now and then are the books that the venue's updates make, whatever broke in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.collectors import MessageRows, Signal, Subscription
from gb_pipeline.collectors.books import PERIODIC, FollowedBooks
from gb_pipeline.market.order_book import OrderBook
from gb_pipeline.market.tick_schema import ConnectionEventKind, StreamDataset

BOOK = StreamDataset.BOOK_UPDATES
SYMBOLS = ["BTC-USD", "ETH-USD"]
Levels = list[tuple[str, str]]
prices = st.sampled_from(["100", "100.5", "101", "99.75", "102", "98"])
sides = st.lists(st.tuples(prices, st.sampled_from(["1", "2.50", "0", "0.00"])), max_size=4)
# A whole book has no level of nothing.
whole = st.lists(st.tuples(prices, st.sampled_from(["1", "2.50", "3"])), max_size=4, unique_by=lambda level: level[0])
acts = st.one_of(
    st.tuples(st.just("snapshot"), st.sampled_from(SYMBOLS), whole, whole),
    st.tuples(st.just("update"), st.sampled_from(SYMBOLS), sides, sides),
    st.tuples(st.just("update"), st.sampled_from(SYMBOLS), sides, sides),
    st.tuples(st.just("broken"), st.sampled_from(SYMBOLS), st.just([]), st.just([])),
    st.tuples(st.sampled_from(["disconnected", "clock_set"]), st.just(""), st.just([]), st.just([])),
    st.tuples(st.just("taken"), st.just(""), st.just([]), st.just([])),
)


def followed(depth: int | None, every: int | None = 1) -> FollowedBooks:
    subscriptions = [Subscription(BOOK, symbol, symbol, depth) for symbol in SYMBOLS]
    return FollowedBooks(subscriptions, every, cut=depth is not None)


@pytest.mark.parametrize("depth", [None, 2])
@given(st.lists(acts, max_size=25))
def test_a_book_that_is_kept_is_the_one_that_all_updates_make(
    depth: int | None, said: list[tuple[str, str, Levels, Levels]]
) -> None:
    books, rows = followed(depth), MessageRows()
    truth: dict[str, OrderBook] = {}
    told: dict[str, int] = {}
    kept_at: dict[str, int] = {}
    for now, (kind, symbol, bids, asks) in enumerate([*said, ("taken", "", [], [])], 1):
        if kind == "snapshot":
            truth[symbol], told[symbol], kept_at[symbol] = OrderBook(depth), now, now
            truth[symbol].lay(bids, asks)
            rows.snapshots.append((symbol, None, now, bids, asks, now, "subscribed"))
        elif kind == "update":
            rows.updates.append((symbol, None, now, bids, asks, None, now, None))
            if symbol in truth:
                truth[symbol].apply(bids, asks)
                told[symbol] = now
        elif kind == "broken":
            rows.signals.append(Signal(ConnectionEventKind.SEQUENCE, now, BOOK, symbol, resubscribe=True))
            truth.pop(symbol, None)
        elif kind != "taken":
            rows.signals.append(Signal(ConnectionEventKind(kind), now))
            truth.clear()
        else:
            books.follow(rows)
            kept = {row[0]: row for row in rows.snapshots if row[6] == PERIODIC}
            # One that nothing has changed since is stored already.
            assert set(kept) == {name for name in truth if told[name] > kept_at[name]}
            kept_at |= {name: told[name] for name in kept}
            for name, (_, _, receive_time, kept_bids, kept_asks, sequence, _) in kept.items():
                assert (receive_time, sequence) == (told[name], told[name])
                assert (kept_bids, kept_asks) == (truth[name].bids(), truth[name].asks())
            rows = MessageRows()


@given(st.lists(acts, max_size=25), st.integers(1, 10))
def test_books_are_kept_no_more_often_than_is_set(said: list[tuple[str, str, Levels, Levels]], every: int) -> None:
    books = followed(None, every)
    times: dict[str, list[int]] = {name: [] for name in SYMBOLS}
    for now, (kind, symbol, bids, asks) in enumerate(said, 1):
        rows = MessageRows()
        if kind == "snapshot":
            rows.snapshots.append((symbol, None, now, bids, asks, now, "subscribed"))
            times[symbol].append(now)
        elif kind == "update":
            rows.updates.append((symbol, None, now, bids, asks, None, now, None))
        books.follow(rows)
        for row in rows.snapshots:
            if row[6] == PERIODIC:
                assert now - times[row[0]][-1] >= every
                times[row[0]].append(now)


def test_books_are_not_kept_where_nobody_wants_them() -> None:
    rows = MessageRows()
    rows.snapshots.append(("BTC-USD", None, 1, [("1", "1")], [], 1, "subscribed"))
    rows.updates.append(("BTC-USD", None, 10**18, [("2", "1")], [], None, 2, None))
    followed(None, every=None).follow(rows)
    assert len(rows.snapshots) == 1
