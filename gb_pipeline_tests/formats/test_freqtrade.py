"""freqtrade's candles, in the four kinds of files that it writes."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.formats.archive import ReadOptions
from gb_pipeline.formats.freqtrade import open_folder
from gb_pipeline.formats.importing import import_bars

ROWS = [
    [1704067200000, 42283.58, 42554.57, 42261.02, 42475.23, 1271.68108],
    [1704070800000, 42475.23, 42775.0, 42431.65, 42613.56, 1196.37856],
    [1704074400000, 42613.57, 42638.41, 42500.0, 42581.1, 685.2198],
]
COLUMNS = ["date", "open", "high", "low", "close", "volume"]


def candles() -> pd.DataFrame:
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    frame["date"] = pd.to_datetime(frame["date"], unit="ms", utc=True)
    return frame


def write(file: Path) -> None:
    """As freqtrade's data handlers do."""
    frame = candles()
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".feather":
        frame.to_feather(file, compression_level=9, compression="lz4")
    elif file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix == ".h5":
        frame.to_hdf(
            file, key="BTC/USDT/ohlcv/tf_1h", mode="a", complevel=9, complib="blosc", format="table", data_columns=True
        )
    else:
        text = json.dumps(ROWS).encode()
        file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)


@pytest.mark.parametrize("suffix", ["feather", "parquet", "json", "json.gz", "h5"])
def test_every_kind_of_file_gives_the_same_bars(lake, tmp_path, suffix):
    write(tmp_path / "binance" / f"BTC_USDT-1h.{suffix}")
    report = import_bars(lake, "freqtrade", tmp_path / "binance", source="binance")
    assert report.whole and report.total.stored == 3 and report.asset_class == "crypto"
    bars = lake.bars("BTC-USDT", "1h", source="binance")
    assert bars["timestamp"].to_list() == [datetime.fromtimestamp(row[0] / 1000, UTC) for row in ROWS]
    for number, name in enumerate(COLUMNS[1:], 1):
        assert bars[name].to_list() == [Decimal(str(row[number])) for row in ROWS]


def test_names_say_the_pair_and_what_is_no_price_is_left_out(lake, tmp_path):
    write(tmp_path / "BTC_USDT-1h.feather")
    write(tmp_path / "futures" / "BTC_USDT_USDT-1h-futures.feather")
    write(tmp_path / "futures" / "BTC_USDT_USDT-1h-mark.feather")
    write(tmp_path / "futures" / "BTC_USDT_USDT-8h-funding_rate.feather")
    write(tmp_path / "BTC_USDT-3d.feather")
    report = import_bars(lake, "freqtrade", tmp_path, source="binance")
    assert [(s.symbol, str(s.resolution)) for s in report.series] == [("BTC-USDT", "1h"), ("BTC-USDT-PERP", "1h")]
    assert set(report.skipped) == {
        "BTC_USDT_USDT-1h-mark.feather", "BTC_USDT_USDT-8h-funding_rate.feather", "BTC_USDT-3d.feather"
    }  # fmt: skip


@given(st.lists(st.decimals("0.00000001", "99999999", places=8), min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_of_json_keep_their_own_digits(tmp_path, prices):
    rows = [
        f"[{1704067200000 + 3600000 * n}, {price:f},{price:f},{price:f},{price:f},1]" for n, price in enumerate(prices)
    ]
    (tmp_path / "ETH_BTC-1h.json").write_text(f"[{','.join(rows)}]", encoding="utf-8")
    (series,) = open_folder(tmp_path, ReadOptions()).series
    (frame,) = series.read()
    assert frame["close"].to_list() == [f"{price:f}" for price in prices]


DAMAGES = {
    "cut.json": (b"[[1704067200000,1,2,1,1.5,3],[17040", "it breaks off behind"),
    "object.json": (b'{"a": 1}', "it breaks off behind"),
    "flat.json": (b"[1704067200000,1,2,1,1.5,3]", "it is no list of rows"),
    "narrow.json": (b"[[1704067200000,1,2,1,1.5]]", "its rows have 5 numbers, not 6"),
    "text.json": (b'[["today",1,2,1,1.5,3]]', "row 1 begins with '\"today\"', no milliseconds"),
    "cut.json.gz": (gzip.compress(json.dumps(ROWS).encode())[:40], "Compressed file ended"),
    "none.feather": (b"ARROW1\0\0 and then nothing", "none-1h.feather: "),
    "none.parquet": (b"PAR1", "none-1h.parquet: "),
    "none.h5": (b"\x89HDF\r\n\x1a\n", "none-1h.h5: "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_and_stops_no_other(lake, tmp_path, name):
    stem, _, suffix = name.partition(".")
    body, said = DAMAGES[name]
    (tmp_path / f"AAA_{stem}-1h.{suffix}").write_bytes(body)
    write(tmp_path / "BTC_USDT-1h.feather")
    report = import_bars(lake, "freqtrade", tmp_path, source="binance")
    assert not report.whole and said in " ".join(report.errors.values())
    assert lake.bars("BTC-USDT", "1h", source="binance").height == 3


def test_columns_that_are_no_bars_are_refused(lake, tmp_path):
    pa.feather.write_feather(pa.table({"date": [1, 2], "price": [1.0, 2.0]}), tmp_path / "BTC_USDT-1h.feather")
    report = import_bars(lake, "freqtrade", tmp_path, source="binance")
    assert "has no column open, high, low, close, volume; there is date, price" in str(report.errors)
