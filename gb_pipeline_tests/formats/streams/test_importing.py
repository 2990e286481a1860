"""Imports of trades, quotes and books: every row accounted for, once in the lake, whoever is killed, and whatever is bad."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake, import_bars
from gb_pipeline.errors import ConfigError, FormatRefused, LakeError
from gb_pipeline.formats.streams import text_files
from gb_pipeline.formats.streams.importing import import_streams
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.market.schema import polars_schema
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import append

T0 = 1_704_067_200_000_000
TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"


def write_trades(folder: Path, rows: list[str], name: str = "binance_trades_2024-01-01_BTCUSDT.csv.gz") -> Path:
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / name, "wt", encoding="utf-8") as file:
        file.write("\n".join([TRADES, *rows, ""]))
    return folder / name


def trade(number: int, *, price: str = "42000.1", size: str = "0.5", trade_id: str | None = None) -> str:
    moment = T0 + number * 1000
    return f"binance,BTCUSDT,{moment},{moment + 7},{number if trade_id is None else trade_id},buy,{price},{size}"


GOOD = st.tuples(st.integers(0, 30), st.sampled_from(["1.5", "0.123456789", "42000"]), st.sampled_from(["1", "2.25"]))
ANY = st.one_of(GOOD, st.tuples(st.integers(0, 30), st.sampled_from(["", "x", "-1", "1e-30"]), st.just("1")))


@given(rows=st.lists(ANY, max_size=40), cut=st.integers(1, 7), broken=st.integers(0, 2))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_are_rows_stored_unchanged_quarantined_or_repeated(tmp_path_factory, monkeypatch, rows, cut, broken):
    """Also in parts of any size, and when it is done again; a dry run says so before."""
    folder = tmp_path_factory.mktemp("law")
    ordered = sorted(rows)
    lines = [trade(number, price=price, size=size) for number, price, size in ordered]
    write_trades(folder / "in", [*lines, *["broken,line"] * broken])
    monkeypatch.setattr(text_files, "_BLOCK", 150 * cut)
    lake = Lake.open(folder / "lake", create=True)
    if not rows and not broken:
        return
    planned = import_streams(lake, "tardis", folder / "in", source="t", dry_run=True).total
    done = import_streams(lake, "tardis", folder / "in", source="t").total
    again = import_streams(lake, "tardis", folder / "in", source="t").total
    assert planned == done and done.received == len(rows) + broken
    assert (again.stored, again.unchanged) == (0, done.stored)
    assert (again.quarantined, again.duplicates) == (done.quarantined, done.duplicates)
    tables = lake.store.tables
    held = sum(
        reading.read(lake.store.storage, tables[name].dataset, tables.newest(name).files).height
        for name in ("trades", "trades_wide")
    )
    assert held == done.stored
    assert lake.quarantine().height == done.quarantined


def test_a_repetition_is_one_row_and_a_contradiction_goes_to_quarantine(lake, stored, tmp_path):
    rows = [trade(1), trade(1), trade(1, price="1"), trade(2)]
    report = import_streams(lake, "tardis", write_trades(tmp_path / "in", rows), source="t")
    (stream,) = report.streams
    assert (stream.counts.stored, stream.counts.duplicates, stream.counts.quarantined) == (2, 1, 1)
    assert stream.reasons == {"conflicting_duplicate": 1}
    assert stored("trades")["trade_id"].to_list() == ["1", "2"]


WORK = """
import sys
from gb_pipeline import Lake
from gb_pipeline.formats.streams.importing import import_streams
import_streams(Lake.open(sys.argv[1], create=True), "tardis", sys.argv[2], source="t")
"""
POINTS = [
    "import_written",
    *(
        pytest.param(point, marks=pytest.mark.long)
        for point in (
            "import_begun",
            "file_written:2",
            "entry_written:3",
            "committed:2",
            "committed:3",
            "import_intervals",
        )
    ),
]


@pytest.mark.parametrize("point", POINTS)
def test_an_import_that_was_killed_is_run_again_and_ends_as_if_nothing_had_happened(lake, stored, tmp_path, point):
    folder = tmp_path / "in"
    write_trades(folder, [trade(number) for number in range(20)] + [trade(30, size="0")])
    write_trades(folder, [trade(number) for number in range(40, 60)], "binance_trades_2024-01-02_BTCUSDT.csv.gz")
    killed = subprocess.run(
        [sys.executable, "-c", WORK, tmp_path / "lake", folder],
        env={**os.environ, "GB_FAULT_POINT": point}, cwd=Path(__file__).parents[3], check=False, timeout=120,
    )  # fmt: skip
    assert killed.returncode == -9, "the point was reached"
    report = import_streams(lake, "tardis", folder, source="t")
    assert report.total.stored + report.total.unchanged == 40 == stored("trades").height
    assert stored("trades")["trade_id"].n_unique() == 40 and lake.quarantine().height == 1
    assert stored("watermarks")["through_time"].to_list() == [(T0 + 59_001) * 1000]


def test_a_source_with_other_rows_is_refused_and_other_files_are_another_import(lake, tmp_path):
    import_streams(lake, "tardis", write_trades(tmp_path / "in", [trade(1)]), source="t")
    other = write_trades(tmp_path / "other", [trade(1), trade(2)])
    with pytest.raises(LakeError, match="source t has trades, quotes or books already"):
        import_streams(lake, "tardis", other, source="t", dry_run=True)
    assert import_streams(lake, "tardis", other, source="u").total.stored == 2


def test_part_of_it_may_be_asked_for_and_the_rest_later(lake, stored, tmp_path):
    file = write_trades(tmp_path / "in", [trade(number) for number in range(10)])
    moment = datetime.fromtimestamp((T0 + 4000) / 1e6, UTC)
    assert import_streams(lake, "tardis", file, source="t", end=moment).total.stored == 4
    assert stored("watermarks")["through_time"].max() == (T0 + 3001) * 1000
    rest = import_streams(lake, "tardis", file, source="t").total
    assert (rest.stored, rest.unchanged) == (6, 4)
    assert stored("watermarks")["segment"].to_list() == [0, 1]
    with pytest.raises(ConfigError, match="has no ETH-USDT") as caught:
        import_streams(lake, "tardis", file, source="t", symbols=["ETH-USDT"])
    assert caught.value.fix == "there is BTC-USDT"


def test_a_file_that_breaks_off_keeps_what_lies_before_and_stops_no_other(lake, stored, tmp_path):
    file = write_trades(tmp_path / "in", [trade(number) for number in range(200_000)])
    write_trades(tmp_path / "in", [trade(500_000)], "binance_trades_2024-01-02_BTCUSDT.csv.gz")
    body = file.read_bytes()
    file.write_bytes(body[: len(body) * 3 // 4])
    report = import_streams(lake, "tardis", tmp_path / "in", source="t")
    assert list(report.errors) == [file.name] and not report.whole
    assert "behind" in report.errors[file.name]
    assert 0 < report.total.stored < 200_001 and stored("trades")["trade_id"].to_list()[-1] == "500000"


def test_a_refused_row_is_kept_as_it_was_read_with_its_file_and_number(lake, tmp_path):
    file = write_trades(tmp_path / "in", [trade(1), trade(2, size="none"), "half,a line"])
    import_streams(lake, "tardis", file, source="t")
    rows = lake.quarantine().sort("symbol", descending=True)
    assert rows["resolution"].unique().to_list() == ["trades"]
    assert rows["reasons"].to_list() == [["unreadable_number"], ["broken_line"]]
    assert '"record":1' in rows["row"][0] and '"amount":"none"' in rows["row"][0] and file.name in rows["row"][0]
    assert "half,a line" in rows["row"][1]


def test_rows_say_that_they_come_from_a_file_and_no_evidence_is_invented(lake, stored, tmp_path):
    import_streams(lake, "tardis", write_trades(tmp_path / "in", [trade(1), trade(2)]), source="t")
    rows = stored("trades")
    assert rows["origin"].unique().to_list() == ["file"] and rows["collector"].unique().to_list() == ["file"]
    assert stored("stream_intervals").is_empty()
    (mark,) = stored("watermarks").to_dicts()
    assert mark["through_time"] == (T0 + 2001) * 1000 and mark["dataset"] == "trades"


def test_a_collector_goes_on_where_files_end_and_is_not_held_back_by_them(lake, stored, tmp_path):
    import_streams(lake, "tardis", write_trades(tmp_path / "in", [trade(1), trade(2)]), source="t")
    tables, later = lake.store.tables, 3_600_000_000_000
    heard = stored("trades").drop("known_at", "period").cast(polars_schema(stream_dataset("trades").columns))
    live = heard.with_columns(
        pl.col("timestamp") + timedelta(hours=1), pl.col("exchange_time", "receive_time") + later,
        pl.lit("vps").alias("collector"), pl.lit("stream").alias("origin"), ("9" + pl.col("trade_id")).alias("trade_id"),
    )  # fmt: skip
    append(tables["trades"], live)
    mark = (
        stored("watermarks")
        .drop("known_at", "period")
        .with_columns(
            pl.col("timestamp") + timedelta(hours=1), pl.col("through_time") + later, pl.lit("vps").alias("collector")
        )
    )
    append(tables["watermarks"], mark)
    rows = lake.trades("BTC-USDT", "2024-01-01", "2024-01-02", source="t")
    assert rows["trade_id"].to_list() == ["1", "2", "91", "92"]


def test_bars_and_trades_of_one_source_are_imported_each_by_themselves(lake, tmp_path):
    import_streams(lake, "tardis", write_trades(tmp_path / "in", [trade(1)]), source="t")
    (tmp_path / "candles").mkdir()
    (tmp_path / "candles/BTC_USDT-1h.json").write_text("[[1704067200000,1,1,1,1,1]]", encoding="utf-8")
    for _ in range(2):
        import_bars(lake, "freqtrade", tmp_path / "candles", source="t")
    assert import_streams(lake, "tardis", tmp_path / "in", source="t").total.unchanged == 1


def test_what_is_no_format_of_trades_says_which_are(lake, tmp_path):
    with pytest.raises(ConfigError, match="qlib has no trades, quotes or books") as caught:
        import_streams(lake, "qlib", tmp_path, source="t")
    assert "tardis" in caught.value.fix
    with pytest.raises(FormatRefused, match="has nothing that tardis can be read from"):
        import_streams(lake, "tardis", tmp_path, source="t")
