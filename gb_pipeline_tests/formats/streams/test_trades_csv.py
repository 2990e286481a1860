"""CSV files of trades, two real ones among them: what repeats without an id is kept, and what is no trade is not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.streams.importing import import_streams

NOON = 1_704_110_400 * 10**9


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_real_trades_without_ids_are_all_kept_but_the_one_of_nothing(lake, stored, market_data):
    file = market_data("trades/bitstampUSD.csv")
    report = import_streams(lake, "trades-csv", file, source="bitstamp", symbols=["BTC-USD"])
    (stream,) = report.streams
    assert (stream.counts.received, stream.counts.stored, stream.reasons) == (9999, 9998, {"size_not_positive": 1})
    rows = stored("trades")
    lines = [line.split(",") for line in file.read_text().splitlines()]
    wanted = [(int(t) * 10**9, Decimal(p), Decimal(q)) for t, p, q in lines if Decimal(q)]
    assert rows.select("exchange_time", "price", "size").rows() == wanted
    # The known defect of the file: identical lines, which may well be different trades.
    twins = rows.filter(pl.struct("exchange_time", "price", "size").is_duplicated())
    assert twins.height > 1695 and twins.select("exchange_time", "ordinal").is_unique().all()
    again = import_streams(lake, "trades-csv", file, source="bitstamp", symbols=["BTC-USD"])
    assert again.total.unchanged == 9998


def test_mtgox_ids_are_its_times(lake, stored, market_data):
    file = market_data("trades/trades-mgtox-usd-2013-01-01.csv")
    report = import_streams(lake, "trades-csv", file, source="mtgox", symbols=["BTC-USD"])
    assert report.total.stored == 2331
    first = stored("trades").row(0, named=True)
    assert first["exchange_time"] == 1356998659486096000 and first["trade_id"] == "1356998659486096"
    assert (first["price"], first["size"], first["side"]) == (Decimal("13.51001"), Decimal("36.87430786"), "sell")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1704110400.25", NOON + 250_000_000),
        ("1704110400", NOON),
        ("1704110400123", NOON + 123_000_000),
        ("1704110400123456", NOON + 123_456_000),
        ("1704110400123456789", NOON + 123_456_789),
        ("2024-01-01T12:00:00.000000001Z", NOON + 1),
        ("2024-01-01 13:00:00+01:00", NOON),
    ],
)
def test_a_time_is_read_exactly_in_whatever_unit_it_is(lake, stored, tmp_path, text, wanted):
    file = write(tmp_path / "a.csv", f"Timestamp,Price,Amount,Side,ID\n{text},1.5,2,BUY,x1\n")
    import_streams(lake, "trades-csv", file, source="a", symbols=["BTC-USD"])
    (row,) = stored("trades").to_dicts()
    assert (row["exchange_time"], row["side"], row["trade_id"]) == (wanted, "buy", "x1")


def test_times_without_a_zone_need_one(lake, stored, tmp_path):
    file = write(tmp_path / "a.csv", "time,price,size\n2024-01-01 07:00:00,1,1\n")
    report = import_streams(lake, "trades-csv", file, source="a", symbols=["BTC-USD"])
    assert "its times have no zone" in report.errors["a.csv"]
    import_streams(lake, "trades-csv", file, source="a", symbols=["BTC-USD"], timezone="America/New_York")
    assert stored("trades")["exchange_time"].to_list() == [NOON]


def test_files_of_a_folder_are_named_by_their_symbols_and_one_file_needs_its_name(lake, stored, tmp_path):
    write(tmp_path / "in/BTC-USD.csv", "1704110400,1,1\n")
    write(tmp_path / "in/XBTEUR.csv", "1704110400,1,1\n")
    write(tmp_path / "in/notes.csv", "who,what\na,b\n")
    report = import_streams(lake, "trades-csv", tmp_path / "in", source="a", names={"XBTEUR": "BTC-EUR"})
    assert sorted(stored("trades")["symbol"]) == ["BTC-EUR", "BTC-USD"]
    assert report.skipped == {"notes.csv": "its header has no time, price and size"}
    with pytest.raises(ConfigError, match="does not say whose trades it has"):
        import_streams(lake, "trades-csv", tmp_path / "in/BTC-USD.csv", source="b")


def test_times_that_go_back_are_refused_where_rows_have_no_id(lake, tmp_path):
    write(tmp_path / "in/BTC-USD.csv", "1704110400,1,1\n")
    write(tmp_path / "in/BTC-USD.csv.gz", "1704110300,1,1\n")
    report = import_streams(lake, "trades-csv", tmp_path / "in", source="a")
    assert "times of BTC-USD go back" in report.errors["BTC-USD.csv.gz"] and report.total.stored == 1


def test_a_side_that_is_none_is_refused(lake, tmp_path):
    file = write(tmp_path / "a.csv", "time,price,size,side\n1704110400,1,1,up\n1704110400,1,1,\n")
    report = import_streams(lake, "trades-csv", file, source="a", symbols=["BTC-USD"])
    assert report.streams[0].reasons == {"unknown_side": 1} and report.total.stored == 1
