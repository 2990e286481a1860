"""What a folder lists: names of files read backwards, and never a symbol whose file could not be found again."""

from __future__ import annotations

import asyncio
import logging
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.providers.base import Instrument, InstrumentsProvider
from gb_pipeline.providers.csv.provider import CsvProvider


def listed(
    root: Path,
    *,
    asset_class: AssetClass = AssetClass.EQUITY,
    symbols: Sequence[Any] = (),
    resolutions: Sequence[str] = ("1m",),
    **options: Any,
) -> list[Instrument]:
    source = SourceSettings.model_validate(
        {
            "name": "own", "provider": "csv", "asset_class": asset_class, "start": "2024-01-01", "symbols": symbols,
            "resolutions": resolutions, "options": {"root": str(root), "timezone": "UTC", **options},
        }
    )  # fmt: skip
    provider = CsvProvider.from_settings(source)
    assert isinstance(provider, InstrumentsProvider)
    return asyncio.run(provider.instruments())


def codes(found: list[Instrument]) -> list[tuple[str, str]]:
    return [(item.symbol.code, item.vendor) for item in found]


def touch(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("timestamp,open,high,low,close,volume\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "files", "expected"),
    [
        ("{symbol}.csv", ("MSFT.csv", "BRK.B.csv", "notes.txt", ".hidden.csv"), [("BRK.B", "BRK.B"), ("MSFT", "MSFT")]),
        ("{symbol_lower}/{symbol_lower}_1m.csv", ("aapl/aapl_1m.csv", "ibm/ko_1m.csv"), [("AAPL", "AAPL")]),
        ("**/{symbol}_{date}.csv", ("a/b/KO_20240102.csv", "KO_20240103.csv"), [("KO", "KO")]),
        ("{symbol}_{date}.csv", ("KO_20240199.csv",), []),
        ("{resolution}/{symbol}[0-9].csv", ("1m/KO1.csv", "5m/IBM1.csv"), [("KO", "KO")]),
        ("day-?/*-{vendor}-*.csv", ("day-1/x-brk-b-2024.csv",), [("BRK-B", "brk-b")]),
        ("*", ("KO.csv",), []),
    ],
)
def test_symbols_are_read_out_of_the_names_of_files(
    tmp_path: Path, path: str, files: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    touch(tmp_path, *files)
    assert codes(listed(tmp_path, path=path)) == expected


def test_lower_case_names_are_no_symbol_where_the_code_itself_names_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "aapl.csv", "ÄÖ.csv", "KO.csv")
    with caplog.at_level(logging.WARNING):
        assert codes(listed(tmp_path, path="{symbol}.csv")) == [("KO", "KO")]
    assert "names of 2 files say no symbol" in caplog.text


def test_known_spellings_keep_their_codes_and_other_pairs_are_told_by_their_last_letters(tmp_path: Path) -> None:
    touch(tmp_path, "btcusd.csv", "ethusdt.csv", "weird.csv")
    known = [{"code": "BTC-USD"}, {"code": "WEI-RD"}]
    found = listed(tmp_path, asset_class=AssetClass.CRYPTO, symbols=known, path="{ticker}.csv")
    assert codes(found) == [("BTC-USD", "BTC-USD"), ("ETH-USDT", "ethusdt"), ("WEI-RD", "WEI-RD")]


def test_futures_are_read_out_of_archives(tmp_path: Path) -> None:
    folder = tmp_path / "future/cme/minute/es"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "20131007_trade.zip", "w") as archive:
        archive.writestr("20131007_es_minute_trade_201312.csv", "")
        archive.writestr("20131007_es_minute_trade_201403.csv", "")
        archive.writestr("20131007_es_minute_trade_201399.csv", "")
    touch(tmp_path, "future/cme/minute/nq/20131007_trade.zip")
    found = listed(tmp_path, asset_class=AssetClass.FUTURE, preset="lean", lean_market="future/cme")
    assert [item.symbol for item in found] == [Symbol.future("ESH14"), Symbol.future("ESZ13")]


def test_a_file_that_names_nobody_is_that_of_the_only_symbol(tmp_path: Path) -> None:
    touch(tmp_path, "prices.csv")
    assert codes(listed(tmp_path, symbols=["KO"], path="prices.csv")) == [("KO", "KO")]
    assert listed(tmp_path, symbols=["KO"], path="absent.csv") == []
    assert listed(tmp_path / "nowhere", path="{symbol}.csv") == []


def test_a_real_lean_folder(market_data: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "crypto/coinbase").mkdir(parents=True)
    real = market_data("crypto-minute/lean-crypto-coinbase-minute")
    (tmp_path / "crypto/coinbase/minute").symlink_to(real, target_is_directory=True)
    # A folder that is put together of links.
    options = {"preset": "lean", "lean_market": "crypto/coinbase", "follow_links": True}
    found = listed(tmp_path, asset_class=AssetClass.CRYPTO, **options)
    assert codes(found) == [("BTC-USD", "btcusd"), ("ETH-USD", "ethusd")]


def test_files_of_several_are_listed_by_what_they_name(tmp_path: Path) -> None:
    lines = "".join(f"{name},2024-01-02,1,2,1,2,3\n" for name in ("KO", "", "brk b"))
    text = f"Ticker,timestamp,open,high,low,close,volume\n{lines}"
    (tmp_path / "all.csv").write_text(text)
    known = [{"code": "BRK.B", "vendor": "brk b"}]
    found = listed(tmp_path, symbols=known, path="all.csv", resolutions=["1d"], columns={"symbol": "Ticker"})
    assert codes(found) == [("BRK.B", "brk b"), ("KO", "KO")]
    (tmp_path / "close.csv").write_text("Date,KO,PEP\n2024-01-02,1,2\n")
    assert codes(listed(tmp_path, path="{field}.csv", resolutions=["1d"], layout="wide")) == []
    assert codes(listed(tmp_path, path="close.csv", resolutions=["1d"], layout="wide")) == [
        ("KO", "KO"),
        ("PEP", "PEP"),
    ]


CODES = st.from_regex(r"[A-Z0-9](?:[A-Z0-9.-]{0,6}[A-Z0-9])?", fullmatch=True).filter(lambda code: ".." not in code)


@given(code=CODES, template=st.sampled_from(["{symbol}.csv", "x/{symbol}_{date}.csv", "{symbol}/{symbol}-b.csv"]))
def test_whatever_a_template_makes_of_a_code_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, code: str, template: str
) -> None:
    try:
        Symbol.equity(code)
    except Exception:
        return
    root = tmp_path_factory.mktemp("listing")
    touch(root, template.replace("{symbol}", code).replace("{date}", "20240102"))
    assert codes(listed(root, path=template)) == [(code, code)]
