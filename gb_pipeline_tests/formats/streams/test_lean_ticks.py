"""LEAN's ticks: real quotes of Oanda, and trades of crypto as LEAN writes them."""

from __future__ import annotations

import shutil
import zipfile
from decimal import Decimal

import pytest

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.streams.importing import import_streams


def test_real_quotes_are_stored_without_sizes(lake, stored, market_data, tmp_path):
    folder = tmp_path / "Data/forex/oanda/tick/eurusd"
    shutil.copytree(market_data("trades/lean-forex-oanda-tick/eurusd"), folder)
    report = import_streams(lake, "lean-ticks", tmp_path / "Data", source="oanda")
    assert report.asset_class == "forex" and report.total.received == report.total.stored == 24179 + 2643
    rows = stored("quotes")
    first = rows.row(0, named=True)
    assert first["symbol"] == "EUR-USD" and first["exchange_time"] == 1398902400 * 10**9 + 292 * 10**6
    assert (first["bid_price"], first["ask_price"], first["bid_size"]) == (Decimal("1.38676"), Decimal("1.38686"), None)
    assert rows["exchange_time"].is_sorted() and (rows["bid_price"] <= rows["ask_price"]).all()


def test_trades_of_crypto_have_sizes_and_no_side(lake, stored, tmp_path):
    folder = tmp_path / "crypto/coinbase/tick/btcusd"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "20240101_trade.zip", "w") as archive:
        archive.writestr("20240101_btcusd_tick_trade.csv", "1,42000.1,0.5\n1,42000.1,0.5\n86400000,1,1\n")
    report = import_streams(lake, "lean-ticks", tmp_path, source="gdax")
    assert report.streams[0].reasons == {"unreadable_timestamp": 1}
    assert stored("trades")["ordinal"].to_list() == [0, 1] and stored("trades")["side"].null_count() == 2


def test_ticks_with_exchanges_and_conditions_are_named_as_left_out(lake, tmp_path):
    folder = tmp_path / "equity/usa/tick/spy"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "20240101_trade.zip", "w") as archive:
        archive.writestr("20240101_spy_trade_tick.csv", "1,4200010,100,P,0,0\n")
    with pytest.raises(FormatRefused, match="equity/usa/tick: its ticks carry exchanges and conditions"):
        import_streams(lake, "lean-ticks", tmp_path, source="spy")
