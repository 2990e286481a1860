"""zipline's bundle: every number as it is in the file, rows by their day, and all rows accounted for."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.errors import ConfigError, FormatRefused, LakeError
from gb_pipeline.formats.importing import import_bars
from gb_pipeline_tests.real_data.bcolz_reader import COLUMNS, read_column

# The files' own rows, and those of DELL on holidays of the exchange.
ROWS, ON_HOLIDAYS = 24_646, 20


def as_stored_in_the_file(bundle: Path, sid: int) -> pl.DataFrame:
    """One asset as the integers of the table, read by another reader than the product's."""
    table = bundle / "daily_equities.bcolz"
    attributes = json.loads((table / "__attrs__").read_text(encoding="utf-8"))
    rows = slice(attributes["first_row"][str(sid)], attributes["last_row"][str(sid)] + 1)
    return pl.DataFrame({name: read_column(table, name)[rows].astype("int64") for name in COLUMNS})


def test_prices_are_the_files_integers_digit_by_digit(lake, bundle):
    report = import_bars(lake, "zipline", bundle, source="bundle")
    assert report.whole and report.total.received == ROWS
    assert (report.total.stored, report.total.quarantined) == (ROWS - ON_HOLIDAYS, ON_HOLIDAYS)
    for symbol, sid in {"AAPL": 7, "CERN": 1, "DELL": 3}.items():
        bars = lake.bars(symbol, "1d", source="bundle")
        file = as_stored_in_the_file(bundle, sid)
        file = file.filter(pl.from_epoch("day", time_unit="s").dt.date().is_in(bars["timestamp"].dt.date().implode()))
        assert bars["timestamp"].dt.epoch("s").to_list() == file["day"].to_list()
        for name in ("open", "high", "low", "close"):
            assert (bars[name] * 1000).cast(pl.Int64).to_list() == file[name].to_list()
            assert bars[name][0] == Decimal(file[name][0]) / 1000
        assert bars["volume"].cast(pl.Int64).to_list() == file["volume"].to_list()


def test_rows_are_placed_by_their_day_and_those_on_holidays_are_quarantined(lake, bundle):
    report = import_bars(lake, "zipline", bundle, source="bundle", symbols=["DELL"])
    (dell,) = report.series
    assert dell.reasons == {"outside_session": ON_HOLIDAYS}
    refused = lake.quarantine()
    assert refused.height == ON_HOLIDAYS
    assert date(2012, 10, 29) in refused["timestamp"].dt.date().to_list()
    # Counting sessions would have put every later row twenty days late.
    last = lake.bars("DELL", "1d", source="bundle").row(-1, named=True)
    assert (last["timestamp"].date(), last["close"]) == (date(2013, 10, 29), Decimal("13.86"))


def test_splits_and_dividends_become_corporate_actions(lake, bundle):
    report = import_bars(lake, "zipline", bundle, source="bundle")
    assert report.actions is not None
    assert (report.actions.received, report.actions.new) == (239, 239)
    splits = lake.corporate_actions(kind="split").filter(pl.col("symbol") == "AAPL")
    assert splits.select("ex_date", "split_to", "split_from").rows() == [
        (date(2005, 2, 28), Decimal(2), Decimal(1)),
        (date(2014, 6, 9), Decimal(7), Decimal(1)),
    ]
    dividends = lake.corporate_actions(kind="cash_dividend")
    assert dividends.height == 233 and dividends["pay_date"].null_count() == 233
    assert lake.corporate_actions(kind="delisting").select("symbol", "ex_date").rows() == [("DELL", date(2013, 10, 30))]


def test_imported_prices_can_be_adjusted_at_once_also_those_of_who_never_split(lake, bundle):
    import_bars(lake, "zipline", bundle, source="quandl", symbols=["AAPL", "AMD"])
    traded = lake.bars("AAPL", "1d", "2014-06-06", "2014-06-10", adjustment="none")["close"]
    divided = lake.bars("AAPL", "1d", "2014-06-06", "2014-06-10", adjustment="splits")["close"]
    assert divided.to_list() == [round(traded[0] / 7, 8), traded[1]]
    assert lake.bars("AMD", "1d", adjustment="splits+dividends").height == 2769


def test_a_dry_run_says_what_would_be_stored_and_writes_nothing(lake, bundle):
    preview = import_bars(lake, "zipline", bundle, source="bundle", dry_run=True)
    assert lake.store.storage.exists is False or not any((lake.store.storage.root / "lake").glob("**/*.parquet"))
    report = import_bars(lake, "zipline", bundle, source="bundle")
    assert preview.total == report.total and preview.import_id == report.import_id
    assert [(s.symbol, s.first, s.last, s.reasons) for s in preview.series] == [
        (s.symbol, s.first, s.last, s.reasons) for s in report.series
    ]
    (dell,) = (series for series in preview.series if series.symbol == "DELL")
    assert dell.worst[0]["why"] == "outside_session" and "14.30" in dell.worst[0]["row"]


def test_an_import_that_is_repeated_finds_everything_unchanged(lake, bundle):
    first = import_bars(lake, "zipline", bundle, source="bundle")
    again = import_bars(lake, "zipline", bundle, source="bundle")
    assert (again.total.stored, again.total.unchanged) == (0, first.total.stored)
    assert again.actions is not None and again.actions.unchanged == again.actions.received
    assert lake.quarantine().height == ON_HOLIDAYS


def test_a_source_that_has_other_bars_is_refused(lake, bundle):
    frame = pl.DataFrame({"date": [date(2024, 1, 2)], **dict.fromkeys(("open", "high", "low", "close", "volume"), 1)})
    lake.put(frame, source="bundle", resolution="1d", symbol="AAPL", calendar="XNYS")
    for dry_run in (True, False):
        with pytest.raises(LakeError, match="source bundle has bars already") as caught:
            import_bars(lake, "zipline", bundle, source="bundle", dry_run=dry_run)
    assert "another name" in caught.value.fix
    assert import_bars(lake, "zipline", bundle, source="other", symbols=["AAPL"]).total.stored == 2769


def test_a_part_can_be_imported_and_the_rest_later(lake, bundle):
    some = import_bars(lake, "zipline", bundle, source="bundle", symbols=["AAPL"], start="2010-01-01", end="2011-01-01")
    assert some.total.stored == 252
    all_of_it = import_bars(lake, "zipline", bundle, source="bundle")
    assert (all_of_it.total.unchanged, all_of_it.total.stored) == (252, ROWS - ON_HOLIDAYS - 252)
    assert all_of_it.total.received == ROWS


def cut_a_chunk(bundle):
    path = bundle / "daily_equities.bcolz" / "close" / "data" / "__0.blp"
    path.write_bytes(path.read_bytes()[:-10])


def claim_a_gigabyte(bundle):
    path = bundle / "daily_equities.bcolz" / "close" / "data" / "__0.blp"
    body = bytearray(path.read_bytes())
    body[20:24] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(body)


def garble_a_chunk(bundle):
    path = bundle / "daily_equities.bcolz" / "close" / "data" / "__0.blp"
    path.write_bytes(b"x" * 100)


def shorten_a_column(bundle):
    path = bundle / "daily_equities.bcolz" / "close" / "meta" / "sizes"
    path.write_text(path.read_text(encoding="utf-8").replace("24646", "24000"), encoding="utf-8")


def claim_other_rows(bundle):
    path = bundle / "daily_equities.bcolz" / "__attrs__"
    path.write_text(path.read_text(encoding="utf-8").replace("24645", "99999"), encoding="utf-8")


def break_json(bundle):
    (bundle / "daily_equities.bcolz" / "__attrs__").write_text("{", encoding="utf-8")


def break_assets(bundle):
    (bundle / "assets-7.sqlite").write_bytes(b"SQLite format 3\0" + b"\1" * 500)


def remove_assets(bundle):
    (bundle / "assets-7.sqlite").unlink()


DAMAGES = {
    cut_a_chunk: "__0.blp: it has .* bytes of data and says",
    claim_a_gigabyte: "__0.blp: it unpacks to 2,147,483,647 bytes",
    garble_a_chunk: "__0.blp: it does not begin as a bcolz chunk does",
    shorten_a_column: "its columns have .*24,000 close",
    claim_other_rows: "rows .* to 100,000 were wanted and there are 24,646",
    break_json: "__attrs__: ",
    break_assets: "assets-7.sqlite: ",
    remove_assets: "has no assets-N.sqlite",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_bundle_is_refused_with_the_place(lake, own_bundle, damage):
    damage(own_bundle)
    try:
        report = import_bars(lake, "zipline", own_bundle, source="bundle")
    except FormatRefused as error:
        said = str(error)
    else:
        # What lies before and behind is stored all the same, and nothing wrong of what is damaged.
        said = " ".join(report.errors.values())
        assert not report.whole
    assert re.search(DAMAGES[damage], said)


def test_what_is_no_bundle_is_refused(lake, tmp_path):
    with pytest.raises(FormatRefused, match="is no bundle of zipline"):
        import_bars(lake, "zipline", tmp_path, source="bundle")
    with pytest.raises(ConfigError, match="there is no file or folder"):
        import_bars(lake, "zipline", tmp_path / "absent", source="bundle")
    with pytest.raises(ConfigError, match="there is no format 'ziplin'") as caught:
        import_bars(lake, "ziplin", tmp_path, source="bundle")
    assert "zipline" in caught.value.fix


def test_a_symbol_that_is_not_there_is_named(lake, bundle):
    with pytest.raises(ConfigError, match="has no TSLA") as caught:
        import_bars(lake, "zipline", bundle, source="bundle", symbols=["AAPL", "TSLA"])
    assert "AAPL, AMD" in caught.value.fix
