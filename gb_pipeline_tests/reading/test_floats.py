"""Decimals as floats: always the nearest float."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import Precision
from gb_pipeline.reading.floats import as_floats, to_floats


def decimals(precision: Precision, digits: int) -> st.SearchStrategy[Decimal]:
    scale = precision.digits[1]
    return st.integers(-(10**digits) + 1, 10**digits - 1).map(lambda units: Decimal(units).scaleb(-scale))


def read(values: list[Decimal | None], precision: Precision, cuts: int = 1) -> list[float | None]:
    """Lazily and at once, from memory in one piece and in several; they must agree."""
    stamps = pl.Series(range(len(values)), dtype=pl.Datetime("us", "UTC"))
    texts = pl.Series([None if value is None else f"{value:f}" for value in values], dtype=pl.String)
    frame = pl.DataFrame({"timestamp": stamps, "close": texts.cast(precision.decimal)})
    exact = to_floats(frame.lazy(), frame.schema).collect()
    step = len(values) // cuts + 1
    pieces = [frame.slice(begin, step) for begin in range(0, len(values), step)] or [frame]
    for same in (frame, pl.concat(pieces, rechunk=False), pl.concat([frame, frame]).slice(len(values))):
        assert as_floats(same).equals(exact)
    return exact["close"].to_list()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(decimals(Precision.STANDARD, 18) | decimals(Precision.STANDARD, 15) | st.none(), max_size=50),
    st.integers(1, 4),
)
def test_a_standard_decimal_becomes_the_nearest_float(values, cuts):
    assert read(values, Precision.STANDARD, cuts) == [None if value is None else float(value) for value in values]


@settings(deadline=None, max_examples=100)
@given(st.lists(decimals(Precision.WIDE, 37) | decimals(Precision.WIDE, 20) | st.none(), max_size=50))
def test_a_wide_decimal_becomes_the_nearest_float(values):
    assert read(values, Precision.WIDE) == [None if value is None else float(value) for value in values]


def test_ordinary_prices_are_exact():
    prices = [Decimal(cents).scaleb(-2) for cents in range(100_000)]
    assert read(prices, Precision.STANDARD, 3) == [float(price) for price in prices]


@pytest.mark.parametrize("value", ["90071992.54740993", "-90071992.54740993", "9999999999.99999999"])
def test_a_number_of_more_than_53_bits_is_noticed(value):
    assert read([Decimal("1"), Decimal(value)], Precision.STANDARD) == [1.0, float(value)]


def test_a_lake_of_huge_volumes_reads_the_nearest_floats(lake, received):
    from gb_pipeline import Window

    volumes = ["9007199254.74099301", "1234567890.12345678", "0.00000001"]
    frame = received("2024-01-02", ["1", "2", "3"]).with_columns(volume=pl.Series(volumes))
    lake.write_bars("sim", "PEPE-USD", "1m", Window.of("2024-01-02", "2024-01-03"), frame)
    assert lake.bars("PEPE-USD", "1m", as_float=True)["volume"].to_list() == [float(text) for text in volumes]
