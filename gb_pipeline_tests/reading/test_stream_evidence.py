"""What is known of streams beside their rows: covered stretches, holes and why, masks for features, files by name and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.errors import ConfigError, UnknownSeries
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline_tests.reading.test_streams import trade
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_rows, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")
MINUTE = 60 * SECOND
NUMBERS = count()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=2),
    st.lists(st.none() | st.integers(0, 45), min_size=1, max_size=20),
    st.integers(1, 10),
)
def test_a_window_is_valid_exactly_where_every_nanosecond_of_it_is_covered(
    lake: Lake, covered: list[tuple[int, int]], gaps: list[tuple[int, int]], ends: list[int | None], length: int
) -> None:
    symbol = f"S{next(NUMBERS)}-USD"
    heard = set[int]()
    for start, size in covered:
        commit_interval(lake.store, start, start + size, symbol=symbol)
        heard |= set(range(start, start + size))
    for start, size in gaps:
        commit_interval(lake.store, start, start + size, symbol=symbol, kind="gap", reason="sequence")
        heard -= set(range(start, start + size))
    mask = lake.valid_mask(symbol, pl.Series(ends, dtype=pl.Int64), length)
    expected = [None if end is None else all(at in heard for at in range(end - length, end)) for end in ends]
    assert mask.to_list() == expected
    assert (mask.name, mask.dtype) == ("valid", pl.Boolean)


def test_every_dataset_that_is_named_has_to_be_covered(lake: Lake) -> None:
    commit_interval(lake.store, NINE, NINE + 10 * MINUTE)
    commit_interval(lake.store, NINE, NINE + 5 * MINUTE, dataset="book_updates")
    stamps = pl.Series([datetime(2024, 1, 2, 9, minute, tzinfo=UTC) for minute in (4, 5, 6, 10, 11)])
    assert lake.valid_mask("BTC-USD", stamps, "4m").to_list() == [True, True, True, True, False]
    both = lake.valid_mask("BTC-USD", stamps, timedelta(minutes=4), datasets=["trades", "book_updates"])
    assert both.to_list() == [True, True, False, False, False]
    elsewhere = stamps.dt.convert_time_zone("America/New_York")
    assert lake.valid_mask("BTC-USD", elsewhere, "4m").to_list() == [True, True, True, True, False]
    assert lake.valid_mask("BTC-USD", ["2024-01-02T09:04Z", NINE], "4m").to_list() == [True, False]
    with pytest.raises(ConfigError, match="length of time"):
        lake.valid_mask("BTC-USD", stamps, "soon")
    with pytest.raises(ConfigError, match="no stream is called"):
        lake.valid_mask("BTC-USD", stamps, "4m", datasets="bars")
    with pytest.raises(ConfigError, match="cannot be used"):
        lake.valid_mask("BTC-USD", pl.Series(["x"]), "4m")
    with pytest.raises(UnknownSeries):
        lake.valid_mask("ETH-USD", stamps, "4m")


def test_holes_say_why_and_are_counted_by_million_messages(lake: Lake) -> None:
    commit_interval(lake.store, NINE, NINE + MINUTE, messages=400_000)
    commit_interval(lake.store, NINE + MINUTE, NINE + 2 * MINUTE, kind="gap", reason="disconnect", missing=3)
    commit_interval(lake.store, NINE + 2 * MINUTE, NINE + 4 * MINUTE, messages=600_000)
    commit_watermark(lake.store, NINE + 5 * MINUTE)
    gaps = lake.stream_gaps("kraken")
    assert gaps.select("reason", "missing").rows() == [("disconnect", 3), (None, None)]
    assert gaps["start"].cast(pl.Int64).to_list() == [NINE + MINUTE, NINE + 4 * MINUTE]
    assert gaps["end"].cast(pl.Int64).to_list() == [NINE + 2 * MINUTE, NINE + 5 * MINUTE]
    assert lake.stream_gaps(start="2024-01-02T09:02Z", end="2024-01-02T09:04Z").is_empty()
    covered = lake.stream_coverage("kraken", "BTC-USD", "trades", "2024-01-02T09:00:30Z", "2024-01-02T09:03Z")
    assert covered["start"].cast(pl.Int64).to_list() == [NINE + 30 * SECOND, NINE + 2 * MINUTE]
    assert covered["end"].cast(pl.Int64).to_list() == [NINE + MINUTE, NINE + 3 * MINUTE]
    told = lake.stream_statistics().row(0, named=True)
    assert (told["messages"], told["gaps"], told["holes"], told["missing"]) == (1_000_000, 1, 2, 3)
    assert (told["covered_seconds"], told["hole_seconds"], told["gaps_per_million"]) == (180.0, 120.0, 1.0)


def test_files_are_found_by_name_prefix_and_time_as_soon_as_they_are_committed(lake: Lake) -> None:
    for symbol in ("KXBTC-24JAN", "KXBTC-24FEB", "KXETH-24JAN"):
        commit_trades(lake.store, [NINE, NINE + 1000], symbol=symbol, source="kalshi")
    commit_trades(lake.store, [NINE + 86_400 * SECOND], symbol="KXBTC-24JAN", source="kalshi")
    found = lake.stream_files(prefix="KXBTC", table="trades")
    assert found.select("symbol", "day", "rows").rows() == [
        ("KXBTC-24FEB", "2024-01-02", 2),
        ("KXBTC-24JAN", "2024-01-02", 2),
        ("KXBTC-24JAN", "2024-01-03", 1),
    ]
    root = lake.store.storage.root
    assert all((root / path).stat().st_size == size for path, size in found.select("path", "bytes").iter_rows())
    assert lake.stream_files(symbols="KXBTC-24JAN", start="2024-01-03")["rows"].to_list() == [1]
    assert lake.stream_files("nobody").is_empty()
    assert lake.stream_data().select("symbol", "rows", "files", "days").rows() == [
        ("KXBTC-24FEB", 2, 1, 1),
        ("KXBTC-24JAN", 3, 2, 2),
        ("KXETH-24JAN", 2, 1, 1),
    ]
    with pytest.raises(ConfigError, match="use trades"):
        lake.stream_files(table="trade")


def test_bars_of_a_vendor_are_tied_out_where_no_trade_is_missing(lake: Lake) -> None:
    rows = [trade(NINE + second * SECOND) for second in range(0, 300, 5)]
    commit_rows(lake.store, stream_dataset("trades"), rows)
    commit_interval(lake.store, NINE, NINE + 4 * MINUTE)
    commit_watermark(lake.store, NINE + 6 * MINUTE)
    frame = pl.DataFrame({"timestamp": pl.Series([datetime(2024, 1, 2, 9, minute, tzinfo=UTC) for minute in range(4)])})
    closes = ["100.5", "100.5", "100.75", "100.5"]
    prices = {name: ["100.5"] * 4 for name in ("open", "low")} | {"high": closes, "close": closes}
    bars = frame.with_columns(**{name: pl.Series(values) for name, values in prices.items()}, volume=pl.lit("3"))
    lake.put(bars, source="kraken", resolution="1m", symbol="BTC-USD")
    result = lake.compare_bars_with_trades("BTC-USD", "1m", "2024-01-02T09:00Z", "2024-01-02T09:06Z")
    assert (result.compared, result.equal, result.uncovered) == (4, 3, 1)
    assert result.differences["column"].to_list() == ["close", "high"]
    assert result.differences["trades"].to_list()[0].startswith("100.5")
    with pytest.raises(ConfigError, match="up to 1d"):
        lake.compare_bars_with_trades("BTC-USD", "1w", "2024-01-02", "2024-01-03")
