"""Questions about the lake rather than about prices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gb_pipeline import BarRules, DamagedLog, Lake, UnknownSeries
from gb_pipeline.lake import ledger
from gb_pipeline.market.resolution import Resolution


@pytest.fixture
def filled(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"] * 1440)
    write("sim", "BTC-USD", "2024-01-03", ["1"] * 1000)
    write("sim", "BTC-USD", "2024-01-04", ["1"] * 10 + ["-1"], rules=BarRules(max_bad_fraction=1.0))
    write("yahoo", "AAPL", "2024-01-02", ["1", "2"], resolution="1d", days=2, rules=BarRules(resolution=Resolution.DAY))
    return lake


def test_coverage_has_one_row_per_session(filled):
    rows = filled.coverage("sim", "BTC-USD", "1m")
    assert rows.select("actual", "missing", "status", "quarantined").rows() == [
        (1440, 0, "complete", 0), (1000, 440, "partial", 0), (10, 1430, "partial", 1),
    ]  # fmt: skip
    assert filled.coverage(start="2024-01-03", end="2024-01-04")["symbol"].to_list() == ["BTC-USD", "AAPL"]
    assert filled.coverage(start="2024-01-03T12:00:00Z", end="2024-01-03T13:00:00Z").height == 2
    assert filled.coverage().height == 5


def test_gaps_have_reasons(filled):
    gap = filled.gaps("sim", start="2024-01-03", end="2024-01-04").row(0, named=True)
    assert (gap["missing"], gap["reason"]) == (440, "unknown")
    assert str(gap["start"]) == "2024-01-03 16:40:00+00:00"
    assert str(gap["end"]) == "2024-01-04 00:00:00+00:00"


def test_symbols_counts_every_series(filled):
    rows = {row["symbol"]: row for row in filled.symbols().iter_rows(named=True)}
    assert rows["BTC-USD"]["record_count"] == 2450
    assert rows["AAPL"]["record_count"] == 2
    folder = filled.store.storage.root / rows["BTC-USD"]["file_path"]
    assert rows["BTC-USD"]["bytes"] == sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    everything = filled.symbols()
    for source in ("yahoo", "sim", "nobody", None):
        for resolution in ("1m", "1d", None):
            wanted = [pl.col("source") == source] if source else []
            wanted += [pl.col("resolution") == resolution] if resolution else []
            assert_frame_equal(filled.symbols(source, resolution), everything.filter(pl.lit(True), *wanted))
    assert filled.symbols("yahoo")["symbol"].to_list() == ["AAPL"]
    assert filled.symbols(resolution="1m")["symbol"].to_list() == ["BTC-USD"]


def test_quarantine_and_restatements_can_be_asked_for(filled, write):
    assert "price_not_positive" in filled.quarantine("sim", "BTC-USD")["reasons"].item()
    assert filled.restatements().is_empty()
    write("sim", "BTC-USD", "2024-01-02", ["2"] + ["1"] * 1439)
    row = filled.restatements("sim", "BTC-USD", "1m", "2024-01-02", "2024-01-03").row(0, named=True)
    assert (row["old_close"], row["new_close"]) == (1, 2)


def test_what_a_vendor_no_longer_returns_can_be_asked_for(filled, write):
    assert filled.withdrawn().is_empty()
    write("sim", "BTC-USD", "2024-01-03", ["1"] * 998)
    gone = filled.withdrawn("sim", "BTC-USD", "1m")
    assert [f"{stamp:%H:%M}" for stamp in gone["timestamp"]] == ["16:38", "16:39"]
    assert gone.schema["close"] == pl.Decimal(38, 18)
    assert filled.withdrawn(start="2024-01-04").is_empty()
    row = filled.coverage("sim", "BTC-USD", start="2024-01-03", end="2024-01-04").row(0, named=True)
    assert (row["actual"], row["withdrawn"]) == (1000, 2)
    assert filled.withdrawn(as_of=gone["withdrawn_at"][0] - timedelta(microseconds=1)).is_empty()
    read = filled.bars("BTC-USD", "1m", "2024-01-03", "2024-01-04", columns=["timestamp", "withdrawn"])
    assert read.height == 1000, "it is kept and read like any other"
    assert read.filter("withdrawn")["timestamp"].to_list() == gone["timestamp"].to_list()
    write("sim", "BTC-USD", "2024-01-03", ["1"] * 1000)
    assert filled.withdrawn("sim", "BTC-USD").is_empty()


def test_a_late_answer_is_found_among_the_refused_rows(filled, write):
    earlier = datetime(2024, 2, 1, tzinfo=UTC)
    report = write("sim", "BTC-USD", "2024-01-02", ["2"] + ["1"] * 1439, fetched_at=earlier)
    assert (report.late, report.restated) == (1, 0)
    assert filled.restatements("sim", "BTC-USD").is_empty()
    late = filled.quarantine("sim", "BTC-USD", "1m", "2024-01-02", "2024-01-03").row(0, named=True)
    assert (late["reasons"], f"{late['timestamp']:%H:%M}") == (["fetched_before_stored"], "00:00")
    assert "period" not in late


def test_an_unknown_name_is_never_answered_with_nothing(filled):
    for ask in (filled.coverage, filled.gaps, filled.restatements, filled.withdrawn, filled.quarantine):
        with pytest.raises(UnknownSeries, match="did you mean BTC-USD"):
            ask(symbols="btcusd")
        with pytest.raises(UnknownSeries, match="its sources: sim, yahoo"):
            ask(source="nobody")
    assert filled.coverage(symbols="BTC-USD", start="2030-01-01").is_empty()


def test_no_bar_file_is_opened(filled):
    for file in Path(filled.store.storage.root).glob("lake/bars_*/**/*.parquet"):
        file.write_bytes(b"gone")
    assert filled.coverage().height == 5
    assert filled.gaps().height == 2
    assert filled.symbols().height == 2
    assert filled.quarantine().height == 1
    with pytest.raises(UnknownSeries):
        filled.coverage(symbols="NOPE")


def test_an_empty_lake_has_no_sessions(lake):
    assert lake.coverage().is_empty() and lake.gaps().is_empty() and lake.symbols().is_empty()
    assert lake.restatements().is_empty() and lake.withdrawn().is_empty() and lake.quarantine().is_empty()
    with pytest.raises(UnknownSeries, match="the lake is empty"):
        lake.coverage("sim", "BTC-USD")


def test_a_damaged_table_of_bars_is_named_by_what_it_may_tell_of_and_every_other_resolution_is_served(lake, write):
    """The newest entry of a table of bars carries what the ledger has not taken over: sessions of all are not known without it."""
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    write("sim", "BTC-USD", "2024-01-02", ["1"], resolution="1h")
    root = lake.store.storage.root
    for entry in root.glob("lake/bars_1h/_delta_log/*.json"):
        entry.write_bytes(b"{")
    damaged = Lake.open(root)
    for read in (damaged.coverage, damaged.gaps):
        for resolution in (None, "1h"):
            with pytest.raises(DamagedLog, match="bars_1h"):
                read(resolution=resolution)
        assert set(read(resolution="1m")["resolution"]) == {"1m"}


def test_nothing_is_known_of_sessions_whose_ledger_is_damaged(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    ledger.take_over_all(lake.store.tables)
    root = lake.store.storage.root
    for entry in root.glob("lake/sessions/_delta_log/*.json"):
        entry.write_bytes(b"{")
    with pytest.raises(DamagedLog, match="table sessions"):
        Lake.open(root).coverage()
