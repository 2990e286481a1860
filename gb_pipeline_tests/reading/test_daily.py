"""One symbol of files that hold many: the same as all of them, filtered, now and as of every moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake, NoDataInRange, UnknownSeries
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import PRICES
from gb_pipeline.storage import parquet
from gb_pipeline_tests.bars import SetClock

START = datetime(2023, 12, 20, tzinfo=UTC)
CODES = ("AAA", "AAB", "B", "ZZ")
COLUMNS = ["source", "symbol", "timestamp", "open", "close", "volume", "vwap", "known_at", "superseded_at"]
WRITE = st.tuples(
    st.lists(st.sampled_from(CODES), min_size=1, unique=True),
    st.integers(0, 20),
    st.integers(1, 15),
    st.integers(1, 10**11),
)


def write(store: LakeStore, codes: list[str], first: int, days: int, unit: int) -> None:
    stamps = [START + timedelta(days=first + number) for number in range(days)]
    frame = pl.DataFrame({"symbol": code, "timestamp": stamp} for code in codes for stamp in stamps)
    price = pl.Series([f"{unit + number % 7}.25" for number in range(frame.height)])
    frame = frame.with_columns(pl.lit(price).alias(name) for name in (*PRICES, "volume"))
    store.write_bars("mine", codes, "1d", (stamps[0], stamps[-1] + timedelta(days=1)), frame)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(WRITE, min_size=1, max_size=4),
    edges=st.tuples(st.integers(0, 40), st.integers(1, 40)),
    code=st.sampled_from(CODES),
)
def test_one_symbol_is_what_it_is_among_all(tmp_path_factory, writes, edges, code):
    root: Path = tmp_path_factory.mktemp("lake")
    clock = SetClock(datetime(2024, 6, 1, tzinfo=UTC))
    moments = [None]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet, "_ROWS_OF_SYMBOLS", 4)
        store = LakeStore.at(root, clock=clock)
        for number, arguments in enumerate(writes):
            clock.now = datetime(2024, 6, 1 + number, tzinfo=UTC)
            write(store, *arguments)
            moments.append(clock.now + timedelta(hours=1))
    start, end = START + timedelta(days=min(edges)), START + timedelta(days=min(edges) + max(edges))
    lake = Lake(store)

    def read(symbols, **options):
        try:
            return lake.bars(symbols, "1d", start, end, columns=COLUMNS, **options)
        except (NoDataInRange, UnknownSeries):
            return None

    for moment in moments:
        for source in ("mine", None):
            for as_float in (False, True):
                options = {"as_of": moment, "source": source, "as_float": as_float}
                everything = read(None, **options)
                expected = None if everything is None else everything.filter(pl.col("symbol") == code)
                one = read(code, **options)
                assert (expected is None or expected.is_empty()) if one is None else one.equals(expected)
                if one is not None and not as_float:
                    lazily = lake.scan_bars(
                        code, "1d", start, end, columns=COLUMNS, as_of=moment, source=source
                    ).collect()
                    assert lazily.equals(one)
