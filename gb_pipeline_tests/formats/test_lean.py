"""LEAN's data folders: one market at a time, in all its lengths, with splits and dividends out of its factor files."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gb_pipeline.errors import FormatRefused
from gb_pipeline.formats.importing import import_bars
from gb_pipeline.providers.csv.options import CsvOptions


@pytest.fixture
def coinbase(market_data, tmp_path: Path) -> Path:
    """Real minutes and days of Coinbase where LEAN has them, beside another market."""
    data = tmp_path / "Data"
    for real, place in {
        "crypto-minute/lean-crypto-coinbase-minute": "crypto/coinbase/minute",
        "crypto-daily-hourly/lean-crypto-coinbase-daily": "crypto/coinbase/daily",
        "forex-daily-hourly/lean-forex-oanda-daily": "forex/oanda/daily",
    }.items():
        shutil.copytree(market_data(real), data / place)
    return data


@pytest.fixture
def shares(tmp_path: Path) -> Path:
    """A share as LEAN keeps it: ten-thousandths, minutes in milliseconds of New York's day, a split and a dividend."""
    market = tmp_path / "Data" / "equity" / "usa"
    days = "20200828 00:00,4998000,5059200,4988000,4992300,46907479\n20200831 00:00,1275800,1310000,1260000,1290400,225702700\n"
    write_zip(market / "daily" / "aapl.zip", "aapl.csv", days)
    # 09:30 and 15:59 of a winter's day, and of the first day of summer time.
    minutes = "34200000,1291000,1292000,1290000,1291500,1000\n57540000,1291000,1292000,1290000,1291500,500\n"
    for day in ("20200306", "20200309"):
        write_zip(market / "minute" / "aapl" / f"{day}_trade.zip", f"{day}_aapl_minute_trade.csv", minutes)
    write_text(
        market / "factor_files" / "aapl.csv",
        "19980102,0.9980000,0.25,1\n20200206,0.9980000,0.25,325.21\n20200828,1,0.25,499.23\n20501231,1,1,0\n",
    )
    write_text(market / "map_files" / "aapl.csv", "19980102,aapl,Q\n20501231,aapl,Q\n")
    return market


def write_zip(path: Path, member: str, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, text)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_a_market_is_imported_in_all_its_lengths(lake, coinbase):
    report = import_bars(lake, "lean", coinbase / "crypto" / "coinbase", source="coinbase")
    assert [(s.symbol, str(s.resolution), s.counts.stored) for s in report.series] == [
        ("BTC-USD", "1d", 1318), ("BTC-USD", "1m", 6767), ("ETH-USD", "1m", 5329)
    ]  # fmt: skip
    assert report.total.received == report.total.stored == 13_414 and report.calendar == "24/7"
    # A flash crash that is really in the file.
    crash = lake.bars("BTC-USD", "1d", "2017-04-15", "2017-04-16", source="coinbase")
    assert crash["low"].to_list() == [Decimal("0.06")]
    again = import_bars(lake, "lean", coinbase / "crypto" / "coinbase", source="coinbase")
    assert again.total.unchanged == 13_414


def test_several_markets_are_imported_one_by_one(lake, coinbase):
    with pytest.raises(FormatRefused, match="several markets") as caught:
        import_bars(lake, "lean", coinbase, source="all")
    assert "Data/crypto/coinbase" in caught.value.fix and "Data/forex/oanda" in caught.value.fix
    (length,) = {s.resolution for s in import_bars(lake, "lean", coinbase / "forex/oanda/daily", source="fx").series}
    assert str(length) == "1d"


def test_shares_are_ten_thousandths_and_minutes_follow_new_york(lake, shares):
    report = import_bars(lake, "lean", shares, source="lean")
    assert report.total.stored == 6 and report.calendar == "XNYS"
    days = lake.bars("AAPL", "1d", source="lean")
    assert days["close"].to_list() == [Decimal("499.23"), Decimal("129.04")]
    minutes = lake.bars("AAPL", "1m", source="lean")
    assert minutes["timestamp"].to_list() == [
        datetime(2020, 3, 6, 14, 30, tzinfo=UTC),
        datetime(2020, 3, 6, 20, 59, tzinfo=UTC),
        datetime(2020, 3, 9, 13, 30, tzinfo=UTC),
        datetime(2020, 3, 9, 19, 59, tzinfo=UTC),
    ]


def test_factor_files_become_splits_and_dividends(lake, shares):
    report = import_bars(lake, "lean", shares, source="lean")
    assert report.actions is not None and report.actions.new == 2
    split = lake.corporate_actions(kind="split").row(0, named=True)
    assert (split["ex_date"], split["split_to"], split["split_from"]) == (date(2020, 8, 31), Decimal(4), Decimal(1))
    dividends = lake.corporate_actions(kind="cash_dividend").select("ex_date", "amount").rows()
    # 325.21 x (1 - 0.998), in effect on the session behind the row's day.
    assert dividends == [(date(2020, 2, 7), Decimal("0.6504"))]
    assert any("computed from factors" in note for note in report.notes)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("factor_files/aapl.csv", "19980102,1,1\n2020,1,1\n", r"aapl.csv, line 2: '2020' is no date"),
        ("factor_files/aapl.csv", "19980102,one,1\n", r"aapl.csv, line 1: 'one,1' are no factors"),
        ("factor_files/aapl.csv", "19980102,0,1\n", r"aapl.csv, line 1: '0,1' are no factors"),
        ("map_files/aapl.csv", "19980102\n", r"aapl.csv, line 1 has 1 fields, not 2"),
    ],
)
def test_a_damaged_line_is_named(lake, shares, file, text, said):
    write_text(shares / file, text)
    with pytest.raises(FormatRefused, match=said):
        import_bars(lake, "lean", shares, source="lean")


def test_a_zip_that_broke_off_stops_no_other_series(lake, shares):
    whole = (shares / "daily" / "aapl.zip").read_bytes()
    (shares / "daily" / "msft.zip").write_bytes(whole[: len(whole) // 2])
    report = import_bars(lake, "lean", shares, source="lean")
    assert not report.whole and "msft.zip" in str(report.errors)
    assert lake.bars("AAPL", "1d", source="lean").height == 2


@pytest.mark.parametrize(
    ("real", "place", "evenings", "rows"),
    [
        # 6 Sundays of December's contract, 3 and 1 of the next ones, 1 each of two that have nothing else.
        ("futures-daily/lean-future-cme-daily", "future/cme", 12, 203),
        ("forex-daily-hourly/lean-forex-oanda-daily", "forex/oanda", 1240, 7476),
    ],
)
def test_sundays_evening_is_set_aside_and_refuses_no_other_day(
    lake, market_data, tmp_path, real, place, evenings, rows
):
    shutil.copytree(market_data(real), tmp_path / "Data" / place / "daily")
    market = tmp_path / "Data" / place
    preview = import_bars(lake, "lean", market, source="lean", dry_run=True)
    report = import_bars(lake, "lean", market, source="lean")
    total = report.total
    assert (total.received, total.stored, total.quarantined) == (rows, rows - evenings, evenings)
    assert sum((series.reasons for series in report.series), Counter()) == {"part_of_next_session": evenings}
    assert [series.reasons for series in preview.series] == [series.reasons for series in report.series]
    refused = lake.quarantine()
    assert refused.height == evenings and set(refused["timestamp"].dt.weekday()) == {7}
    assert any("--calendar 24/7 stores all of them" in note for note in report.notes)
    # Asked for as days of their own, none is missing.
    whole = import_bars(lake, "lean", market, source="utc", calendar="24/7")
    assert (whole.total.stored, whole.total.quarantined) == (rows, 0)


def test_days_of_a_wrong_calendar_are_still_refused_together(lake, market_data, tmp_path):
    market = tmp_path / "Data/future/cme"
    shutil.copytree(market_data("futures-daily/lean-future-cme-daily"), market / "daily")
    report = import_bars(lake, "lean", market, source="lean", symbols=["ESZ13"], calendar="XNYS")
    assert report.total.stored == 0 and report.series[0].reasons["outside_session"] == 7


def link_out_of_the_folder(path: Path) -> None:
    path.rename(path.parents[4] / "elsewhere.zip")
    path.symlink_to(path.parents[4] / "elsewhere.zip")


def two_members(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other.csv", "20200828 00:00,1,1,1,1,1\n")


def a_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("aapl.csv", "\n" * 20_000_000)


def a_line_of(text: str | bytes):
    return lambda path: write_zip(path, "aapl.csv", text)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (link_out_of_the_folder, "aapl.zip is a link, .* put the file itself in its place"),
        (two_members, "aapl.zip holds 2 files: aapl.csv, other.csv.* LEAN has one file of bars in it"),
        (a_line_of("2020-08-28,1,1,1,1,1\n"), "cannot be read as .* LEAN writes it otherwise"),
        (a_line_of(b"\xff\xfe\xe9\x00\n"), "is not utf-8.* LEAN writes plain text"),
        (a_bomb, "grows to more than .* LEAN cuts its files by day or symbol"),
    ],
    ids=["link", "members", "stamps", "encoding", "bomb"],
)
def test_what_is_wrong_with_a_file_is_said_without_options_of_a_source(lake, shares, damage, said):
    damage(shares / "daily" / "aapl.zip")
    try:
        report = import_bars(lake, "lean", shares, source="lean", resolution="1d")
        (message,) = report.errors.values()
    except FormatRefused as error:
        message = str(error)
    assert re.search(said, message, re.DOTALL), message
    # `fix` is what a user reads: no setting of gb.yaml stands in it.
    fix = message.rpartition("->")[2]
    assert "`" not in fix and not [name for name in CsvOptions.model_fields if re.search(rf"\b{name}\b", fix)]
