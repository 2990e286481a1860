"""Rows of a grid in the order of any column: the same as sorting everything, in every window, up and down, with holes last."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import polars as pl
import pytest

from gb_pipeline.api.page import sorted_rows
from gb_pipeline.api.page.frames import to_json
from gb_pipeline.api.page.rows import COLUMNS
from gb_pipeline.api.page.session_index import SessionIndexes
from gb_pipeline.api.page.sorted_rows import SortedRows
from gb_pipeline.api.page.sorting import Sort, sort_rows
from gb_pipeline.errors import ReadError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import minutes

MINUTE = Resolution.MINUTE


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Iterator[Lake]:
    """Two series of which one counts trades, with equal prices."""
    lake = Lake.open(tmp_path_factory.mktemp("sorting") / "lake", create=True)
    counted = minutes("2024-01-02", 400, symbol="BTC-USD").with_columns(
        trade_count=pl.int_range(pl.len(), dtype=pl.Int64) % 13, close=pl.lit("100") + (pl.int_range(pl.len()) % 3).cast(pl.String)
    )  # fmt: skip
    prices = counted.with_columns(high=pl.lit("1100"), low=pl.lit("10"))
    lake.put(prices, source="coinbase", resolution="1m")
    lake.put(minutes("2024-01-02", 300, symbol="ETH-USD"), source="coinbase", resolution="1m")
    yield lake
    lake.close()


@pytest.fixture(autouse=True)
def pieces(monkeypatch) -> None:
    """Pieces that end inside of a series."""
    monkeypatch.setattr(sorted_rows, "_PIECE", 150)


@pytest.mark.parametrize("descending", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("column", COLUMNS)
def test_any_window_of_any_order_is_that_of_all_bars_sorted(small, column, descending):
    everything = small.bars(None, MINUTE, source="coinbase", columns=COLUMNS)
    expected = everything.sort(column, descending=descending, nulls_last=True)
    order = SortedRows(small, SessionIndexes(small), most=1000)
    found, total = order.window(Sort(column, descending), "coinbase", None, MINUTE, 0, 1000)

    assert total == everything.height == 700
    assert found[column].to_list() == expected[column].to_list()
    assert found.sort("symbol", "timestamp").equals(everything.cast(found.schema))
    for offset, limit in ((0, 7), (149, 160), (690, 50), (700, 5)):
        window, _ = order.window(Sort(column, descending), "coinbase", None, MINUTE, offset, limit)
        assert window.equals(found.slice(offset, limit)), (offset, limit)


def test_more_bars_than_can_be_sorted_are_refused_and_leave_no_file(small):
    files = {path for path in small.store.storage.state.rglob("*") if path.is_file()}
    with pytest.raises(ReadError, match="700 bars are too many to be sorted: at most 699") as refused:
        SortedRows(small, SessionIndexes(small), most=699).window(Sort("close"), "coinbase", None, MINUTE, 0, 5)
    SortedRows(small, SessionIndexes(small), most=700).window(Sort("close"), "coinbase", None, MINUTE, 0, 5)

    assert "one series" in refused.value.fix
    assert {path for path in small.store.storage.state.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("path", "column"),
    [("series", "record_count"), ("gaps", "missing"), ("restatements", "new_close"), ("quarantine", "reasons"),
     ("actions", "amount"), ("strategies", "runs"), ("rows?source=coinbase&resolution=1m", "close")],
)  # fmt: skip
def test_every_grid_is_sorted_by_its_columns(client: httpx.Client, path, column):
    def ask(sort: str) -> list[object]:
        answer = client.get(
            f"/v1/page/{path}", params={**httpx.QueryParams(path.partition("?")[2]), "sort": sort, "limit": 1000}
        )
        assert answer.status_code == 200, answer.text
        place = [one["name"] for one in answer.json()["columns"]].index(column)
        return [row[place] for row in answer.json()["rows"] if row[place] is not None]

    def as_number(value: object) -> object:
        return float(value) if column in {"new_close", "amount", "close"} else value  # type: ignore[arg-type]

    up, down = [list(map(as_number, ask(sort))) for sort in (column, f"-{column}")]
    assert up == sorted(up) and down == sorted(down, reverse=True) and up  # type: ignore[type-var]


@pytest.mark.parametrize("path", ["series", "gaps", "strategies", "rows?source=coinbase&resolution=1m"])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(client: httpx.Client, path):
    answer = client.get(f"/v1/page/{path}", params={**httpx.QueryParams(path.partition("?")[2]), "sort": "-drop table"})

    assert answer.status_code == 400 and "drop table" in answer.json()["detail"]
    assert "sort by" in answer.json()["fix"]


def test_what_has_no_value_comes_last_and_equal_rows_keep_their_order():
    frame = pl.DataFrame({"a": [2, None, 1, 2], "b": [1, 2, 3, 4], "l": [["z"], ["a", "b"], None, ["a"]]})

    assert sort_rows(frame, Sort("a"))["b"].to_list() == [3, 1, 4, 2]
    assert sort_rows(frame, Sort("a", descending=True))["b"].to_list() == [1, 4, 3, 2]
    assert sort_rows(frame, Sort.parse("l"))["b"].to_list() == [4, 2, 1, 3]
    assert sort_rows(frame, Sort.parse(""))["b"].to_list() == [1, 2, 3, 4]
    unknown = pl.DataFrame({"a": [1.5, float("nan"), None, float("-inf"), 2.5], "b": [1, 2, 3, 4, 5]})
    assert sort_rows(unknown, Sort("a", descending=True))["b"].to_list() == [5, 1, 4, 2, 3]
    assert sort_rows(unknown, Sort("a"))["b"].to_list() == [4, 1, 5, 2, 3]
    assert [column["sorts"] for column in to_json(frame, unsorted=("l",))["columns"]] == [True, True, False]


def test_bars_that_are_written_later_are_among_those_that_are_sorted(small):
    order = SortedRows(small, SessionIndexes(small), most=1000)
    before, _ = order.window(Sort("symbol", descending=True), "coinbase", None, MINUTE, 0, 1)
    small.put(minutes("2024-01-02", 10, symbol="XRP-USD"), source="coinbase", resolution="1m")
    after, total = order.window(Sort("symbol", descending=True), "coinbase", None, MINUTE, 0, 1)

    assert (before["symbol"][0], after["symbol"][0], total) == ("ETH-USD", "XRP-USD", 710)
