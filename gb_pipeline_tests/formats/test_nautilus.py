"""NautilusTrader's catalogs in the three forms of numbers that they have had, stamped by the close."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.errors import ConfigError, FormatRefused
from gb_pipeline.formats.importing import import_bars
from gb_pipeline.formats.nautilus.numbers import read_column

MINUTES = "AAPL.XNAS-1-MINUTE-LAST-EXTERNAL"
CLOSE = datetime(2024, 1, 2, 14, 31, tzinfo=UTC)


def int64(values):
    return pa.array([int(v.scaleb(9)).to_bytes(8, "little", signed=True) for v in values], pa.binary(8))


def int128(values):
    return pa.array([int(v.scaleb(16)).to_bytes(16, "little", signed=True) for v in values], pa.binary(16))


def decimal128(values):
    return pa.array(values, pa.decimal128(38, 16))


def write(
    catalog: Path, bar_type: str, closes: list[datetime], prices: list[Decimal], encode=int64, folder: str = "bar"
) -> Path:
    """A file as the catalog has it: numbers, two moments, and the type of the bars in the metadata."""
    file = catalog / "data" / folder / bar_type / "part-0.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    stamps = pa.array([int(close.timestamp() * 1_000_000) * 1000 for close in closes], pa.uint64())
    columns = {name: encode(prices) for name in ("open", "high", "low", "close")}
    columns |= {"volume": encode([Decimal(100)] * len(prices)), "ts_event": stamps, "ts_init": stamps}
    table = pa.table(columns).replace_schema_metadata({"bar_type": bar_type, "price_precision": "2"})
    pq.write_table(table, file)
    return file


def write_instrument(catalog: Path, kind: str, **values: str) -> None:
    folder = catalog / "data" / kind / values["id"]
    folder.mkdir(parents=True)
    columns = {name: pa.array([value]).dictionary_encode() for name, value in values.items()}
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


@pytest.mark.parametrize("encode", [int64, int128, decimal128])
def test_every_form_of_numbers_is_exact(lake, tmp_path, encode):
    prices = [Decimal("185.10"), Decimal("0.00000001"), Decimal("42000.12345678")]
    write(tmp_path, MINUTES, [CLOSE + timedelta(minutes=n) for n in range(3)], prices, encode)
    report = import_bars(lake, "nautilus", tmp_path, source="nautilus")
    assert report.total.stored == 3 and report.calendar == "XNYS"
    bars = lake.bars("AAPL", "1m", source="nautilus")
    assert bars["close"].to_list() == prices
    # A minute that closes at 14:31 opened at 14:30.
    assert bars["timestamp"][0] == CLOSE - timedelta(minutes=1)


@given(st.lists(st.integers(-(9 * 10**17), 9 * 10**17), min_size=1, max_size=30))
def test_all_three_forms_agree(integers):
    prices = [Decimal(number).scaleb(-9) for number in integers]
    for encode in (int64, int128, decimal128):
        assert read_column(encode(prices), "a column").to_list() == prices
        assert read_column(encode([Decimal(1), *prices]).slice(1), "a slice").to_list() == prices


def test_days_are_the_sessions_that_they_close_in_also_on_half_days(lake, tmp_path):
    # The usual close, and that of a half day; daylight saving time has begun in between.
    closes = [datetime(2024, 1, 2, 21, tzinfo=UTC), datetime(2024, 7, 3, 17, tzinfo=UTC)]
    write(tmp_path, "AAPL.XNAS-1-DAY-LAST-EXTERNAL", closes, [Decimal(185), Decimal(221)])
    import_bars(lake, "nautilus", tmp_path, source="nautilus")
    stamps = lake.bars("AAPL", "1d", source="nautilus")["timestamp"].dt.date().to_list()
    assert stamps == [date(2024, 1, 2), date(2024, 7, 3)]


def test_bars_that_were_stamped_by_their_open_are_left_where_they_are(lake, tmp_path):
    write(tmp_path, MINUTES, [CLOSE], [Decimal(185)])
    import_bars(lake, "nautilus", tmp_path, source="nautilus", stamp="open")
    assert lake.bars("AAPL", "1m", source="nautilus")["timestamp"][0] == CLOSE


def test_instruments_say_what_kind_they_are_and_pairs_are_spelled_as_such(lake, tmp_path):
    hour = datetime(2024, 1, 1, 1, tzinfo=UTC)
    write(tmp_path, "BTCUSDT.BINANCE-1-HOUR-LAST-EXTERNAL", [hour], [Decimal(42000)], int128)
    write(tmp_path, MINUTES, [CLOSE], [Decimal(185)])
    write_instrument(tmp_path, "currency_pair", id="BTCUSDT.BINANCE", base_currency="BTC", quote_currency="USDT")
    write_instrument(tmp_path, "equity", id="AAPL.XNAS", currency="USD")
    with pytest.raises(ConfigError, match="has instruments of crypto, equity") as caught:
        import_bars(lake, "nautilus", tmp_path, source="nautilus")
    assert "--asset-class crypto" in caught.value.fix
    report = import_bars(lake, "nautilus", tmp_path, source="crypto", asset_class="crypto")
    assert [series.symbol for series in report.series] == ["BTC-USDT"] and report.skipped == {MINUTES: "it is equity"}
    assert lake.bars("BTC-USDT", "1h", source="crypto")["timestamp"][0] == hour - timedelta(hours=1)


def test_the_last_price_is_taken_before_the_bid_and_never_the_ask(lake, tmp_path):
    for price in ("BID", "ASK", "LAST"):
        write(tmp_path, f"AAPL.XNAS-1-MINUTE-{price}-EXTERNAL", [CLOSE], [Decimal(185)])
    write(tmp_path, "MSFT.XNAS-1-MINUTE-BID-EXTERNAL", [CLOSE], [Decimal(370)])
    report = import_bars(lake, "nautilus", tmp_path, source="nautilus")
    assert [series.origin for series in report.series] == [MINUTES, "MSFT.XNAS-1-MINUTE-BID-EXTERNAL"]
    assert len(report.skipped) == 2 and any("bid" in note for note in report.notes)


def test_damaged_files_and_other_folders_are_refused(lake, tmp_path):
    with pytest.raises(FormatRefused, match="has no bars of a NautilusTrader catalog"):
        import_bars(lake, "nautilus", tmp_path, source="nautilus")
    file = write(tmp_path, MINUTES, [CLOSE], [Decimal(185)])
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["close"]), file)
    report = import_bars(lake, "nautilus", tmp_path, source="nautilus")
    assert "it has no column close" in str(report.errors)
    pq.write_table(table.set_column(0, "open", pa.array(["a"])), file)
    assert "column open is string, no price" in str(import_bars(lake, "nautilus", tmp_path, source="nautilus").errors)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(FormatRefused, match=r"part-0.parquet: "):
        import_bars(lake, "nautilus", tmp_path, source="nautilus")
