"""Decimals as floats: always the nearest float."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import Precision
from gb_pipeline.reading.floats import to_floats, to_floats_fast, too_large


def decimals(precision: Precision, digits: int) -> st.SearchStrategy[Decimal]:
    scale = precision.digits[1]
    return st.integers(-(10**digits) + 1, 10**digits - 1).map(lambda units: Decimal(units).scaleb(-scale))


def read(values: list[Decimal | None], precision: Precision) -> tuple[list[float | None], bool]:
    """Both ways; they must agree wherever the fast one says that it is exact."""
    stamps = pl.Series(range(len(values)), dtype=pl.Datetime("us", "UTC"))
    texts = pl.Series([None if value is None else f"{value:f}" for value in values], dtype=pl.String)
    frame = pl.DataFrame({"timestamp": stamps, "close": texts.cast(precision.decimal)}).lazy()
    schema = frame.collect_schema()
    exact, fast = to_floats(frame, schema).collect(), to_floats_fast(frame, schema).collect()
    large = too_large(fast, schema)
    assert large or fast.equals(exact)
    return exact["close"].to_list(), large


@settings(deadline=None, max_examples=200)
@given(st.lists(decimals(Precision.STANDARD, 18) | decimals(Precision.STANDARD, 15) | st.none(), max_size=50))
def test_a_standard_decimal_becomes_the_nearest_float(values):
    assert read(values, Precision.STANDARD)[0] == [None if value is None else float(value) for value in values]


@settings(deadline=None, max_examples=100)
@given(st.lists(decimals(Precision.WIDE, 37) | decimals(Precision.WIDE, 20) | st.none(), max_size=50))
def test_a_wide_decimal_becomes_the_nearest_float(values):
    assert read(values, Precision.WIDE)[0] == [None if value is None else float(value) for value in values]


def test_ordinary_prices_take_the_fast_way_and_are_exact():
    prices = [Decimal(cents).scaleb(-2) for cents in range(100_000)]
    floats, large = read(prices, Precision.STANDARD)
    assert not large
    assert floats == [float(price) for price in prices]


@pytest.mark.parametrize("value", ["90071992.54740993", "-90071992.54740993", "9999999999.99999999"])
def test_a_number_of_more_than_53_bits_is_noticed(value):
    floats, large = read([Decimal("1"), Decimal(value)], Precision.STANDARD)
    assert large
    assert floats[1] == float(value)


def test_a_lake_of_huge_volumes_reads_the_nearest_floats(lake, received):
    from gb_pipeline import Window

    volumes = ["9007199254.74099301", "1234567890.12345678", "0.00000001"]
    frame = received("2024-01-02", ["1", "2", "3"]).with_columns(volume=pl.Series(volumes))
    lake.write_bars("sim", "PEPE-USD", "1m", Window.of("2024-01-02", "2024-01-03"), frame)
    assert lake.bars("PEPE-USD", "1m", as_float=True)["volume"].to_list() == [float(text) for text in volumes]
