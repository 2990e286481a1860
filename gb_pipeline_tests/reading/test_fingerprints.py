"""The content of series as one hash, that depends on bars only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from gb_pipeline import DamagedFile, Lake, UnknownSeries
from gb_pipeline.quality.fingerprint import combine
from gb_pipeline_tests.exchanged import exchange

FIRST, LATER = datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 2, tzinfo=UTC)


@pytest.fixture
def filled(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 1440, now=FIRST)
    write("sim", "BTC-USD", "2024-01-03", ["2"] * 1440)
    write("sim", "ETH-USD", "2024-01-02", ["3"] * 1440)
    write("yahoo", "AAPL", "2024-01-02", ["1", "2"], resolution="1d", days=2)
    return lake


def test_each_level_hashes_the_one_below(filled):
    found = filled.fingerprint()
    sessions = filled.coverage().drop_nulls("fingerprint")
    assert found.sessions["fingerprint"].to_list() == sessions["fingerprint"].to_list()
    btc = sessions.filter(symbol="BTC-USD").select("session", "fingerprint")
    [row] = found.series.filter(symbol="BTC-USD").to_dicts()
    assert (row["sessions"], row["bars"], row["fingerprint"]) == (2, 2880, combine(btc))
    names = found.series.select(pl.concat_str("source", "symbol", "resolution", separator=" "), "fingerprint")
    assert found.whole == str(found) == combine(list(names.iter_rows()))
    assert len(found.whole) == 64


def test_it_says_what_is_stored_and_nothing_of_how_it_came_there(filled, tmp_path, received):
    copy = Lake.open(tmp_path / "copy", create=True)
    for symbol, source, resolution in (("AAPL", "yahoo", "1d"), ("ETH-USD", "sim", "1m"), ("BTC-USD", "sim", "1m")):
        rows = filled.bars(symbol, resolution, source=source)
        for part in (rows[1000:], rows[:1000]):
            if part.height:
                copy.put(part, source=source, resolution=resolution)
    assert copy.fingerprint() == filled.fingerprint()
    assert copy.fingerprint("sim") == filled.fingerprint("sim") != filled.fingerprint()
    before = copy.fingerprint()
    for partition in copy.store.compaction_candidates(min_files=2):
        copy.store.compact(partition)
    assert copy.fingerprint(verify=True) == before


def test_no_file_of_bars_is_opened_for_what_the_ledger_knows(filled):
    whole = filled.fingerprint()
    for file in filled.store.storage.root.glob("lake/bars_*/**/*.parquet"):
        file.write_bytes(b"gone")
    assert filled.fingerprint() == whole
    assert filled.fingerprint("sim", start="2024-01-02", end="2024-01-03").series["bars"].to_list() == [1440, 1440]
    with pytest.raises(DamagedFile):
        filled.fingerprint(verify=True)
    with pytest.raises(DamagedFile):
        filled.fingerprint("sim", start="2024-01-02T12:00Z")


def test_the_past_has_the_fingerprint_that_it_had(filled, write):
    before = filled.fingerprint("sim", "BTC-USD")
    write("sim", "BTC-USD", "2024-01-02", ["9"] + ["1"] * 1439, now=LATER)
    assert filled.fingerprint("sim", "BTC-USD") != before
    then = filled.fingerprint("sim", "BTC-USD", as_of=LATER - timedelta(microseconds=1), verify=True)
    assert (then, then.is_proved) == (before, True)
    assert filled.fingerprint("sim", as_of="2024-01-01").whole == ""


def test_a_window_that_cuts_a_session_counts_only_the_bars_in_it(filled, lake, tmp_path):
    found = filled.fingerprint("sim", "BTC-USD", "1m", "2024-01-02T12:00Z", "2024-01-03T00:10Z", verify=True)
    assert found.sessions.select("bars", "first").rows() == [
        (720, datetime(2024, 1, 2, 12, tzinfo=UTC)),
        (10, datetime(2024, 1, 3, tzinfo=UTC)),
    ]
    assert found.is_proved
    copy = Lake.open(tmp_path / "copy", create=True)
    copy.put(filled.bars("BTC-USD", "1m", "2024-01-02T12:00Z", "2024-01-03T00:10Z"), source="sim", resolution="1m")
    assert copy.fingerprint() == found
    whole = filled.fingerprint("sim", "BTC-USD", "1m", "2024-01-02", "2024-01-03")
    assert filled.fingerprint("sim", "BTC-USD", "1m", "2024-01-02", "2024-01-02T23:59:00.000001Z") == whole


def test_bars_that_are_not_as_recorded_are_found(filled):
    noon = datetime(2024, 1, 2, 12, tzinfo=UTC)
    here = (pl.col("symbol") == "BTC-USD") & (pl.col("timestamp") == noon)
    assert exchange(filled.store, pl.col("close") + Decimal("0.01"), where=here) == 1
    assert exchange(filled.store, where=(pl.col("symbol") == "ETH-USD") & (pl.col("timestamp") > noon)) == 719
    assert filled.fingerprint().is_proved, "the ledger is believed unless it is asked otherwise"
    found = filled.fingerprint(verify=True)
    assert found.mismatches.select("symbol", "session", "stored", "problem").rows() == [
        ("BTC-USD", noon.date(), 1440, "its bars are not those that were recorded"),
        ("ETH-USD", noon.date(), 721, "721 bars are stored where 1440 were recorded"),
    ]


def test_unknown_names_are_refused_and_an_empty_lake_has_no_fingerprint(lake, filled, tmp_path):
    with pytest.raises(UnknownSeries, match="did you mean BTC-USD"):
        filled.fingerprint(symbols="btcusd")
    assert Lake.open(tmp_path / "empty", create=True).fingerprint().whole == ""
