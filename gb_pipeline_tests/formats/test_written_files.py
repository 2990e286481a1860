"""Files as the documentation of each format describes them, byte by byte."""

from __future__ import annotations

import json
import struct
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gb_pipeline import AssetClass, ConfigError, Lake, Resolution, export_bars
from gb_pipeline_tests.actions import delisting, dividend, split
from gb_pipeline_tests.formats.exported import DAYS, MINUTES, files_of, members, put_minutes, put_shares, tell

SHARE = {"daily": AssetClass.EQUITY}


def test_csvdir_has_prices_as_traded_and_a_row_for_every_session(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake)
    tell(lake, split("2024-01-05", "4"), dividend("2024-01-03", "0.24"), dividend("2023-12-29", "9"))
    export_bars(lake, "csvdir", [DAYS], tmp_path / "out")
    assert (tmp_path / "out/daily/AAPL.csv").read_text(encoding="utf-8") == (
        "date,open,high,low,close,volume,dividend,split\n"
        "2024-01-02,187.15,188.44,183.885,185.64,8248870,0,1\n"
        "2024-01-03,184.22,185.88,183.43,184.25,5841450,0.24,1\n"
        "2024-01-04,0,0,0,0,0,0,1\n"
        "2024-01-05,45.99,46.76,45.17,45.18,6230330,0,4\n"
        "2024-01-08,46.1,46.2,45.9,46,10,0,1\n"
    )
    # Adjusted prices have no split left, and dividends per share of today.
    export_bars(lake, "csvdir", [DAYS], tmp_path / "adjusted", adjustment="splits", lossy=True)
    lines = (tmp_path / "adjusted/daily/AAPL.csv").read_text(encoding="utf-8").splitlines()
    assert lines[2] == "2024-01-03,46.055,46.47,45.8575,46.0625,23365800,0.06,1"
    assert {line.rpartition(",")[2] for line in lines[1:]} == {"1"}


def test_csvdir_labels_minutes_by_their_end_and_keeps_to_the_exchange_hours(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake, "2024-01-02T14:29", ["1", "2", "3"], source="daily", symbol="BRK.B", volume="5", calendar="24/7")
    report = export_bars(lake, "csvdir", [("daily", "BRK.B", Resolution.MINUTE)], tmp_path / "out")
    # What follows a dot would be a suffix to zipline.
    assert (tmp_path / "out/minute/BRK_B.csv").read_text(encoding="utf-8").splitlines()[:2] == [
        "date,open,high,low,close,volume",
        "2024-01-02 14:30:00,1,1,1,1,5",
    ]
    assert any("BRK_B" in note for note in report.series[0].notes)
    assert "register the bundle with calendar_name='24/7'" in report.series[0].notes


def test_lean_has_a_zip_a_day_in_the_market_time(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    export_bars(lake, "lean", [MINUTES], tmp_path / "out", asset_classes={"sim": AssetClass.CRYPTO}, market="coinbase")
    folder = tmp_path / "out/crypto/coinbase/minute/btcusdt"
    assert files_of(folder) == ["20240131_trade.zip", "20240201_trade.zip"]
    assert members(folder / "20240131_trade.zip") == {
        "20240131_btcusdt_minute_trade.csv": (
            "86280000,42000.12,42000.12,42000.12,42000.12,1.23456789\n86340000,42001,42001,42001,42001,1.23456789\n"
        )
    }


def test_lean_days_of_new_york_are_whole_across_months_and_clock_changes(lake: Lake, tmp_path: Path) -> None:
    # 2024-11-01 04:00 UTC is midnight in New York, and the month of UTC begins four hours before.
    put_minutes(lake, "2024-10-31T23:59", ["1.5", "2", "3"], source="daily", symbol="AAPL", volume="5")
    put_minutes(lake, "2024-11-04T14:30", ["7"], source="daily", symbol="MSFT", volume="5")
    series = [("daily", name, Resolution.MINUTE) for name in ("AAPL", "MSFT")]
    export_bars(lake, "lean", series, tmp_path / "out", asset_classes=SHARE)
    folder = tmp_path / "out/equity/usa/minute"
    assert files_of(folder) == ["aapl/20241031_trade.zip", "msft/20241104_trade.zip"]
    assert list(members(folder / "aapl/20241031_trade.zip").values()) == [
        "71940000,15000,15000,15000,15000,5\n72000000,20000,20000,20000,20000,5\n72060000,30000,30000,30000,30000,5\n"
    ]
    # Half past nine in winter.
    assert list(members(folder / "msft/20241104_trade.zip").values()) == ["34200000,70000,70000,70000,70000,5\n"]


def test_lean_factor_and_map_files_say_what_became_of_the_shares(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake)
    tell(lake, split("2024-01-05", "4"), dividend("2024-01-08", "0.24"), delisting("2024-06-28"))
    export_bars(lake, "lean", [DAYS], tmp_path / "out", asset_classes=SHARE)
    market = tmp_path / "out/equity/usa"
    assert members(market / "daily/aapl.zip")["aapl.csv"].splitlines()[0] == (
        "20240102 00:00,1871500,1884400,1838850,1856400,8248870"
    )
    # (45.18 - 0.24) / 45.18 = 0.99468792; the first line carries the factors of the beginning.
    assert (market / "factor_files/aapl.csv").read_text(encoding="utf-8") == (
        "20240102,0.9946879,0.25,185.64\n20240103,0.9946879,0.25,184.25\n20240105,0.9946879,1,45.18\n20501231,1,1,0\n"
    )
    assert (market / "map_files/aapl.csv").read_text(encoding="utf-8") == "20240102,aapl\n20240628,aapl\n"


def test_lean_puts_contracts_of_one_root_into_one_file_and_perpetuals_apart(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake, "2024-01-02T00:00", ["4800.25"], source="cme", symbol="ESH24", volume="3")
    put_minutes(lake, "2024-01-02T00:00", ["4850"], source="cme", symbol="ESM24", volume="1")
    put_minutes(lake, "2024-01-02T00:00", ["42000"], source="binance", symbol="BTC-USDT-PERP")
    kinds = {"cme": AssetClass.FUTURE, "binance": AssetClass.CRYPTO}
    series = [("cme", "ESH24", Resolution.MINUTE), ("cme", "ESM24", Resolution.MINUTE)]
    export_bars(
        lake, "lean", [*series, ("binance", "BTC-USDT-PERP", Resolution.MINUTE)], tmp_path / "out", asset_classes=kinds
    )
    assert members(tmp_path / "out/future/cme/minute/es/20240102_trade.zip") == {
        "20240102_es_minute_trade_202403.csv": "0,4800.25,4800.25,4800.25,4800.25,3\n",
        "20240102_es_minute_trade_202406.csv": "0,4850,4850,4850,4850,1\n",
    }
    perpetual = tmp_path / "out/cryptofuture/binance/minute/btcusdt/20240102_trade.zip"
    assert list(members(perpetual)) == ["20240102_btcusdt_minute_trade_perp.csv"]


def test_lean_forex_is_quotes_without_an_ask(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake, "2024-01-02T00:00", ["1.0951"], source="oanda", symbol="EUR-USD", volume="0")
    series = [("oanda", "EUR-USD", Resolution.MINUTE)]
    report = export_bars(lake, "lean", series, tmp_path / "out", asset_classes={"oanda": AssetClass.FOREX})
    assert list(members(tmp_path / "out/forex/oanda/minute/eurusd/20240102_quote.zip").values()) == [
        "0,1.0951,1.0951,1.0951,1.0951,0,,,,,0\n"
    ]
    assert any("no ask" in note for note in report.series[0].notes)


def test_qlib_has_float32_from_a_place_in_the_calendar(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake)
    tell(lake, split("2024-01-05", "4"))
    put_shares(lake, symbol="MSFT", timestamp=[date(2024, 1, day) for day in (4, 5, 9, 10)])
    series = [DAYS, ("daily", "MSFT", Resolution.DAY)]
    export_bars(lake, "qlib", series, tmp_path / "out")
    root = tmp_path / "out"
    assert (root / "calendars/day.txt").read_text(encoding="utf-8").split() == [
        f"2024-01-{day:02d}" for day in (2, 3, 4, 5, 8, 9, 10)
    ]
    assert (root / "instruments/all.txt").read_text(encoding="utf-8") == (
        "AAPL\t2024-01-02\t2024-01-08\nMSFT\t2024-01-04\t2024-01-10\n"
    )
    nan = float("nan")
    expected = np.array([0, 46.41, 46.0625, nan, 45.18, 46], dtype="<f4")
    assert (root / "features/aapl/close.day.bin").read_bytes() == expected.tobytes()
    factors = np.fromfile(root / "features/aapl/factor.day.bin", dtype="<f4")
    assert factors[[1, 2, 4, 5]].tolist() == [0.25, 0.25, 1, 1]
    assert struct.unpack("<f", (root / "features/msft/close.day.bin").read_bytes()[:4]) == (2.0,)


def test_qlib_minutes_are_in_the_exchange_time(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake, "2024-07-01T13:30", ["1", "2"], source="daily", symbol="AAPL", volume="5", calendar="XNYS")
    export_bars(lake, "qlib", [("daily", "AAPL", Resolution.MINUTE)], tmp_path / "out")
    assert (tmp_path / "out/calendars/1min.txt").read_text(encoding="utf-8") == (
        "2024-07-01 09:30:00\n2024-07-01 09:31:00\n"
    )


def test_nautilus_has_integers_of_128_bits_and_stamps_at_the_close(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    export_bars(lake, "nautilus", [MINUTES], tmp_path / "out", market="binance")
    (name,) = files_of(tmp_path / "out")
    assert name == (
        "data/bar/BTC-USDT.BINANCE-1-MINUTE-LAST-EXTERNAL/"
        "2024-01-31T23-59-00-000000000Z_2024-02-01T00-02-00-000000000Z.parquet"
    )
    file = pq.ParquetFile(tmp_path / "out" / name)
    assert {key.decode(): value.decode() for key, value in file.schema_arrow.metadata.items()} == {
        "bar_type": "BTC-USDT.BINANCE-1-MINUTE-LAST-EXTERNAL", "instrument_id": "BTC-USDT.BINANCE",
        "price_precision": "6", "size_precision": "8",
    }  # fmt: skip
    rows = file.read().to_pydict()
    assert [int.from_bytes(value, "little", signed=True) for value in rows["close"]] == [
        420001200000000000000, 420010000000000000000, 419990000010000000000, 420000000000000000000
    ]  # fmt: skip
    assert rows["ts_event"] == rows["ts_init"]
    assert rows["ts_event"][0] == int(datetime(2024, 1, 31, 23, 59, tzinfo=UTC).timestamp()) * 10**9
    assert not any(field.nullable for field in file.schema_arrow)


def test_nautilus_days_are_stamped_at_the_close_of_the_session(lake: Lake, tmp_path: Path) -> None:
    put_shares(lake, timestamp=[date(2024, 7, day) for day in (1, 2, 3, 5)])
    export_bars(lake, "nautilus", [DAYS], tmp_path / "out")
    (name,) = files_of(tmp_path / "out")
    stamps = pq.read_table(tmp_path / "out" / name)["ts_init"].to_pylist()
    # The third of July is a half day.
    assert [datetime.fromtimestamp(stamp / 1e9, UTC).hour for stamp in stamps] == [20, 20, 17, 20]


def test_freqtrade_reads_milliseconds_and_floats(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    put_minutes(lake, symbol="ETH-USDT-PERP", closes=["0.00000012", "2000.1"])
    series = [MINUTES, ("sim", "ETH-USDT-PERP", Resolution.MINUTE)]
    export_bars(lake, "freqtrade", series, tmp_path / "feather")
    assert files_of(tmp_path / "feather") == ["BTC_USDT-1m.feather", "futures/ETH_USDT_USDT-1m-futures.feather"]
    frame = pyarrow.feather.read_table(tmp_path / "feather/BTC_USDT-1m.feather")
    assert [str(field.type) for field in frame.schema] == ["timestamp[ms, tz=UTC]", *["double"] * 5]
    assert frame["close"].to_pylist() == [42000.12, 42001.0, 41999.000001, 42000.0]
    export_bars(lake, "freqtrade-json", series, tmp_path / "json")
    rows = json.loads((tmp_path / "json/BTC_USDT-1m.json").read_text(encoding="utf-8"))
    assert rows[0] == [1706745480000, 42000.12, 42000.12, 42000.12, 42000.12, 1.23456789] and len(rows) == 4
    tiny = json.loads((tmp_path / "json/futures/ETH_USDT_USDT-1m-futures.json").read_text(encoding="utf-8"))
    assert tiny[0][1] == 0.00000012


@pytest.mark.parametrize(("kind", "fix"), [(AssetClass.FUTURE, "ESZ26"), (AssetClass.OPTION, "equity, crypto, forex")])
def test_lean_says_what_it_has_no_name_for(lake: Lake, tmp_path: Path, kind: AssetClass, fix: str) -> None:
    put_shares(lake)
    with pytest.raises(ConfigError) as refused:
        export_bars(lake, "lean", [DAYS], tmp_path / "out", asset_classes={"daily": kind}, market="cme")
    assert fix in refused.value.fix
