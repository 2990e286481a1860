"""Several series in one answer are what each is in an answer of its own, in whatever order their files were written."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import numbers
from gb_pipeline_tests.bars import day, minutes

SYMBOLS = ["BTC-USD", "ETH-USD", "SOL-USD"]
DAYS = ["2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02"]
COLUMNS = ["timestamp", "symbol", "source", "open", "volume", "trade_count", "known_at"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    written=st.lists(
        st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(DAYS), st.integers(1, 40)), min_size=3, max_size=9
    ),
    edges=st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 3), st.integers(0, 50)),
    as_float=st.booleans(),
)
def test_series_that_are_read_together_are_what_each_is_alone(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    written: list[tuple[str, str, int]],
    edges: tuple[int, int, int, int],
    as_float: bool,
) -> None:
    monkeypatch.setattr(numbers, "_LARGE", 0)
    store = LakeStore.at(tmp_path_factory.mktemp("lake"))
    for symbol, text, count in written:
        bars = minutes(text, count).with_columns(symbol=pl.lit(symbol))
        store.write_bars("sim", symbol, Resolution.MINUTE, day(text), bars)
    lake = Lake.open(store.storage.root, cache=False)
    stored = sorted({symbol for symbol, _, _ in written})
    start, end = sorted(f"{DAYS[place]}T00:{minute:02}Z" for place, minute in (edges[:2], edges[2:]))
    ask = {"source": "sim", "columns": COLUMNS, "as_float": as_float}

    alone = [lake.bars(symbol, "1m", **ask) for symbol in stored]
    whole = pl.concat(alone)
    assert lake.bars(stored, "1m", **ask).equals(whole)
    within = whole.filter(pl.col("timestamp").is_between(pl.lit(start).str.to_datetime(time_zone="UTC"),
                                                         pl.lit(end).str.to_datetime(time_zone="UTC"), closed="left"))  # fmt: skip
    if within.height:
        assert lake.bars(stored, "1m", start, end, **ask).equals(within)
    last = pl.concat([rows.tail(1) for rows in alone])
    assert lake.latest(stored, "1m", **ask).equals(last)
    assert lake.latest(None, "1m", **ask).equals(last)
