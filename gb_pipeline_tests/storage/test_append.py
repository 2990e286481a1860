"""Rows of a file are in the table's order, however they came and however many there are."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.storage.append import sort_rows

ORDER = ["source", "symbol", "timestamp", "receive_time", "ordinal"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(tmp_path_factory.mktemp("lake"), create=True)


SHAPES = st.sampled_from(["as_it_came", "shuffled", "one_late", "ties", "missing"])


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(1, 4), st.integers(0, 9), st.sampled_from([10, 3_000, 9_000]))
def test_rows_are_sorted_as_by_all_keys(lake: Lake, shape: str, symbols: int, seed: int, count: int) -> None:
    index = pl.int_range(count, eager=True).alias("index").to_frame()
    moment = pl.col("index") // (3 if shape == "ties" else 1)
    rows = index.select(
        pl.lit("feed").alias("source"),
        pl.concat_str(pl.lit("S"), symbols - pl.col("index") % symbols).alias("symbol"),
        moment.cast(pl.Datetime("us", "UTC")).alias("timestamp"),
        (moment * 7 % 5 if shape == "ties" else moment).alias("receive_time"),
        (pl.col("index") % 3).cast(pl.Int32).alias("ordinal"),
        "index",
    )
    if shape == "shuffled":
        rows = rows.sample(fraction=1, shuffle=True, seed=seed)
    elif shape == "one_late":
        rows = pl.concat([rows[1:], rows[:1]])
    elif shape == "missing":
        rows = rows.with_columns(pl.when(pl.col("index") % 11 != seed).then("receive_time"))
    table = lake.store.tables["trades"]
    found, wanted = sort_rows(table, rows), rows.sort(ORDER, maintain_order=True)
    assert found.select(ORDER).equals(wanted.select(ORDER))
    assert found["index"].sort().equals(wanted["index"].sort())


@pytest.mark.parametrize("symbol", [None, "A"])
def test_a_partition_without_a_name_is_sorted_too(lake: Lake, symbol: str | None) -> None:
    rows = pl.DataFrame(
        {"source": "feed", "symbol": [symbol, "B"] * 2_000, "receive_time": 0, "ordinal": 0}
    ).with_columns((4_000 - pl.int_range(4_000)).cast(pl.Datetime("us", "UTC")).alias("timestamp"))
    assert sort_rows(lake.store.tables["trades"], rows).equals(rows.sort(ORDER))
