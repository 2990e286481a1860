"""Real recordings, from messages to what a reader sees: nothing is changed, and a row takes few bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.collectors.columns import Columns
from gb_pipeline.market.book_states import book_states
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline_tests.reading.recorded_streams import commit_columns, decode_futures

SYMBOL = "BTC-USDT-PERP"


@pytest.fixture(scope="module")
def futures(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Lake, Columns]:
    market_data: Callable[[str], Path] = request.getfixturevalue("market_data")
    lake, columns = Lake.open(tmp_path_factory.mktemp("futures"), create=True), decode_futures(market_data)
    commit_columns(lake.store, columns, StreamDataset.BOOK_UPDATES)
    return lake, columns


def test_every_row_of_a_recording_is_read_as_it_was_heard(futures: tuple[Lake, Columns]) -> None:
    lake, columns = futures
    reads = {
        "trades": lake.trades,
        "quotes": lake.quotes,
        "book_updates": lake.l2,
        "book_snapshots": lake.book_snapshots,
    }
    for table, read in reads.items():
        heard = columns.tables[table].drop("timestamp")
        found = read(SYMBOL, include_unsettled=True)
        assert found.height == heard.height
        same = ["receive_time", "ordinal"]
        assert found.select(heard.columns).sort(same).equals(heard.sort(same))
    # This recording's clock is behind the exchange's, and rows are in the order of the exchange.
    assert lake.trades(SYMBOL)["timestamp"].is_sorted()


def test_trades_take_at_most_12_bytes_and_levels_at_most_8(futures: tuple[Lake, Columns]) -> None:
    stored = {row["table"]: row["bytes"] / row["rows"] for row in futures[0].stream_data().iter_rows(named=True)}
    assert stored["trades"] <= 12
    assert stored["book_updates"] <= 8


def test_books_of_the_lake_are_those_that_are_rebuilt_at_once_and_never_cross(futures: tuple[Lake, Columns]) -> None:
    lake, _ = futures
    updates = lake.l2(SYMBOL)
    moments = updates["receive_time"].gather_every(updates.height // 5).to_list()[1:]
    states = book_states(lake.book_snapshots(SYMBOL), updates, moments, depth=20)
    for moment in moments:
        at = updates.filter(pl.col("receive_time") <= moment)["exchange_time"].max()
        book = lake.book(SYMBOL, at, depth=20)  # type: ignore[arg-type]
        assert (
            book.select("side", "level", "price", "size").rows() == states.filter(moment=moment).drop("moment").rows()
        )
        assert book.filter(side="bid")["price"].max() < book.filter(side="ask")["price"].min()  # type: ignore[operator]
