"""What is exported and imported again is what the lake held, digit by digit, or a loss that was named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import AssetClass, Lake, Resolution, export_bars, import_bars
from gb_pipeline.formats.registry import writable
from gb_pipeline_tests.formats.exported import members

NUMBERS = ["open", "high", "low", "close", "volume"]
BEGIN = datetime(2024, 3, 30, 23, tzinfo=UTC)


@st.composite
def bars(draw: st.DrawFn, decimals: int) -> pl.DataFrame:
    """Some of the minutes around a clock change and the end of a month."""
    offsets = sorted(draw(st.sets(st.integers(0, 3000), min_size=1, max_size=8)))
    price = st.integers(1, 10**9).map(lambda value: Decimal(value).scaleb(-decimals))
    rows = []
    for offset in offsets:
        low, first, last, high = sorted(draw(st.lists(price, min_size=4, max_size=4)))
        volume = Decimal(draw(st.integers(0, 10**9))).scaleb(-8)
        rows.append([BEGIN + timedelta(minutes=offset), *map(str, (first, high, low, last, volume))])
    return pl.DataFrame(rows, schema=["timestamp", *NUMBERS], orient="row")


CASES = {
    "freqtrade": ("BTC-USDT", AssetClass.CRYPTO, 8, ""),
    "freqtrade-json": ("BTC-USDT", AssetClass.CRYPTO, 8, ""),
    "lean": ("BTC-USDT", AssetClass.CRYPTO, 8, "crypto/one"),
    "nautilus": ("BTC-USDT", AssetClass.CRYPTO, 8, ""),
}


@pytest.mark.parametrize("name", list(CASES))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_goes_out_comes_in_again(tmp_path: Path, name: str, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path, ignore_errors=True)
    symbol, kind, decimals, place = CASES[name]
    lake = Lake.open(tmp_path / "lake", create=True)
    frame = data.draw(bars(decimals))
    lake.put(frame, source="one", symbol=symbol, resolution="1m")
    report = export_bars(
        lake, name, [("one", symbol, Resolution.MINUTE)], tmp_path / "out", asset_classes={"one": kind}, lossy=True
    )
    # Nine digits are a float64.
    assert report.is_exact
    reader = "freqtrade" if name == "freqtrade-json" else name
    import_bars(lake, reader, tmp_path / "out" / place, source="two", asset_class=kind)
    stored = [lake.bars(symbol, "1m", source=source).select("timestamp", *NUMBERS) for source in ("one", "two")]
    assert stored[0].equals(stored[1])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_qlib_gives_back_what_float32_holds_and_names_the_rest(tmp_path: Path, data: st.DataObject) -> None:
    shutil.rmtree(tmp_path, ignore_errors=True)
    lake = Lake.open(tmp_path / "lake", create=True)
    frame = data.draw(bars(4))
    lake.put(frame, source="one", symbol="X", resolution="1m")
    report = export_bars(lake, "qlib", [("one", "X", Resolution.MINUTE)], tmp_path / "out", lossy=True)
    import_bars(lake, "qlib", tmp_path / "out", source="two", calendar="24/7", timezone="UTC")
    before, after = (lake.bars("X", "1m", source=source).select("timestamp", *NUMBERS) for source in ("one", "two"))
    assert before["timestamp"].equals(after["timestamp"])
    changed = sum(int((before[name] != after[name]).sum()) for name in NUMBERS)
    assert changed == report.series[0].changed


# Where the lake holds all that the file did: no quotes of two sides, no trailing zeros.
REAL = {
    "crypto minutes": (
        "crypto-minute/lean-crypto-coinbase-minute", "crypto/coinbase/minute", "BTC-USD 1m", AssetClass.CRYPTO
    ),
    "crypto days": (
        "crypto-daily-hourly/lean-crypto-coinbase-daily", "crypto/coinbase/daily", "BTC-USD 1d", AssetClass.CRYPTO
    ),
    "crypto hours": (
        "crypto-daily-hourly/lean-crypto-binance-hour", "crypto/binance/hour", "BTC-USDT 1h", AssetClass.CRYPTO
    ),
    "future minutes": ("futures-minute/lean-future-cme-minute", "future/cme/minute", "ESZ13 1m", AssetClass.FUTURE),
    "future days": ("futures-daily/lean-future-cme-daily", "future/cme/daily", "ESZ13 1d", AssetClass.FUTURE),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REAL))
def test_real_files_of_lean_come_out_with_the_same_rows(
    lake: Lake, tmp_path: Path, market_data: Callable[[str], Path], name: str
) -> None:
    real, place, series, kind = REAL[name]
    symbol, resolution = series.split()
    source = place.split("/")[1]
    shutil.copytree(market_data(real), tmp_path / "in" / place)
    market = tmp_path / "in" / Path(place).parent
    # LEAN's days of futures are those of UTC, Sundays as well.
    report = import_bars(lake, "lean", market, source=source, asset_class=kind, symbols=[symbol], calendar="24/7")
    assert report.total.received
    stored = [(source, symbol, Resolution(resolution))]
    export_bars(lake, "lean", stored, tmp_path / "out", asset_classes={source: kind})
    written = sorted((tmp_path / "out").rglob("*.zip"))
    assert written
    for path in written:
        original = members(tmp_path / "in" / path.relative_to(tmp_path / "out"))
        for member, text in members(path).items():
            assert text.splitlines() == original[member].splitlines()


def test_bids_of_real_quotes_come_out_as_they_were(
    lake: Lake, tmp_path: Path, market_data: Callable[[str], Path]
) -> None:
    market = tmp_path / "in" / "forex" / "oanda"
    shutil.copytree(market_data("forex-daily-hourly/lean-forex-oanda-daily"), market / "daily")
    import_bars(lake, "lean", market, source="oanda", symbols=["EUR-USD"], calendar="24/7")
    series = [("oanda", "EUR-USD", Resolution.DAY)]
    export_bars(lake, "lean", series, tmp_path / "out", asset_classes={"oanda": AssetClass.FOREX})
    (written,) = members(tmp_path / "out/forex/oanda/daily/eurusd.zip").values()
    (original,) = members(market / "daily" / "eurusd.zip").values()
    bids = {line[:14]: line.split(",")[:6] for line in original.splitlines()}
    rows = [line.split(",") for line in written.splitlines()]
    assert len(rows) == lake.bars("EUR-USD", "1d").height > 1000
    assert all(row[:6] == bids[row[0]] and row[6:] == ["", "", "", "", "0"] for row in rows)


def test_every_format_that_is_written_is_in_a_test_of_it() -> None:
    assert set(writable()) == {*CASES, "csvdir", "qlib", "nautilus"}
