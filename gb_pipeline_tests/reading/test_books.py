"""Order books at a moment: laid from the last whole one and what follows it, proven by checksums, never across a hole."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import GapInWindow, LakeError, NoDataInRange, ReadError
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.checked_books import CheckedBook
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline.storage.append import append
from gb_pipeline_tests.reading.recorded_streams import KRAKEN_SYMBOLS, commit_columns, decode_recording
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_rows, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
UPDATES, SNAPSHOTS = stream_dataset("book_updates"), stream_dataset("book_snapshots")
BOOKS = StreamDataset.BOOK_UPDATES


def level(at: int, side: str, price: int, size: int, ordinal: int = 0, **more: Any) -> dict[str, Any]:
    row = {
        "source": "venue", "symbol": "BTC-USD", "at": at, "exchange_time": at, "receive_time": at + 1_000, "side": side,
        "price": Decimal(price), "size": Decimal(size), "ordinal": ordinal, "collector": "one", "reason": "subscribed",
    }  # fmt: skip
    return row | more


def cover(
    lake: Lake, start: int, end: int, *, collector: str = "one", kind: str = "covered", reason: str | None = None
) -> None:
    commit_interval(
        lake.store, start, end, kind=kind, reason=reason, source="venue", dataset="book_updates", collector=collector
    )


@pytest.fixture(scope="module")
def kraken(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Lake, pl.DataFrame]:
    market_data: Callable[[str], Path] = request.getfixturevalue("market_data")
    lake = Lake.open(tmp_path_factory.mktemp("books"), create=True)
    path = market_data("order-book/cryptofeed/KRAKEN.ws.50.0")
    return lake, commit_columns(lake.store, decode_recording(path, "kraken_v1", "kraken", KRAKEN_SYMBOLS, BOOKS), BOOKS)


def test_books_from_the_lake_have_all_4269_checksums_of_the_venue(kraken: tuple[Lake, pl.DataFrame]) -> None:
    lake, spans = kraken
    checked = 0
    for symbol, _, end in spans.iter_rows():
        book = CheckedBook(lake.book_snapshots(symbol), verify=True)
        book.apply(lake.l2(symbol))
        checked += book.checked
        stands = lake.book(symbol, end - 1, verify=True)
        for side, own in (("bid", book.levels().filter(side="bid")), ("ask", book.levels().filter(side="ask"))):
            assert stands.filter(side=side).select("price", "size").rows() == own.select("price", "size").rows()
    assert checked == 4269


def test_a_level_that_is_not_the_venues_is_found_by_its_checksum(
    kraken: tuple[Lake, pl.DataFrame], tmp_path: Path
) -> None:
    lake, spans = kraken
    symbol, _, end = spans.row(0)
    other = Lake.open(tmp_path / "other", create=True)
    for name in ("book_snapshots", "book_updates"):
        rows = lake.sql(f"select * exclude (known_at) from {name} where symbol = '{symbol}'")
        if name == "book_snapshots":
            best = (pl.col("side") == "bid") & (pl.col("price") == rows.filter(side="bid")["price"].max())
            rows = rows.filter(~best)
        dataset = stream_dataset(name)
        append(other.store.tables[name], rows.select(dataset.columns.names), clock=other.store.clock)
    with pytest.raises(LakeError, match=r"checksum \d+ is not that of the levels"):
        other.book(symbol, end - 1, verify=True, across_holes=True)
    assert other.book(symbol, end - 1, across_holes=True).height > 10


def test_a_book_is_the_last_whole_one_and_what_came_since(lake: Lake) -> None:
    commit_rows(lake.store, SNAPSHOTS, [level(NINE, "bid", 99, 1), level(NINE, "ask", 101, 2, 1)])
    commit_rows(
        lake.store,
        UPDATES,
        [
            level(NINE - 5, "bid", 98, 9),
            level(NINE + 10, "bid", 100, 3),
            level(NINE + 10, "bid", 99, 0, 1),
            level(NINE + 20, "ask", 101, 5),
        ],
    )
    cover(lake, NINE - 10, NINE + 30)
    commit_watermark(lake.store, NINE + 30, source="venue", dataset="book_updates")
    book = lake.book("BTC-USD", NINE + 10)
    assert book.rows() == [("bid", 1, Decimal(100), Decimal(3)), ("ask", 1, Decimal(101), Decimal(2))]
    assert lake.book("BTC-USD", NINE + 20, as_float=True)["size"].to_list() == [3.0, 5.0]
    assert lake.book("BTC-USD", NINE + 9, depth=1)["price"].to_list() == [99, 101]
    with pytest.raises(NoDataInRange, match="settled up to"):
        lake.book("BTC-USD", NINE + 30)
    assert lake.book("BTC-USD", NINE + 30, include_unsettled=True).height == 2
    with pytest.raises(GapInWindow):
        lake.book("BTC-USD", NINE - 7)


def test_a_hole_between_the_whole_book_and_the_moment_is_refused_with_its_reason(lake: Lake) -> None:
    commit_rows(lake.store, SNAPSHOTS, [level(NINE, "bid", 99, 1)])
    commit_rows(lake.store, UPDATES, [level(NINE + 2 * SECOND, "bid", 98, 1)])
    cover(lake, NINE, NINE + 10 * SECOND)
    cover(lake, NINE + SECOND, NINE + SECOND + 1, kind="gap", reason="sequence")
    assert lake.book("BTC-USD", NINE + SECOND - 1).height == 1
    with pytest.raises(GapInWindow, match=r"sequence(?s:.)*across_holes"):
        lake.book("BTC-USD", NINE + 3 * SECOND)
    assert lake.book("BTC-USD", NINE + 3 * SECOND, across_holes=True).height == 2
    # Another collector that heard everything knows the book.
    commit_rows(lake.store, SNAPSHOTS, [level(NINE - SECOND, "bid", 97, 1, collector="two")])
    cover(lake, NINE - SECOND, NINE + 10 * SECOND, collector="two")
    assert lake.book("BTC-USD", NINE + 3 * SECOND)["price"].to_list() == [97]


def test_a_whole_book_without_the_exchanges_time_misses_no_update(lake: Lake) -> None:
    # It has our time, behind the exchange's of the updates that follow it.
    whole = level(NINE, "bid", 99, 1, exchange_time=None, receive_time=NINE)
    follows = level(NINE - 50_000_000, "bid", 99, 7, receive_time=NINE + 1)
    commit_rows(lake.store, SNAPSHOTS, [whole])
    commit_rows(lake.store, UPDATES, [follows])
    cover(lake, NINE, NINE + SECOND)
    assert lake.book("BTC-USD", NINE + 1)["size"].to_list() == [7]


def test_a_book_is_of_one_symbol(lake: Lake) -> None:
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_rows(lake.store, UPDATES, [level(NINE, "bid", 1, 1, symbol=symbol)])
    with pytest.raises(ReadError, match="not of 2"):
        lake.book(["BTC-USD", "ETH-USD"], NINE)


NUMBERS = count()
CHANGES = st.lists(
    st.tuples(st.sampled_from(["bid", "ask"]), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=25
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES, st.integers(0, 24))
def test_a_book_at_any_moment_is_that_of_one_who_applied_every_change(
    lake: Lake, changes: list[tuple[str, int, int]], stop: int
) -> None:
    number = next(NUMBERS)
    symbol = f"S{number}-USD"
    first = {"symbol": symbol, "collector": f"c{number}"}
    commit_rows(lake.store, SNAPSHOTS, [level(NINE, "bid", 1, 1, **first)])
    rows = [level(NINE + i + 1, side, price, size, **first) for i, (side, price, size) in enumerate(changes)]
    commit_rows(lake.store, UPDATES, rows)
    commit_interval(
        lake.store, NINE, NINE + 100, source="venue", symbol=symbol, dataset="book_updates", collector=f"c{number}"
    )
    book = {("bid", 1): 1}
    for side, price, size in changes[:stop]:
        book[side, price] = size
    expected = {key: size for key, size in book.items() if size}
    found = lake.book(symbol, NINE + stop)
    assert {(side, int(price)): int(size) for side, _, price, size in found.iter_rows()} == expected
    for side, descending in (("bid", True), ("ask", False)):
        assert found.filter(side=side)["price"].is_sorted(descending=descending)
