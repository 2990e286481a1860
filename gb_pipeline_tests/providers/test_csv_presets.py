"""Layouts that need no options but their name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.csv.options import CsvOptions
from gb_pipeline.providers.csv.presets import LEAN_MARKETS, PRESETS, fill_preset
from gb_pipeline.providers.csv.provider import CsvProvider

QUOTE = "1.1,1.4,1.0,1.2,7,1.15,1.45,1.05,1.19,8"


async def read(root: Path, code: str, kind: str, resolution: str, **options: Any) -> dict[str, Any]:
    source = SourceSettings.model_validate(
        {
            "name": "files",
            "provider": "csv",
            "start": "2020-01-01",
            "symbols": [code],
            "asset_class": kind,
            "resolutions": [resolution],
            "options": {"root": str(root), **options},
        }
    )
    fetched = await CsvProvider.from_settings(source).fetch_bars(
        Symbol.of(code, kind), Window.of("2024-01-02", "2024-01-03"), Resolution.parse(resolution)
    )
    return fetched.frame.drop("received").with_columns(fetched.frame["timestamp"].cast(str)).to_dicts()[0]


def write_zip(file: Path, member: str, text: str) -> None:
    file.parent.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, text)


async def test_lean_equity_minutes_are_ten_thousandths_in_new_york(tmp_path: Path) -> None:
    write_zip(
        tmp_path / "equity/usa/minute/aapl/20240102_trade.zip", "x.csv", "34200000,1871500,1872000,1871450,1871500,7"
    )
    assert await read(tmp_path, "AAPL", "equity", "1m", preset="lean", lean_market="equity/usa") == {
        "timestamp": "2024-01-02 14:30:00.000000+00:00",
        "open": "187.15",
        "high": "187.2",
        "low": "187.145",
        "close": "187.15",
        "volume": "7",
    }


async def test_lean_equity_days_are_named_by_the_ticker_alone(tmp_path: Path) -> None:
    write_zip(tmp_path / "equity/usa/daily/brkb.zip", "x.csv", "20240102 00:00,3600000,1,1,1,7")
    bar = await read(tmp_path, "BRK.B", "equity", "1d", preset="lean", lean_market="equity/usa")
    assert (bar["timestamp"][:10], bar["open"]) == ("2024-01-02", "360")


async def test_lean_forex_is_the_bid_with_the_ask_close_beside_it_and_no_volume(tmp_path: Path) -> None:
    write_zip(tmp_path / "forex/fxcm/hour/eurusd.zip", "x.csv", f"20240102 10:00,{QUOTE}")
    bar = await read(tmp_path, "EUR-USD", "forex", "1h", preset="lean", lean_market="forex/fxcm")
    assert bar == {
        "timestamp": "2024-01-02 15:00:00.000000+00:00",
        "open": "1.1",
        "high": "1.4",
        "low": "1.0",
        "close": "1.2",
        "volume": "0",
        "ask_close": "1.19",
    }


async def test_lean_quotes_of_a_traded_market_are_read_when_a_side_is_named(tmp_path: Path) -> None:
    write_zip(tmp_path / "crypto/coinbase/daily/btcusd_quote.zip", "x.csv", f"20240102 00:00,{QUOTE}")
    bar = await read(
        tmp_path, "BTC-USD", "crypto", "1d", preset="lean", lean_market="crypto/coinbase", quote_side="ask"
    )
    assert (bar["open"], bar["close"], bar["volume"]) == ("1.15", "1.19", "0")
    assert "ask_close" not in bar


async def test_ninjatrader_stamps_the_end_of_the_bar(tmp_path: Path) -> None:
    (tmp_path / "SPY.txt").write_text("20240102 143100;1;2;1;2;3\n")
    bar = await read(tmp_path, "SPY", "equity", "1m", preset="ninjatrader", path="{symbol}.txt")
    assert bar["timestamp"] == "2024-01-02 14:30:00.000000+00:00"


async def test_investing_groups_thousands_and_shortens_volumes(tmp_path: Path) -> None:
    header = '"Date","Price","Open","High","Low","Vol.","Change %"'
    text = f'{header}\n"01/02/2024","1,850.5","1,860.0","1,870.25","1,840.1","58.4K","-0.5%"\n'
    (tmp_path / "GOLD.csv").write_text(text)
    assert await read(tmp_path, "GOLD", "equity", "1d", preset="investing", path="{symbol}.csv") == {
        "timestamp": "2024-01-02 00:00:00.000000+00:00",
        "open": "1860.0",
        "high": "1870.25",
        "low": "1840.1",
        "close": "1850.5",
        "volume": "58400",
    }


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_user_writes_wins_over_the_preset_column_by_column(name: str) -> None:
    options = CsvOptions.read({"path": "x", "preset": name, "delimiter": "|", "columns": {"close": "Adj Close"}})
    filled = fill_preset(options, Resolution.DAY)
    assert filled.delimiter == "|"
    assert filled.columns["close"] == "Adj Close"
    assert {"timestamp", "open", "high", "low", "close", "volume"} <= set(filled.columns)


def test_date_and_time_columns_replace_the_presets_stamp() -> None:
    options = CsvOptions.read({"path": "x", "preset": "yahoo", "columns": {"date": "Date", "time": "Time"}})
    assert "timestamp" not in fill_preset(options, Resolution.MINUTE).columns


@pytest.mark.parametrize("market", LEAN_MARKETS)
@pytest.mark.parametrize("resolution", [Resolution.SECOND, Resolution.MINUTE, Resolution.HOUR, Resolution.DAY])
def test_every_lean_market_is_complete(market: str, resolution: Resolution) -> None:
    name = market if "/" in market else f"{market}/any"
    filled = fill_preset(CsvOptions.read({"preset": "lean", "lean_market": name}), resolution)
    assert filled.path is not None
    assert filled.path.startswith(name)
    assert filled.timezone is not None
    assert ("{date}" in filled.path) == (filled.timestamp_format == "ms_of_day")


def test_every_option_says_what_it_is_for() -> None:
    assert all(field.description for field in CsvOptions.model_fields.values())


async def test_lean_options_are_members_by_right_strike_and_expiry(tmp_path: Path) -> None:
    name = "20240102_aapl_minute_trade_american_{}_1900000_20240119.csv"
    path = tmp_path / "option/usa/minute/aapl/20240102_trade_american.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name.format("call"), "34200000,52500,53000,52000,52500,7")
        archive.writestr(name.format("put"), "34200000,10000,10000,10000,10000,7")
    bar = await read(tmp_path, "AAPL240119C00190000", "option", "1m", preset="lean", lean_market="option/usa")
    assert (bar["timestamp"][:16], bar["open"], bar["volume"]) == ("2024-01-02 14:30", "5.25", "7")
    put = await read(tmp_path, "AAPL240119P00190000", "option", "1m", preset="lean", lean_market="option/usa")
    assert put["open"] == "1"


async def test_real_lean_index_options_are_read_by_contract(market_data: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "indexoption/usa").mkdir(parents=True)
    (tmp_path / "indexoption/usa/daily").symlink_to(market_data("options/lean-indexoption-usa-daily"))
    source = SourceSettings.model_validate({
        "name": "files", "provider": "csv", "start": "2020-01-01", "symbols": ["SPX210115C03700000"], "asset_class": "option",
        "resolutions": ["1d"],
        "options": {"root": str(tmp_path), "preset": "lean", "lean_market": "indexoption/usa", "follow_links": True},
    })  # fmt: skip
    files = CsvProvider.from_settings(source)
    fetched = await files.fetch_bars(source.instruments[0], Window.of("2021-01-01", "2021-02-01"), Resolution.DAY)
    assert fetched.frame.height == 2
    assert [instrument.symbol.code for instrument in await files.instruments()].count("SPX210115C03700000") == 1
