"""Bars as research uses them: a column per symbol, returns, pandas."""

from __future__ import annotations

import math
import subprocess
import sys

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import BarRules, ConfigError, Lake, Resolution
from gb_pipeline_tests.bars import at


@pytest.fixture
def prices(lake: Lake, write) -> Lake:
    write("sim", "B", "2024-01-02", ["10", "11", "12.1"], resolution="1d", days=3)
    write("sim", "A", "2024-01-03", ["5", "4"], resolution="1d", days=2)
    write("sim", "A", "2024-01-06", ["2"], resolution="1d")
    return lake


DAYS = [at(f"2024-01-0{day}") for day in (2, 3, 4, 6)]


def test_wide_has_a_row_per_timestamp_and_a_column_per_symbol_in_the_order_named(prices):
    table = prices.wide("close", ["B", "A"], "1d")
    stamps = pl.Series(DAYS, dtype=pl.Datetime("us", "UTC"))
    expected = pl.DataFrame({"timestamp": stamps, "B": [10.0, 11.0, 12.1, None], "A": [None, 5.0, 4.0, 2.0]})
    assert_frame_equal(table, expected)
    assert prices.wide("close", None, "1d").columns == ["timestamp", "A", "B"]
    assert prices.wide("volume", "B", "1d", as_float=False)["B"].dtype == pl.Decimal(18, 8)
    assert prices.wide("close", "B", "1d", "2024-01-03", "2024-01-04").height == 1


def test_a_symbol_without_a_bar_in_the_range_keeps_its_column(prices):
    table = prices.wide("close", ["A", "B"], "1d", "2024-01-05")
    assert table.columns == ["timestamp", "A", "B"]
    assert table["B"].to_list() == [None]


def test_wide_takes_whatever_bars_takes(prices):
    assert prices.wide("close", "B", "1d", resample="1w")["B"].to_list() == [12.1]
    with pytest.raises(ConfigError, match="columns"):
        prices.wide("close", "B", "1d", columns=["open"])
    with pytest.raises(ConfigError, match="not a number") as caught:
        prices.wide("symbol", "B", "1d")
    assert "close" in caught.value.fix


def test_returns_go_from_the_bar_before_of_the_same_symbol_to_this_one(prices):
    simple = prices.returns(["A", "B"], "1d")
    assert simple["timestamp"].to_list() == DAYS
    assert simple["B"].to_list() == [None, pytest.approx(0.1), pytest.approx(0.1), None]
    # Over the days without a bar of A as well.
    assert simple["A"].to_list() == [None, None, pytest.approx(-0.2), pytest.approx(-0.5)]
    log = prices.returns(["A", "B"], "1d", kind="log")
    assert log["A"].to_list() == [None, None, pytest.approx(math.log(0.8)), pytest.approx(math.log(0.5))]


def test_no_return_is_made_of_a_price_that_is_not_above_zero(lake, write):
    rules = BarRules(resolution=Resolution.DAY, allow_negative_prices=True)
    write("sim", "CL", "2024-01-02", ["10", "-5", "20"], resolution="1d", days=3, rules=rules)
    assert lake.returns("CL", "1d")["CL"].to_list() == [None, None, None]


def test_what_is_no_return_is_refused(prices):
    for options in ({"kind": "percent"}, {"column": "volume"}, {"as_float": False}):
        with pytest.raises(ConfigError):
            prices.returns("B", "1d", **options)


def test_pandas_has_the_opens_as_its_index_and_floats(prices):
    frame = prices.pandas(["B", "A"], "1d")
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert (frame.index.name, str(frame.index.tz)) == ("timestamp", "UTC")
    assert frame.loc["2024-01-03", "close"].to_list() == [5.0, 11.0]
    assert {str(frame[name].dtype) for name in ("open", "close", "volume")} == {"float64"}
    assert prices.pandas("B", "1d", columns=["close"]).columns.to_list() == ["close"]
    assert prices.pandas("B", "1d", columns="close")["close"].to_list() == [10.0, 11.0, 12.1]


def test_reading_does_not_import_pandas(prices):
    code = "import sys; from gb_pipeline import Lake; Lake.open(sys.argv[1]).bars('B', '1d'); print('pandas' in sys.modules)"
    command = [sys.executable, "-c", code, str(prices.store.storage.root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
