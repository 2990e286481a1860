"""The DuckDB catalog: true to the lake, whole at every moment, and made without opening a file of bars."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gb_pipeline import AssetClass, BarRules, LakeError, LakeStore, Precision, Resolution, SourceSettings
from gb_pipeline.catalog.connection import open_catalog
from gb_pipeline.catalog.projection import catalog_is_stale, in_memory_catalog, refresh_catalog
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.commit import commit
from gb_pipeline_tests.bars import SetClock, at, changed, day, minutes

DAILY = BarRules(resolution=Resolution.DAY)
LENIENT = BarRules(max_bad_fraction=1.0)
WIDE = BarRules(precision=Precision.WIDE)
T1, T2, T3 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    """Two intraday series, one of them with a bad row and a restatement, and two daily series in one file."""
    lake = LakeStore.at(tmp_path / "data", clock=SetClock(T1))
    frame = minutes("2024-01-02")
    lake.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), frame)
    lake.clock.now = T2
    lake.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), changed(frame, 7, volume="9"))
    bad = changed(minutes("2024-01-03", 100, symbol="ETH-USD"), 5, open="-1")
    lake.write_bars("sim", "ETH-USD", Resolution.MINUTE, day("2024-01-03"), bad, rules=LENIENT)
    daily = pl.concat([minutes("2024-01-02", 3, symbol=code, step=86400) for code in ("AAPL", "MSFT")])
    lake.write_bars("yahoo", ["AAPL", "MSFT"], Resolution.DAY, day("2024-01-02", 3), daily, rules=DAILY)
    return lake


def ask(store: LakeStore, query: str) -> list[tuple[object, ...]]:
    connection = open_catalog(store.storage.catalog)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_every_series_is_listed_with_what_is_stored_of_it(store):
    refresh_catalog(store)
    listed = ask(store, 'select source, symbol, resolution, record_count, "start", "end" from symbol_data order by all')
    counted = ask(
        store,
        """select source, symbol, '1m', count(*), min(timestamp), max(timestamp) from bars_1m group by all
           union all select source, symbol, '1d', count(*), min(timestamp), max(timestamp) from bars_1d group by all
           order by all""",
    )
    assert listed == counted
    assert [row[3] for row in listed] == [1440, 99, 3, 3]


def test_the_report_counts_what_the_catalog_says(store):
    report = refresh_catalog(store)
    assert (report.series, report.sessions, report.files, report.rows) == (4, 8, 4, 1440 + 99 + 6)
    listed = [store.storage.root / str(path) for (path,) in ask(store, "select path from files")]
    assert report.bytes == sum(path.stat().st_size for path in listed)
    assert report.unreadable == {} and report.replaced
    assert ask(store, "select is_current, sum(rows) from files group by all order by all") == [(False, 1), (True, 1545)]


def test_coverage_gaps_restatements_and_quarantine_are_there(store):
    refresh_catalog(store)
    assert ask(store, "select actual, missing, status from coverage where symbol = 'ETH-USD'") == [
        (99, 1341, "partial")
    ]
    assert ask(store, "select sum(missing) from gaps where symbol = 'ETH-USD'") == [(1341,)]
    assert ask(store, "select count(*) from restatements where new_volume = 9") == [(1,)]
    rows = ask(store, "select symbol, session, rows from quarantine")
    assert {row[:2] for row in rows} == {("ETH-USD", date(2024, 1, 3))}
    assert ask(store, "select count(*) from fetches") == [(0,)]


def test_the_key_of_a_series_is_unique(store):
    refresh_catalog(store)
    keys = ask(store, "select constraint_column_names from duckdb_constraints() where constraint_type = 'PRIMARY KEY'")
    assert keys == [(["source", "symbol", "resolution"],)]


def test_any_duckdb_client_opens_it_and_reads_bars(store, tmp_path):
    refresh_catalog(store)
    question = "select count(*), min(symbol), sum(volume = 9) from bars_1m where symbol = 'BTC-USD'"
    assert plain_client(store, question) == "[(1440, 'BTC-USD', 1)]"


def plain_client(store: LakeStore, question: str) -> str:
    """What a program answers that knows nothing of the lake but its file."""
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); c.execute(\"set timezone = 'UTC'\");"
        "print(c.execute(sys.argv[2]).fetchall())"
    )
    command = [sys.executable, "-c", code, store.storage.catalog, question]
    done = subprocess.run(command, cwd=store.storage.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_any_duckdb_client_knows_every_version(store):
    refresh_catalog(store)
    here = "symbol = 'BTC-USD' and timestamp = '2024-01-02 00:07:00+00'"
    moments = "strftime(known_at, '%m-%d'), strftime(superseded_at, '%m-%d')"
    history = f"select volume::varchar, {moments} from bars_1m_history where {here} order by known_at"
    assert plain_client(store, history) == "[('1.00007000', '02-01', '02-02'), ('9.00000000', '02-02', None)]"
    found = "select symbol, resolution, old_volume::double, new_volume::double, delay from restatements"
    assert plain_client(store, found) == "[('BTC-USD', '1m', 1.00007, 9.0, 86400000000)]"
    for moment, volume in (("2024-01-31", None), ("2024-02-01", "1.00007000"), ("2024-02-02", "9.00000000")):
        then = (
            f"select max(volume)::varchar, max(superseded_at) from bars_1m_as_of('{moment} 00:00:00+00') where {here}"
        )
        assert plain_client(store, then) == f"[({volume!r}, None)]"
    assert plain_client(store, "select count(*) from bars_1m_as_of(now()) where source = 'sim'") == "[(1539,)]"


def test_columns_have_their_declared_types(store):
    refresh_catalog(store)
    kinds = dict(ask(store, "select column_name, data_type from duckdb_columns() where table_name = 'bars_1m'"))
    assert kinds["source"] == kinds["symbol"] == "VARCHAR"
    assert kinds["timestamp"] == "TIMESTAMP WITH TIME ZONE"
    assert kinds["close"] == "DECIMAL(18,8)"
    assert "period" not in kinds and "is_current" not in kinds, "how files lie is no question of a reader"


def test_exchange_and_asset_class_come_from_the_settings_and_are_kept(store):
    assert refresh_catalog(store) and ask(store, "select distinct exchange, asset_class from symbol_data") == [
        ("", None)
    ]
    symbols = [{"code": "BTC-USD", "exchange": "SIMX"}, "ETH-USD"]
    sim = SourceSettings(
        name="sim", provider="ccxt", asset_class=AssetClass.CRYPTO, start=date(2024, 1, 1), symbols=symbols
    )
    refresh_catalog(store, {"sim": sim})
    expected = [("BTC-USD", "SIMX", "crypto"), ("ETH-USD", "", "crypto")]
    query = "select symbol, exchange, asset_class from symbol_data where asset_class is not null order by symbol"
    assert ask(store, query) == expected
    refresh_catalog(store)
    assert ask(store, query) == expected, "a refresh that does not know the settings keeps what the last one knew"


def test_it_is_stale_exactly_when_the_lake_has_moved_on(store):
    assert catalog_is_stale(store)
    refresh_catalog(store)
    assert not catalog_is_stale(store)
    assert not catalog_is_stale(LakeStore.at(store.storage.root))
    same = changed(minutes("2024-01-02"), 7, volume="9")
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), same)
    assert not catalog_is_stale(store), "nothing was committed"
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-05"), minutes("2024-01-05"))
    assert catalog_is_stale(store)


def test_a_lake_that_was_moved_or_copied_has_a_stale_catalog(store, tmp_path):
    refresh_catalog(store)
    shutil.copytree(store.storage.root, tmp_path / "copy")
    copy = LakeStore.at(tmp_path / "copy")
    assert catalog_is_stale(copy)
    refresh_catalog(copy)
    shutil.rmtree(store.storage.root)
    assert ask(copy, "select count(*) from bars_1m") == [(1539,)]


def test_a_lake_that_was_made_anew_in_the_same_place_has_a_stale_catalog(store):
    def fill(symbol: str) -> LakeStore:
        for folder in ("lake", "log"):
            shutil.rmtree(store.storage.root / folder)
        anew = LakeStore.at(store.storage.root)
        anew.write_bars("sim", symbol, Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", symbol=symbol))
        return anew

    first = fill("BTC-USD")
    made = refresh_catalog(first)
    second = fill("ETH-USD")
    assert catalog_is_stale(second), "although every table has the version that it had before"
    assert refresh_catalog(second).versions == made.versions
    assert ask(second, "select symbol from symbol_data") == [("ETH-USD",)]


def test_an_empty_lake_has_an_empty_catalog(tmp_path):
    store = LakeStore.at(tmp_path / "new")
    assert refresh_catalog(store).series == 0
    assert not catalog_is_stale(store)
    assert ask(store, "select * from coverage") == []


def test_a_table_without_a_file_is_an_empty_view_with_its_columns(tmp_path):
    store = LakeStore.at(tmp_path)
    for precision in Precision:
        rules = BarRules(precision=precision)
        one = minutes("2024-01-02", 1)
        store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), one, rules=rules)
        table = store.tables[bars_dataset(Resolution.MINUTE, precision).name]
        commit(table, lambda draft: draft.remove(draft.base.files))
    refresh_catalog(store)
    for view, kind in {"bars_1m": "DECIMAL(18,8)", "bars_1m_wide": "DECIMAL(38,18)"}.items():
        assert ask(store, f"select count(*) from {view} where symbol = 'BTC-USD'") == [(0,)]
        assert ask(
            store, f"select data_type from duckdb_columns() where table_name = '{view}' and column_name = 'open'"
        ) == [(kind,)]


def test_the_view_of_a_resolution_unites_both_precisions(store):
    store.clock.now = T3
    small = changed(changed(minutes("2024-01-02"), 7, volume="9"), 3, volume="0.000000000000000001")
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), small, rules=WIDE)
    refresh_catalog(store)
    query = "select count(*), count(distinct timestamp), min(volume)::varchar from {} where symbol = 'BTC-USD'"
    assert ask(store, query.format("bars_1m")) == [(1440, 1440, "0.000000000000000001")]
    assert ask(store, "select record_count from symbol_data where symbol = 'BTC-USD'") == [(1440,)]
    assert ask(store, "select count(*) from bars_1m where symbol = 'ETH-USD'") == [(99,)]
    here = "where symbol = 'BTC-USD' and timestamp = '2024-01-02 00:03:00+00'"
    lived = ask(store, f"select known_at, superseded_at from bars_1m_history {here} order by known_at")
    assert lived == [(T1, T3), (T3, None)], "a standard row ends when a wide one takes its place"
    restated = ask(store, "select new_volume, replaced_at from restatements order by replaced_at")
    assert restated == [(Decimal(9), T2), (Decimal("1E-18"), T3)]
    then = f"select max(volume), count(*) from bars_1m_as_of('2024-02-02 12:00:00+00') {here}"
    assert ask(store, then) == [(Decimal("1.00003"), 1)]


def test_no_bar_file_is_read_to_build_it(store):
    for file in _bar_files(store):
        file.write_bytes(b"PAR1 no longer")
    report = refresh_catalog(store)
    assert (report.series, report.sessions, report.rows) == (4, 8, 1545)
    assert {"bars_1m", "bars_1d"} <= set(report.unreadable)
    assert ask(store, "select count(*) from coverage") == [(8,)]


def test_a_path_with_quotes_and_spaces_is_no_problem(tmp_path):
    store = LakeStore.at(tmp_path / 'it\'s "my" lake; drop table')
    store.write_bars("sim", "BRK.B", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", 10, symbol="BRK.B"))
    refresh_catalog(store)
    assert ask(store, "select count(*), min(symbol) from bars_1m") == [(10, "BRK.B")]


def test_a_missing_or_broken_catalog_is_said_to_be_so(tmp_path):
    with pytest.raises(LakeError, match="there is no catalog"):
        open_catalog(tmp_path / "catalog.duckdb")
    (tmp_path / "catalog.duckdb").write_bytes(b"x" * 10_000)
    with pytest.raises(LakeError, match="cannot be opened"):
        open_catalog(tmp_path / "catalog.duckdb")


def test_a_reader_keeps_what_it_has_open_and_the_next_one_sees_the_new(store):
    refresh_catalog(store)
    before = open_catalog(store.storage.catalog)
    store.write_bars("sim", "SOL-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", symbol="SOL-USD"))
    refresh_catalog(store)
    after = open_catalog(store.storage.catalog)
    count = "select count(*) from symbol_data"
    assert (before.execute(count).fetchone(), after.execute(count).fetchone()) == ((4,), (5,))
    before.close()
    after.close()


def test_it_cannot_be_written_to(store):
    refresh_catalog(store)
    connection = open_catalog(store.storage.catalog)
    with pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("delete from coverage")
    connection.close()


REFRESH = """
import sys
from gb_pipeline import LakeStore
from gb_pipeline.catalog.projection import refresh_catalog
for _ in range(5):
    refresh_catalog(LakeStore.at(sys.argv[1]))
"""


def test_several_processes_may_refresh_at_once_and_no_reader_meets_half_a_catalog(store):
    refresh_catalog(store)
    builders = [subprocess.Popen([sys.executable, "-c", REFRESH, store.storage.root]) for _ in range(3)]
    reads = 0
    while any(builder.poll() is None for builder in builders):
        assert ask(store, "select (select count(*) from symbol_data), (select count(*) from coverage)") == [(4, 8)]
        reads += 1
    assert [builder.wait() for builder in builders] == [0, 0, 0]
    assert reads
    assert not catalog_is_stale(store)
    assert {path.name for path in store.storage.root.iterdir()} == {
        "catalog.duckdb",
        "gb_lake.json",
        "lake",
        "log",
        "state",
    }


def test_what_a_killed_build_left_behind_is_removed_later(store):
    old, young = (store.storage.root / f".catalog.duckdb.{name}" for name in ("old", "young"))
    for leftover in (old, young):
        leftover.write_bytes(b"half a catalog")
    os.utime(old, (time.time() - 7200,) * 2)
    refresh_catalog(store)
    assert not old.exists()
    assert young.exists(), "its builder may still be at work"


def _bar_files(store: LakeStore) -> list[Path]:
    return list(store.storage.root.glob("lake/bars_*/**/*.parquet"))


@pytest.mark.parametrize("ledger", ["quarantine", "sessions"])
def test_a_damaged_ledger_hides_nothing_else_and_says_why_it_is_not_known(store, ledger):
    refresh_catalog(store)
    (file, *_) = (store.storage.root / "lake" / ledger).rglob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    damaged = LakeStore.at(store.storage.root)
    report = refresh_catalog(damaged)
    lost = {"quarantine": {"quarantine"}, "sessions": {"symbol_data", "coverage", "gaps"}}[ledger]
    assert set(report.unreadable) == lost
    assert ask(damaged, "select count(*) from bars_1m where symbol = 'BTC-USD'") == [(1440,)]
    for name in lost:
        with pytest.raises(duckdb.Error, match=file.name):
            ask(damaged, f"select * from {name} where source = 'sim'")
    assert catalog_is_stale(damaged), "whoever asks next tries again"
    file.write_bytes(whole)
    assert refresh_catalog(damaged).unreadable == {}
    assert not catalog_is_stale(damaged)


def test_a_table_whose_log_is_damaged_says_so_and_the_others_are_there(store):
    entry = store.storage.root / "lake" / "bars_1m" / "_delta_log" / f"{0:020}.json"
    entry.write_bytes(b"")
    report = refresh_catalog(LakeStore.at(store.storage.root))
    assert "bars_1m" in report.unreadable
    with pytest.raises(duckdb.Error, match="bars_1m"):
        ask(store, "select count(*) from bars_1m where close > 0")
    assert ask(store, "select count(*) from bars_1d") == [(6,)]


def test_a_folder_that_nobody_may_write_to_is_described_in_memory(store):
    # A file stands where the folder for locks would be made: not even root may.
    blocked = store.storage.root / "blocked"
    blocked.write_text("", encoding="utf-8")
    reader = LakeStore(Storage(store.storage.root, blocked / "state"))
    with closing(in_memory_catalog(reader)) as connection:
        assert connection.execute("select count(*) from coverage").fetchall() == [(8,)]
        assert connection.execute("select count(*) from bars_1m where source = 'sim'").fetchall() == [(1539,)]
