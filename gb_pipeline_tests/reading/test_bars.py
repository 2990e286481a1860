"""What `Lake.bars`, `.scan_bars` and `.arrow` promise."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline import (
    BarRules,
    ConfigError,
    InvalidResolution,
    Lake,
    NaiveTimestamp,
    NoDataInRange,
    Precision,
    ReadError,
    Resolution,
    Symbol,
    UnknownSeries,
    Window,
)

DAILY = BarRules(resolution=Resolution.DAY)
WIDE = BarRules(precision=Precision.WIDE)


def closes(frame: pl.DataFrame) -> list[str]:
    return [str(value) for value in frame["close"]]


def test_prices_come_back_digit_by_digit(lake, write):
    written = ["42000.01", "0.00000001", "9999999999.99999999"]
    write("sim", "BTC-USD", "2024-01-02", written)
    frame = lake.bars("BTC-USD", "1m")
    assert [value.normalize() for value in frame["close"]] == [
        pl.Series([t]).cast(pl.Decimal(18, 8))[0].normalize() for t in written
    ]
    assert frame.schema["close"] == pl.Decimal(18, 8)
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")


def test_the_default_columns_are_everything_but_the_layout(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    assert lake.bars("BTC-USD", "1m").columns == [
        "source", "symbol", "timestamp", "open", "high", "low", "close", "volume", "trade_count", "vwap", "known_at",
    ]  # fmt: skip


def test_columns_come_in_the_order_they_were_asked_for(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1", "2"])
    assert lake.bars("BTC-USD", "1m", columns=["close", "symbol"]).rows() == [(1, "BTC-USD"), (2, "BTC-USD")]
    with pytest.raises(ConfigError, match="no column 'price'"):
        lake.bars("BTC-USD", "1m", columns=["price"])
    with pytest.raises(ConfigError):
        lake.bars("BTC-USD", "1m", columns=[])


def test_ranges_are_half_open_and_may_be_left_open(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1", "2", "3", "4"])
    minute = "2024-01-02T00:0{}:00Z".format
    assert closes(lake.bars("BTC-USD", "1m", minute(1), minute(3))) == ["2.00000000", "3.00000000"]
    assert lake.bars("BTC-USD", "1m", minute(1)).height == 3
    assert lake.bars("BTC-USD", "1m", end=minute(1)).height == 1
    assert lake.bars("BTC-USD", "1m", date(2024, 1, 2), datetime(2024, 1, 3, tzinfo=UTC)).height == 4


def test_a_time_without_a_zone_is_refused(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    with pytest.raises(NaiveTimestamp):
        lake.bars("BTC-USD", "1m", datetime(2024, 1, 2))
    with pytest.raises(NaiveTimestamp):
        lake.bars("BTC-USD", "1m", as_of="2024-01-02T10:00:00")


def test_several_symbols_are_sorted_by_symbol_and_time_whatever_the_order_asked(lake, write):
    for symbol in ("ETH-USD", "BTC-USD", "SOL-USD"):
        write("sim", symbol, "2024-01-02", ["1", "2"])
    frame = lake.bars(["SOL-USD", "BTC-USD", "BTC-USD", Symbol.crypto("eth/usd")], "1m")
    assert frame["symbol"].to_list() == ["BTC-USD"] * 2 + ["ETH-USD"] * 2 + ["SOL-USD"] * 2
    assert frame.equals(frame.sort("symbol", "timestamp"))
    assert lake.bars(None, "1m").equals(frame)


def test_a_symbol_without_bars_in_the_range_is_left_out_when_another_has_some(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    write("sim", "ETH-USD", "2024-01-03", ["1"])
    assert lake.bars(["BTC-USD", "ETH-USD"], "1m", "2024-01-03")["symbol"].to_list() == ["ETH-USD"]


def test_no_symbol_at_all_is_refused_and_not_read_as_every_symbol(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    with pytest.raises(ConfigError):
        lake.bars([], "1m")


def test_days_that_were_rewritten_in_any_order_are_read_in_the_order_of_time(lake, write):
    write("sim", "BTC-USD", "2024-01-01", [str(i + 1) for i in range(4320)], days=3)
    write("sim", "BTC-USD", "2024-01-02", [str(i + 1) for i in range(1440)])
    write("sim", "BTC-USD", "2023-12-31", ["7"] * 1440)
    stamps = lake.bars("BTC-USD", "1m")["timestamp"]
    assert stamps.len() == 4 * 1440
    assert stamps.is_sorted() and stamps.is_unique().all()


def test_daily_bars_of_many_symbols_are_a_cross_section(lake, received):
    rows = [
        received("2024-01-02", ["1", "2"], step=Resolution.HOUR.duration * 24).with_columns(symbol=pl.lit(s))
        for s in ("MSFT", "AAPL")
    ]
    lake.write_bars(
        "yahoo", ["AAPL", "MSFT"], "1d", Window.of("2024-01-02", "2024-01-04"), pl.concat(rows), rules=DAILY
    )
    assert lake.bars(None, "1d", "2024-01-02", "2024-01-03")["symbol"].to_list() == ["AAPL", "MSFT"]
    assert closes(lake.bars("MSFT", Resolution.DAY)) == ["1.00000000", "2.00000000"]
    assert lake.bars("MSFT", "1d")["source"].unique().to_list() == ["yahoo"]


def test_the_source_may_be_left_out_where_it_is_clear_whatever_the_range(lake, write):
    write("kraken", "BTC-USD", "2024-01-02", ["1"])
    write("coinbase", "ETH-USD", "2024-01-02", ["2"])
    assert lake.bars(["BTC-USD", "ETH-USD"], "1m")["source"].to_list() == ["kraken", "coinbase"]
    write("coinbase", "BTC-USD", "2024-03-01", ["3"])
    assert lake.bars("BTC-USD", "1m", "2024-01-02", "2024-01-03")["source"].to_list() == ["kraken"]
    assert lake.bars("BTC-USD", "1m")["source"].to_list() == ["kraken", "coinbase"]
    assert closes(lake.bars("BTC-USD", "1m", source="coinbase")) == ["3.00000000"]


def test_unknown_names_are_answered_with_what_resembles_them(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    write("sim", "BTC-USDT", "2024-01-02", ["1"])
    for spelling in ("btc/usd", "BTCUSD", "btc-usd", "BTC-UDS"):
        with pytest.raises(UnknownSeries) as caught:
            lake.bars(spelling, "1m")
        assert "BTC-USD" in caught.value.near
    with pytest.raises(UnknownSeries, match="sim BTC-USD 1m"):
        lake.bars("BTC-USD", "1h")
    with pytest.raises(UnknownSeries, match="its sources: sim"):
        lake.bars("BTC-USD", "1m", source="nobody")
    with pytest.raises(UnknownSeries):
        lake.bars(["BTC-USD", "../../etc/passwd"], "1m")
    with pytest.raises(UnknownSeries, match="name of a symbol is empty"):
        lake.bars("", "1m")
    with pytest.raises(InvalidResolution):
        lake.bars("BTC-USD", "7m")
    with pytest.raises(ReadError, match="ticks"):
        lake.bars("BTC-USD", "tick")


def test_an_empty_lake_says_so(lake):
    with pytest.raises(UnknownSeries, match="the lake is empty"):
        lake.bars("BTC-USD", "1m")


def test_an_empty_range_says_what_there_is_and_what_the_ledger_knows(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1", "2"])
    write("sim", "BTC-USD", "2024-01-03", [])
    with pytest.raises(NoDataInRange, match="1 session empty") as caught:
        lake.bars("BTC-USD", "1m", "2024-01-03", "2024-01-04")
    assert caught.value.available == (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 2, 0, 1, tzinfo=UTC))


def test_a_series_that_is_only_empty_so_far_is_known(lake, write):
    write("sim", "BTC-USD", "2024-01-02", [])
    with pytest.raises(NoDataInRange) as caught:
        lake.bars("BTC-USD", "1m")
    assert caught.value.available is None


def test_wide_rows_take_the_place_of_standard_ones(lake, write):
    write("sim", "SHIB-USD", "2024-01-02", ["1", "2", "3"])
    write("sim", "SHIB-USD", "2024-01-03", ["4"])
    write("sim", "SHIB-USD", "2024-01-02", ["1", "0.000000000000000001"], rules=WIDE)
    frame = lake.bars("SHIB-USD", "1m")
    assert frame.schema["close"] == pl.Decimal(38, 18)
    assert frame["timestamp"].is_unique().all()
    assert [f"{value:.18f}".rstrip("0").rstrip(".") for value in frame["close"]] == [
        "1",
        "0.000000000000000001",
        "3",
        "4",
    ]
    assert lake.bars("SHIB-USD", "1m", "2024-01-03").schema["close"] == pl.Decimal(18, 8)
    assert lake.bars("SHIB-USD", "1m", as_float=True)["close"].to_list() == [1.0, 1e-18, 3.0, 4.0]


def test_a_lazy_read_is_the_same_read(lake, write):
    write("sim", "BTC-USD", "2024-01-02", [str(i + 1) for i in range(100)])
    write("sim", "ETH-USD", "2024-01-02", ["5"])
    names = ["BTC-USD", "ETH-USD"]
    for options in ({}, {"as_float": True}, {"columns": ["close", "timestamp"]}, {"as_of": "2099-01-01"}):
        assert lake.scan_bars(names, "1m", **options).collect().equals(lake.bars(names, "1m", **options))
    query = lake.scan_bars("BTC-USD", "1m").filter(pl.col("close") > 98).select("timestamp")
    assert query.collect().height == 2
    assert "SELECTION" in query.explain(), "the filter is pushed down into the files"
    assert lake.scan_bars("BTC-USD", "1m", "2030-01-01").collect().is_empty()
    with pytest.raises(UnknownSeries):
        lake.scan_bars("BTCUSD", "1m")


def test_arrow_tables_have_nanoseconds(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1.5"])
    table = lake.arrow("BTC-USD", "1m")
    assert table.schema.field("timestamp").type == pa.timestamp("ns", tz="UTC")
    assert table.schema.field("close").type == pa.decimal128(18, 8)
    assert lake.arrow("BTC-USD", "1m", as_float=True, columns=["close"]).to_pydict() == {"close": [1.5]}
    with pytest.raises(NoDataInRange):
        lake.arrow("BTC-USD", "1m", "2025-01-01")


def test_files_that_no_commit_names_are_not_read(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    stored = next(Path(lake.store.storage.table("bars_1m")).glob("source=sim/**/*.parquet"))
    shutil.copy(stored, stored.with_name("stray.parquet"))
    assert lake.bars("BTC-USD", "1m").height == 1


def test_a_reader_sees_what_another_process_commits(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    reader = Lake.open(lake.store.storage.root)
    assert reader.bars("BTC-USD", "1m").height == 1
    write("sim", "BTC-USD", "2024-01-03", ["2"])
    assert reader.bars("BTC-USD", "1m").height == 2


def test_compaction_changes_no_answer(lake, write):
    for day in range(1, 9):
        write("sim", "BTC-USD", f"2024-01-0{day}", [str(day)] * 60)
    before = lake.bars("BTC-USD", "1m")
    assert lake.store.compact(*lake.store.compaction_candidates())
    assert lake.bars("BTC-USD", "1m").equals(before)


def test_only_a_lake_opens_as_one(tmp_path, lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    with pytest.raises(ConfigError, match="there is no lake"):
        Lake.open(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="name its parent"):
        Lake.open(lake.store.storage.root / "lake")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not a lake"):
        Lake.open(tmp_path / "other")
    with pytest.raises(ConfigError, match="is a file"):
        Lake.open(tmp_path / "other" / "notes.txt")
    assert Lake.open(tmp_path / "new", create=True).symbols().is_empty()


def test_many_series_are_read_as_one_and_say_the_same(lake, received):
    codes = [f"S{number:02}-USD" for number in range(12)]
    for day in ("2024-01-03", "2024-01-02"):
        frames = [received(day, [str(i + 1) for i in range(20)]).with_columns(symbol=pl.lit(code)) for code in codes]
        lake.write_bars("sim", codes, "1m", Window.of(day, day[:-1] + str(int(day[-1]) + 1)), pl.concat(frames))
    every = lake.bars(None, "1m", as_float=True)
    assert every.height == 12 * 40
    assert every.equals(pl.concat([lake.bars(code, "1m", as_float=True) for code in codes]))
    part = lake.bars(codes[1:11], "1m", "2024-01-02T00:10:00Z", "2024-01-03T00:05:00Z", columns=["symbol", "close"])
    assert part["symbol"].to_list() == [code for code in codes[1:11] for _ in range(15)]
    assert lake.scan_bars(None, "1m", as_float=True).collect().equals(every)


def test_many_series_of_both_precisions_and_of_the_past(lake, received, write):
    codes = [f"S{number:02}-USD" for number in range(10)]
    first, second = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 3, tzinfo=UTC)
    for code in codes:
        write("sim", code, "2024-01-02", ["1", "2"], now=first)
    write("sim", "S03-USD", "2024-01-02", ["1", "0.000000000000000001"], rules=WIDE, now=second)
    write("sim", "S04-USD", "2024-01-02", ["1", "3"])
    now, then = lake.bars(None, "1m"), lake.bars(None, "1m", as_of="2024-06-02")
    assert now.height == then.height == 20
    assert sorted(set(now["close"].cast(pl.Float64))) == [1e-18, 1.0, 2.0, 3.0]
    assert then["close"].cast(pl.Float64).to_list() == [1.0, 2.0] * 10
