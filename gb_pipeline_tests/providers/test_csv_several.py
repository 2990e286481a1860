"""Files of several instruments: refused by name, or read for each of them, and never stored under another one's name."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, PermanentVendorError, UnknownSymbol
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.csv.provider import CsvProvider

ALWAYS = Window.of("1970-01-01", "2100-01-01")
OHLCV = "open,high,low,close,volume"
LONG = f"""Ticker,timestamp,{OHLCV}
KO,2024-01-02,1,2,1,1.5,10
PEP,2024-01-02,70,72,69,71,5
IBM,2024-01-02,7,7,7,7,7
KO,2024-01-03,1,2,1,1.25,11
PEP,2024-01-03,70,72,69,71.5,6
"""


def provider(root: Path, *symbols: Any, path: str = "in.csv", calendar: str = "24/7", **options: Any) -> CsvProvider:
    return CsvProvider.from_settings(
        SourceSettings.model_validate({
            "name": "files", "provider": "csv", "start": "2024-01-01", "resolutions": ["1d"], "calendar": calendar,
            "symbols": list(symbols) or ["KO"], "options": {"root": str(root), "path": path, **options},
        })
    )  # fmt: skip


def fetch(files: CsvProvider, code: str = "KO", window: Window = ALWAYS) -> Fetched:
    return asyncio.run(files.fetch_bars(Symbol.equity(code), window, Resolution.DAY))


def bars(fetched: Fetched) -> list[tuple[str, str]]:
    return [(f"{stamp:%m-%d}", close) for stamp, close in fetched.frame.select("timestamp", "close").iter_rows()]


def write(root: Path, text: str, name: str = "in.csv") -> None:
    (root / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["symbol", "Ticker", "RIC", "sec_id", "Name", "instrument ID", "ts_code", "PERMNO"])
def test_a_file_of_one_that_names_several_is_refused_with_column_and_names(tmp_path: Path, name: str) -> None:
    # No stamp stands twice: only the column tells.
    write(tmp_path, f"{name},timestamp,{OHLCV}\nA1,2024-01-02,1,2,1,1.5,1\nB2,2024-01-03,70,72,69,71,1\n")
    with pytest.raises(
        PermanentVendorError, match=rf"in\.csv holds 2 instruments, by its column '{name}': A1, B2"
    ) as error:
        fetch(provider(tmp_path))
    assert f"columns: {{symbol: {name}}}" in error.value.fix
    assert f"filter: {{{name}: A1}}" in error.value.fix


def test_a_column_of_any_name_that_holds_our_symbol_names_instruments(tmp_path: Path) -> None:
    write(tmp_path, f"what,timestamp,{OHLCV}\nKO,2024-01-02,1,2,1,1.5,1\nPEP,2024-01-03,70,72,69,71,1\n")
    with pytest.raises(PermanentVendorError, match=r"2 instruments, by its column 'what': KO, PEP"):
        fetch(provider(tmp_path))
    positions = {"timestamp": 1, "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6}
    write(tmp_path, "KO,2024-01-02,1,2,1,1.5,1\nPEP,2024-01-03,70,72,69,71,1\n")
    with pytest.raises(PermanentVendorError, match=r"2 instruments, by its column 0: KO, PEP"):
        fetch(provider(tmp_path, header=False, columns=positions))


def test_repeated_stamps_that_a_column_tells_apart_are_those_of_several(tmp_path: Path) -> None:
    lines = "".join(f"2024-01-{day:02},{kind},1,2,1,{day},1\n" for day in range(2, 12) for kind in ("spot", "future"))
    write(tmp_path, f"timestamp,kind,{OHLCV}\n{lines}")
    with pytest.raises(PermanentVendorError, match=r"2 instruments, by its column 'kind': spot, future"):
        fetch(provider(tmp_path))


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("symbol", ["KO"] * 4),
        ("exchange", ["XNYS", "XNYS", "ARCX", "BATS"]),
        ("weekday", ["Tue", "Wed", "Thu", "Fri"]),
        ("Adj Close", ["1.1", "1.2", "1.3", "1.4"]),
        ("symbol,instrument_id", ["ES.c.0,1", "ES.c.0,1", "ES.c.0,2", "ES.c.0,2"]),
    ],
)
def test_a_column_that_names_nobody_else_is_no_reason_to_refuse(tmp_path: Path, header: str, cells: list[str]) -> None:
    lines = "".join(f"2024-01-{day:02},1,2,1,{day},1,{cell}\n" for day, cell in enumerate(cells, 2))
    write(tmp_path, f"timestamp,{OHLCV},{header}\n{lines}")
    assert len(bars(fetch(provider(tmp_path)))) == 4


def test_a_file_that_names_another_symbol_of_the_source_is_not_stored_under_this_one(tmp_path: Path) -> None:
    write(tmp_path, f"symbol,timestamp,{OHLCV}\nPEP,2024-01-02,70,72,69,71,5\n", "KO.csv")
    with pytest.raises(PermanentVendorError, match=r"KO\.csv names PEP and was read for KO"):
        fetch(provider(tmp_path, "KO", "PEP", path="{symbol}.csv"))


def test_a_mapped_column_gives_each_symbol_its_own_lines_by_the_vendors_spelling(tmp_path: Path) -> None:
    write(tmp_path, LONG.replace("KO", "NYS:KO"))
    files = provider(tmp_path, {"code": "KO", "vendor": "NYS:KO"}, "PEP", columns={"symbol": "ticker"})
    assert bars(fetch(files)) == [("01-02", "1.5"), ("01-03", "1.25")]
    assert bars(fetch(files, "PEP")) == [("01-02", "71"), ("01-03", "71.5")]
    assert fetch(files).rows_read == 2
    with pytest.raises(UnknownSymbol, match=r"no 'XOM' among its instruments, it has IBM, NYS:KO, PEP"):
        fetch(provider(tmp_path, {"code": "KO", "vendor": "NYS:KO"}, "PEP", "XOM", columns={"symbol": "Ticker"}), "XOM")


def test_a_line_that_names_nobody_goes_with_the_one_before_it(tmp_path: Path) -> None:
    lines = LONG.splitlines()
    write(tmp_path, "\n".join([*lines[:3], "torn li", ",2024-01-04,9,9,9,9,9", *lines[3:]]))
    files = provider(tmp_path, "KO", "PEP", columns={"symbol": "Ticker"})
    texts = {code: fetch(files, code).frame["received"].to_list() for code in ("KO", "PEP")}
    assert [text for text in texts["PEP"] if text in {"torn li", ",2024-01-04,9,9,9,9,9"}] != []
    mine = [line for line in lines[1:] if not line.startswith("IBM")]
    assert sorted(texts["KO"] + texts["PEP"]) == sorted([*mine, "torn li", ",2024-01-04,9,9,9,9,9"])


@pytest.mark.parametrize("place", range(2, 6))
def test_a_line_that_names_nobody_is_nobodys_bar_and_goes_to_who_has_none(tmp_path: Path, place: int) -> None:
    # KO's own bar of that day, without its name, anywhere among the others.
    lines = [line for line in LONG.splitlines() if not line.startswith("KO,2024-01-03")]
    nobodys = ",2024-01-03,1,2,1,1.25,11"
    write(tmp_path, "\n".join([*lines[:place], nobodys, *lines[place:]]))
    files = provider(tmp_path, "KO", "PEP", columns={"symbol": "Ticker"})
    assert bars(fetch(files, "PEP")) == [("01-02", "71"), ("01-03", "71.5")]
    frame = fetch(files).frame
    assert frame.filter(pl.col("timestamp").is_not_null())["close"].to_list() == ["1.5"]
    unplaced = frame.filter(pl.col("timestamp").is_null())
    assert unplaced.select("received", "fault").rows() == [(nobodys, "unnamed_line")]


def test_a_file_most_of_whose_lines_name_nobody_is_refused(tmp_path: Path) -> None:
    write(tmp_path, LONG.replace("\nPEP,", "\n,").replace("\nKO,2024-01-03", "\n,2024-01-03"))
    files = provider(tmp_path, "KO", "PEP", columns={"symbol": "Ticker"})
    with pytest.raises(
        PermanentVendorError, match=r"3 of 4 lines of .*in\.csv name no instrument in the column 'Ticker'"
    ):
        fetch(files)


def test_a_filter_reads_the_lines_that_have_its_values(tmp_path: Path) -> None:
    write(tmp_path, LONG)
    assert bars(fetch(provider(tmp_path, filter={"Ticker": "KO"}))) == [("01-02", "1.5"), ("01-03", "1.25")]
    both = provider(tmp_path, filter={"Ticker": ["KO", "IBM"], "volume": [7, 11]})
    assert bars(fetch(both)) == [("01-02", "7"), ("01-03", "1.25")]
    with pytest.raises(PermanentVendorError, match=r"no line whose 'Ticker' is XOM \(it is KO, PEP, IBM\)"):
        fetch(provider(tmp_path, filter={"Ticker": "XOM"}))


def test_a_filter_is_as_good_without_a_header(tmp_path: Path) -> None:
    write(tmp_path, LONG.partition("\n")[2])
    positions = {"timestamp": 1, "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6}
    files = provider(tmp_path, header=False, columns=positions, filter={0: "KO"})
    assert bars(fetch(files)) == [("01-02", "1.5"), ("01-03", "1.25")]


def test_a_file_is_read_once_for_all_of_its_symbols(tmp_path: Path) -> None:
    write(tmp_path, LONG)
    file, files = tmp_path / "in.csv", provider(tmp_path, "KO", "PEP", columns={"symbol": "Ticker"})
    fetch(files)
    stat = file.stat()
    file.write_bytes(b"x" * stat.st_size)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    # What stands there now could not be read.
    assert bars(fetch(files, "PEP")) == [("01-02", "71"), ("01-03", "71.5")]


def test_a_symbol_that_a_days_file_does_not_name_did_not_trade_that_day(tmp_path: Path) -> None:
    for day, codes in (("20240102", ("KO", "PEP")), ("20240103", ("KO",)), ("20240104", ("KO",))):
        lines = "".join(f"{code},{day[:4]}-{day[4:6]}-{day[6:]},1,2,1,1.5,1\n" for code in codes)
        write(tmp_path, f"Ticker,timestamp,{OHLCV}\n{lines}", f"{day}.csv")
    files = provider(tmp_path, "KO", "PEP", "PPE", path="{date}.csv", columns={"symbol": "Ticker"}, calendar="XNYS")
    day = Window.of("2024-01-04", "2024-01-05")
    assert len(bars(fetch(files, "KO", day))) == 1
    assert bars(fetch(files, "PEP", day)) == []
    with pytest.raises(UnknownSymbol, match=r"20240104\.csv has no 'PPE'"):
        fetch(files, "PPE", day)


def test_several_symbols_need_to_be_told_apart_by_path_column_or_layout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 symbols in one path") as error:
        provider(tmp_path, "KO", "PEP")
    assert "columns: {symbol: ...}" in error.value.fix


# --- wide -----------------------------------------------------------------------------------------------------------------


def test_a_panel_of_one_number_is_bars_of_one_price_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    write(tmp_path, ",KO,PEP,IBM\n2024-01-02,1.50,71,7\n2024-01-03,,71.5,7\n2024-01-04,1.25,NaN,7\n")
    files = provider(tmp_path, "KO", "PEP", layout="wide")
    assert bars(fetch(files)) == [("01-02", "1.50"), ("01-04", "1.25")]
    assert bars(fetch(files, "PEP")) == [("01-02", "71"), ("01-03", "71.5")]
    first = fetch(files).frame.row(0, named=True)
    assert [first[name] for name in ("open", "high", "low", "close", "volume")] == ["1.50"] * 4 + ["0"]
    assert first["received"] == "KO: 2024-01-02 1.50"
    with pytest.raises(UnknownSymbol, match=r"no 'KOO' among its instruments, it has IBM, KO, PEP"):
        fetch(provider(tmp_path, "KO", "PEP", "KOO", layout="wide"), "KOO")


def test_a_line_of_a_panel_that_cannot_be_read_is_everybodys(tmp_path: Path) -> None:
    write(tmp_path, "Date,KO,PEP\n2024-01-02,1.5,71\n2024-01-03,1.5\nx,1.5,71\n2024-01-04,1.25,72\n")
    files = CsvProvider.from_settings(
        provider(tmp_path, "KO", "PEP", layout="wide")._source.model_copy(update={"max_bad_fraction": 1.0})
    )
    for code, closes in (("KO", ["1.5", None, "1.5", "1.25"]), ("PEP", ["71", None, "71", "72"])):
        frame = fetch(files, code).frame
        assert frame["close"].to_list() == closes
        assert frame["timestamp"].null_count() == 1


def test_a_panel_may_have_a_file_for_each_number(tmp_path: Path) -> None:
    values = {"Open": (1, 70), "High": (2, 72), "Low": (1, 69), "Adj Close": (1.5, 71), "Volume": (10, 5)}
    for name, (ko, pep) in values.items():
        lines = f"2024-01-02,{ko},{pep}\n2024-01-03,{ko},\n"
        # Another order, and a day more: lines are joined by their stamps.
        write(tmp_path, "Date,KO,PEP\n" + lines + ("2024-01-04,9,9\n" if name == "Volume" else ""), f"{name}.csv")
    spelled = {"open": "Open", "high": "High", "low": "Low", "close": "Adj Close", "volume": "Volume"}
    files = provider(tmp_path, "KO", "PEP", path="{field}.csv", layout="wide", columns=spelled)
    frame = fetch(files).frame
    numbers = frame.select("open", "high", "low", "close", "volume").rows()
    assert numbers == [("1", "2", "1", "1.5", "10")] * 2 + [(None, None, None, None, "9")]
    assert "open of KO: 2024-01-02 1; high of" in frame["received"][0]
    assert fetch(files, "PEP").frame["close"].to_list() == ["71", None]
    (tmp_path / "Volume.csv").unlink()
    with pytest.raises(UnknownSymbol, match=r"no file for volume of KO.*Volume\.csv") as error:
        fetch(files)
    assert "volume: none" in error.value.fix
    without = provider(tmp_path, path="{field}.csv", layout="wide", columns=spelled, volume="none")
    assert fetch(without).frame["volume"].to_list() == ["0", "0"]


# --- stacked headers ------------------------------------------------------------------------------------------------------

_FIELDS, _OWNERS = "Close,High,Open,Low,Volume", "KO,KO,KO,KO,KO"


@pytest.mark.parametrize("above", [
    f"Price,{_FIELDS}\nTicker,{_OWNERS}\nDate,,,,,\n", f"Ticker,{_OWNERS}\nPrice,{_FIELDS}\nDate,,,,,\n",
    f",{_FIELDS}\n,{_OWNERS}\nDate,,,,,\n", f"Attributes,{_FIELDS}\nSymbols,{_OWNERS}\nDate,,,,,\n",
    f"Date,{_FIELDS}\n",
])  # fmt: skip
def test_what_yfinance_writes_of_one_ticker_is_read_whatever_it_is_called(tmp_path: Path, above: str) -> None:
    write(tmp_path, above + "2024-01-02,366.5,371.1,369.0,362.2,25258600\n")
    for symbol in ("KO", "XOM"):
        frame = fetch(provider(tmp_path, symbol, preset="yfinance"), symbol).frame
        assert frame.select("open", "high", "low", "close", "volume").rows() == [
            ("369.0", "371.1", "362.2", "366.5", "25258600")
        ]


@pytest.mark.parametrize("by_ticker", [True, False])
def test_what_yfinance_writes_of_several_tickers_is_each_ones_own(tmp_path: Path, by_ticker: bool) -> None:
    pairs = [(f, t) for f in _FIELDS.split(",") for t in ("BTC-USD", "KO")]
    pairs = sorted(pairs, key=lambda pair: pair[1]) if by_ticker else pairs
    fields, owners = (",".join(names) for names in zip(*pairs, strict=True))
    cell = {"Close": 2, "High": 3, "Open": 2, "Low": 1, "Volume": 9}
    friday = ",".join(f"{cell[f] * (1000 if t == 'BTC-USD' else 1)}.0" for f, t in pairs)
    saturday = ",".join("2000.0" if t == "BTC-USD" else "" for _, t in pairs)
    head = f"Ticker,{owners}\nPrice,{fields}\n" if by_ticker else f"Price,{fields}\nTicker,{owners}\n"
    blank = "," * len(pairs)
    write(tmp_path, f"{head}Date{blank}\n2024-01-05,{friday}\n2024-01-06,{saturday}\n")
    files = provider(tmp_path, "KO", {"code": "BTC-USD", "asset_class": "crypto"}, preset="yfinance")
    # A Saturday on which only the coin trades is no line of the share.
    assert bars(fetch(files)) == [("01-05", "2.0")]
    coin = asyncio.run(files.fetch_bars(Symbol.crypto("BTC-USD"), ALWAYS, Resolution.DAY))
    assert bars(coin) == [("01-05", "2000.0"), ("01-06", "2000.0")]


def test_a_frame_without_any_instrument_of_ours_keeps_its_columns(tmp_path: Path) -> None:
    write(tmp_path, f"Ticker,timestamp,{OHLCV}\n")
    frame = fetch(provider(tmp_path, columns={"symbol": "Ticker"})).frame
    assert frame.is_empty()
    assert frame.schema["timestamp"] == pl.Datetime("us", "UTC")
