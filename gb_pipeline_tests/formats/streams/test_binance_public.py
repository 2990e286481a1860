"""Binance's public zips: with and without a header, milliseconds and microseconds, and what their numbers prove."""

from __future__ import annotations

import hashlib
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from gb_pipeline.formats.streams.importing import import_streams

JANUARY = 1_735_689_600_000  # 2025-01-01 in ms
HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"


def write(folder: Path, name: str, lines: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", "\n".join([*lines, ""]))
    return file


def spot(number: int, moment: int, maker: str = "True") -> str:
    return f"{number},94000.01000000,0.00010000,9.40000100,{moment},{maker},True"


def future(number: int, moment: int, maker: str = "true") -> str:
    return f"{number},94000.1,0.002,{number * 10},{number * 10 + 3},{moment},{maker}"


def test_the_switch_to_microseconds_is_told_by_the_numbers_themselves(lake, stored, tmp_path):
    folder = tmp_path / "in"
    write(folder, "BTCUSDT-trades-2024-12-31", [spot(1, JANUARY - 5), spot(2, JANUARY - 1, "False")])
    write(folder, "BTCUSDT-trades-2025-01-01", [spot(3, JANUARY * 1000 + 7), spot(4, JANUARY * 1000 + 9)])
    report = import_streams(lake, "binance-public", folder, source="binance")
    rows = stored("trades")
    assert rows["exchange_time"].to_list() == [
        (JANUARY - 5) * 10**6, (JANUARY - 1) * 10**6, JANUARY * 10**6 + 7000, JANUARY * 10**6 + 9000,
    ]  # fmt: skip
    assert rows["symbol"].unique().to_list() == ["BTC-USDT"]
    # The buyer was the maker: the seller took.
    assert rows["side"].to_list() == ["sell", "buy", "sell", "sell"]
    assert rows["price"][0] == Decimal("94000.01") and report.intervals == {"covered": 1}


def test_numbers_prove_what_is_covered_and_which_trades_are_missing(lake, stored, tmp_path):
    folder = tmp_path / "in"
    days = {"2025-03-01": [1, 2, 3, 4], "2025-03-02": [5, 6, 9, 10, 11]}
    for number, (day, ids) in enumerate(days.items()):
        first = JANUARY + 86_400_000 * (59 + number)
        write(folder, f"BTCUSDT-aggTrades-{day}", [HEADER, *(future(n, first + n * 100) for n in ids)])
    report = import_streams(lake, "binance-public", folder, source="perp")
    assert report.intervals == {"gap": 1, "covered": 2} and report.missing == 2
    rows = stored("stream_intervals").sort("start_time")
    covered, gap, after = rows.to_dicts()
    assert rows["symbol"].unique().to_list() == ["BTC-USDT-PERP"] and rows["collector"].unique().to_list() == ["file"]
    assert (covered["first_sequence"], covered["last_sequence"], covered["rows"]) == (1, 6, 6)
    assert (gap["first_sequence"], gap["last_sequence"], gap["missing"], gap["reason"]) == (7, 8, 2, "sequence")
    assert (after["first_sequence"], after["last_sequence"]) == (9, 11)
    trades = stored("trades")["exchange_time"]
    # Trades of the very first and last millisecond may be on other days: nothing is said of them.
    assert covered["start_time"] == trades[0] + 10**6 and covered["end_time"] == gap["start_time"] == trades[5]
    assert after["end_time"] == trades[-1]
    again = import_streams(lake, "binance-public", folder, source="perp")
    assert again.total.stored == 0 and stored("stream_intervals").height == 3


def test_trades_are_not_stored_twice_from_days_and_their_month_nor_aggregated_and_single(lake, tmp_path):
    folder = tmp_path / "in"
    write(folder, "BTCUSDT-trades-2024-12", [spot(1, JANUARY - 5)])
    write(folder, "BTCUSDT-trades-2024-12-31", [spot(1, JANUARY - 5)])
    write(folder, "BTCUSDT-aggTrades-2024-12-31", [f"1,94000.01,0.0001,1,1,{JANUARY - 5},True,True"])
    report = import_streams(lake, "binance-public", folder, source="binance")
    assert report.total.received == report.total.stored == 1
    assert report.skipped == {
        "BTCUSDT-trades-2024-12-31.zip": "there is a file of the whole month",
        "BTCUSDT-aggTrades-2024-12-31.zip": "there are single trades; import it under another source",
    }


def test_book_tickers_are_quotes_with_their_number(lake, stored, tmp_path):
    header = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"
    moments = [JANUARY, JANUARY, JANUARY + 1]
    lines = [header, *(f"{n},1.1,2,1.2,3,{moment},{moment + 5}" for n, moment in enumerate(moments))]
    write(tmp_path / "in", "BTCUSD_PERP-bookTicker-2025-01-01", lines)
    import_streams(lake, "binance-public", tmp_path / "in", source="binance")
    rows = stored("quotes")
    assert rows["symbol"].unique().to_list() == ["BTC-USD-PERP"]
    assert rows["sequence"].to_list() == [0, 1, 2] and rows["ordinal"].to_list() == [0, 1, 0]


def test_a_file_that_is_not_what_its_checksum_says_is_refused(lake, tmp_path):
    good = write(tmp_path / "in", "BTCUSDT-trades-2024-12-30", [spot(1, JANUARY - 5)])
    bad = write(tmp_path / "in", "BTCUSDT-trades-2024-12-31", [spot(2, JANUARY - 4)])
    for file, body in ((good, good.read_bytes()), (bad, b"another")):
        digest = hashlib.sha256(body).hexdigest()
        file.with_name(f"{file.name}.CHECKSUM").write_text(f"{digest}  {file.name}\n", encoding="utf-8")
    report = import_streams(lake, "binance-public", tmp_path / "in", source="binance")
    assert list(report.errors) == [bad.name] and report.total.stored == 1


@pytest.mark.parametrize("moment", ["", "x", "99999999999999999"])
def test_times_that_are_none_are_refused_with_their_line(lake, tmp_path, moment):
    write(tmp_path / "in", "BTCUSDT-trades-2024-12-31", [spot(1, JANUARY), f"2,1,1,1,{moment},True,True"])
    report = import_streams(lake, "binance-public", tmp_path / "in", source="binance")
    assert report.streams[0].reasons == {"unreadable_timestamp": 1} and report.total.stored == 1
