"""Compaction changes files, never rows, and gives way to writers."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gb_pipeline.errors import CompactionRefused, LakeError
from gb_pipeline.lake import ledger, proofs
from gb_pipeline.lake.fetches import FetchOutcome, FetchRecord
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import BarRules, GapPolicy
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import compaction, parquet
from gb_pipeline.storage.commit import commit, with_known_at
from gb_pipeline.storage.compaction import Comparison, Partition, find_candidates, find_partition
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline_tests.bars import at, changed, day, every_version, minutes, stored

START = at("2024-01-01T00:00")
DAYS = 8
CURRENT = {"source": "sim", "symbol": "BTC-USD", "period": "2024-01", "is_current": True}


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    made = LakeStore.at(tmp_path)
    for number in range(DAYS):
        write_day(made, number)
    return made


def write_day(store: LakeStore, number: int, edition: str = "") -> None:
    start = START + timedelta(days=number)
    frame = minutes(start.replace(tzinfo=None).isoformat()).with_columns(pl.format("{}{}", "volume", pl.lit(edition)))
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, Window(start, start + timedelta(days=1)), frame)


def partition(store: LakeStore, table: str = "bars_1m", **values: Any) -> Partition:
    return find_partition(store.tables, table, {**CURRENT, **values})


def data_files(store: LakeStore) -> set[Path]:
    return set(Path(store.storage.table("bars_1m")).rglob("*.parquet"))


def test_small_files_are_found_in_the_log(store):
    (found,) = [item for item in store.compaction_candidates() if item.table == "bars_1m"]
    assert (found.values, found.files, found.rows) == (CURRENT, DAYS, DAYS * 1440)
    assert str(found) == "bars_1m sim BTC-USD 2024-01"
    assert [item for item in store.compaction_candidates(min_files=9) if item.table == "bars_1m"] == []


def test_a_period_that_has_ended_is_worth_it_sooner_than_one_that_is_still_written(tmp_path):
    store = LakeStore.at(tmp_path)
    for number in range(2):
        write_day(store, number)
    during, afterwards = at("2024-01-20T00:00"), at("2024-02-01T00:00")
    assert [item for item in find_candidates(store.tables, now=during) if item.table == "bars_1m"] == []
    (found,) = [item for item in find_candidates(store.tables, now=afterwards) if item.table == "bars_1m"]
    assert (found.files, found.closed) == (2, True)


def test_one_file_holds_exactly_the_same_rows_afterwards(store):
    before = stored(store)
    (report,) = store.compact(partition(store))
    assert stored(store).equals(before)
    assert (report.partition.files, report.files_after) == (DAYS, 1)
    assert report.bytes_after < report.partition.bytes
    assert [item for item in store.compaction_candidates(min_files=2) if item.table == "bars_1m"] == []


def test_superseded_versions_are_compacted_by_themselves(store):
    for number in range(4):
        write_day(store, number, edition="5")
    before = every_version(store)
    (report,) = store.compact(partition(store, is_current=False))
    assert str(report.partition) == "bars_1m sim BTC-USD 2024-01 superseded"
    assert (report.partition.files, report.files_after, report.partition.rows) == (4, 1, 4 * 1440)
    assert every_version(store).equals(before)


def test_no_moment_moves_and_no_clock(store):
    before = store.tables.newest("bars_1m")
    store.compact(partition(store))
    after = store.tables.newest("bars_1m")
    assert (after.version, after.clock) == (before.version + 1, before.clock)


def test_the_new_file_is_written_like_the_others(store):
    earlier = data_files(store)
    store.compact(partition(store))
    (path,) = data_files(store) - earlier
    columns = duckdb.sql(f"select * from parquet_metadata('{path}')").pl()
    assert set(columns["compression"]) == {"ZSTD"}
    for name, encoding in (("open", "RLE_DICTIONARY"), ("timestamp", "DELTA_BINARY_PACKED")):
        column = columns.filter(pl.col("path_in_schema") == name)
        assert column["type"].unique().to_list() == ["INT64"]
        assert encoding in column["encodings"][0], name
    assert columns["row_group_num_rows"].max() <= parquet.ROW_GROUP_ROWS


def test_compacting_twice_does_nothing(store):
    store.compact(partition(store))
    version = store.tables.newest("bars_1m").version
    (again,) = store.compact(partition(store))
    assert (again.version, again.files_after) == (None, 1)
    assert store.tables.newest("bars_1m").version == version


def test_a_reader_that_opened_before_reads_on(store):
    lazy = pl.scan_delta(store.storage.table("bars_1m"))
    store.compact(partition(store))
    assert lazy.collect().height == DAYS * 1440


def test_a_window_can_be_restated_after_compaction(store):
    store.compact(partition(store))
    write_day(store, 3, edition="5")
    after = stored(store)
    assert after.height == DAYS * 1440
    assert after["timestamp"].is_unique().all()
    assert after["known_at"].n_unique() == DAYS
    assert every_version(store).height == (DAYS + 1) * 1440


def compact_while(store: LakeStore, *writes: tuple[int, str]) -> int:
    """Compact while another machine, which does not see our locks, writes days; how often it had to start."""
    other = LakeStore.at(store.storage.root, state=store.storage.root / "another machine")
    begin, starts = proofs.proof(store.tables), 0

    def prove_while_somebody_writes(dataset: Dataset, files: pl.DataFrame) -> Comparison | None:
        nonlocal starts
        comparison = begin(dataset, files)
        if starts < len(writes):
            write_day(other, *writes[starts])
        starts += 1
        return comparison

    compaction.compact(store.tables, [partition(store)], proof=prove_while_somebody_writes)
    return starts


def test_whoever_changes_the_partition_meanwhile_wins_and_compaction_starts_anew(store):
    assert compact_while(store, (3, "7")) == 2
    after = stored(store)
    assert (after.height, after["timestamp"].is_unique().all()) == (DAYS * 1440, True)
    assert after["known_at"].n_unique() == DAYS
    assert every_version(store).height == (DAYS + 1) * 1440
    assert partition(store).files == 1


def test_days_that_arrive_meanwhile_are_kept(store):
    assert compact_while(store, (20, ""), (21, "")) == 3
    after = stored(store)
    assert (after.height, after["timestamp"].is_unique().all()) == ((DAYS + 2) * 1440, True)
    assert partition(store).files == 1


def test_files_of_an_attempt_that_came_too_late_do_not_stay(store):
    before = data_files(store)
    compact_while(store, (20, ""))
    # One of the day that arrived, one of the compaction.
    assert len(data_files(store) - before) == 2


def test_a_file_that_reads_back_differently_is_refused(store, monkeypatch):
    encode, lossy = parquet.encode, []

    def encode_something_else(dataset: Dataset, table: pa.Table) -> parquet.Encoded:
        lossy.append(table.num_rows)
        place = table.schema.get_field_index("volume")
        return encode(
            dataset,
            table.set_column(
                place, table.schema.field("volume"), pc.add(table["volume"], 1).cast(table["volume"].type)
            ),
        )

    before, files = every_version(store), data_files(store)
    monkeypatch.setattr(parquet, "encode", encode_something_else)
    with pytest.raises(CompactionRefused, match="reads back differently"):
        store.compact(partition(store))
    assert lossy == [DAYS * 1440]
    assert every_version(store).equals(before)
    assert data_files(store) == files


def test_what_is_not_what_the_ledger_recorded_is_not_compacted(store):
    # A file was exchanged for another sound one: every checksum holds, the content is another.
    elsewhere = LakeStore.at(store.storage.root / "elsewhere")
    write_day(elsewhere, 3, edition="9")
    table = store.tables["bars_1m"]
    mine = table.newest().files.filter(pl.col("min.timestamp") == START + timedelta(days=3))
    assert mine["rows"].to_list() == [1440]

    def exchange(draft: Any) -> None:
        draft.advances_clock = False
        draft.remove(mine)
        draft.add(stored(elsewhere).drop("period", "is_current"))

    commit(table, exchange)
    version = table.newest().version
    with pytest.raises(CompactionRefused, match="session 2024-01-04: its bars are not those that were recorded"):
        store.compact(partition(store))
    assert table.newest().version == version


DIES = """
import sys
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.compaction import find_partition
store = LakeStore.at(sys.argv[1])
values = {"source": "sim", "symbol": "BTC-USD", "period": "2024-01", "is_current": True}
store.compact(find_partition(store.tables, "bars_1m", values))
"""


@pytest.mark.parametrize("point", ["before_files", "compacted_file", "entry_written", "committed"])
def test_a_crash_at_any_point_leaves_the_same_rows(store, point):
    before = every_version(store)
    environment = {**os.environ, "GB_FAULT_POINT": point}
    done = subprocess.run([sys.executable, "-c", DIES, store.storage.root], env=environment, check=False)
    assert done.returncode == -9, "the planted fault was not hit"
    assert every_version(store).equals(before)
    (again,) = store.compact(partition(LakeStore.at(store.storage.root)))
    assert again.files_after == 1
    assert every_version(store).equals(before)


def test_daily_bars_of_many_symbols_are_compacted_together(tmp_path):
    store = LakeStore.at(tmp_path)
    for number in range(5):
        start = START + timedelta(days=number)
        frame = pl.concat([minutes(start.replace(tzinfo=None).isoformat(), 1, symbol=code) for code in ("A", "B")])
        window = Window(start, start + timedelta(days=1))
        store.write_bars("sim", ["A", "B"], Resolution.DAY, window, frame, rules=BarRules(Resolution.DAY))
    before = stored(store, "bars_1d")
    (found,) = [item for item in store.compaction_candidates() if item.table == "bars_1d"]
    assert found.values == {"source": "sim", "period": "2024", "is_current": True}
    (report,) = store.compact(found)
    assert (report.partition.files, report.files_after) == (5, 1)
    assert stored(store, "bars_1d").equals(before)


def test_ledgers_are_compacted_like_any_table(store):
    for number in range(5):
        moment = START + timedelta(days=number)
        store.record_fetches(
            [FetchRecord("sim", "BTC-USD", "1m", moment, moment, moment, FetchOutcome.OK, received=number)]
        )
        store.record_failure("sim", ["ETH-USD"], day(f"2024-01-0{number + 1}"), rules=BarRules())
    known = ledger.current(store.tables)
    found = {item.table: item for item in store.compaction_candidates() if item.table in {"fetches", "sessions"}}
    assert (found["fetches"].files, found["sessions"].files >= 5) == (5, True)
    assert [report.files_after for report in store.compact(*found.values())] == [1, 1]
    assert ledger.current(store.tables).equals(known)
    assert pl.read_delta(store.storage.table("fetches"))["received"].sort().to_list() == [0, 1, 2, 3, 4]


def test_partitions_of_one_table_share_a_commit(store):
    for number in range(31, 35):
        write_day(store, number)
    before = every_version(store)
    version = store.tables.newest("bars_1m").version
    found = [item for item in store.compaction_candidates() if item.table == "bars_1m"]
    reports = store.compact(*found)
    assert {(str(report.partition), report.files_after, report.version) for report in reports} == {
        ("bars_1m sim BTC-USD 2024-01", 1, version + 1),
        ("bars_1m sim BTC-USD 2024-02", 1, version + 1),
    }
    assert every_version(store).equals(before)


def test_a_session_that_shares_its_bars_with_the_wide_table_is_proved_out_of_both(tmp_path):
    store = LakeStore.at(tmp_path)
    wide = BarRules(precision=Precision.WIDE)
    finer = pl.lit("0.000000000000000001").alias("volume")
    for number in (1, 2, 3):
        write_day(store, number)
    for number in (1, 2, 3):
        frame = minutes(f"2024-01-0{number + 1}")
        # Of the day in the middle only one bar goes to the wide table.
        few = changed(frame, 700, volume="0.000000000000000001") if number == 2 else frame.with_columns(finer)
        store.write_bars("sim", "BTC-USD", "1m", day(f"2024-01-0{number + 1}"), few, rules=wide)
    assert verify(store).ok
    before = Lake(store).bars("BTC-USD", "1m")
    (report,) = store.compact(partition(store, "bars_1m_wide"))
    assert (report.partition.rows, report.files_after) == (2 * 1440 + 1, 1)
    assert Lake(store).bars("BTC-USD", "1m").equals(before)
    # A row that vanished from the standard table is missed, although its own table is none the wiser.
    table = store.tables["bars_1m"]
    held = table.newest().select(CURRENT).filter(pl.col("min.timestamp") == at("2024-01-03T00:00"))

    def lose(draft: Any) -> None:
        draft.advances_clock = False
        draft.remove(held)
        rows = stored(store).filter(pl.col("timestamp").dt.date() == at("2024-01-03T00:00").date())
        draft.add(rows.drop("period", "is_current")[:1000])

    commit(table, lose)
    (damage,) = verify(store).damages
    assert (damage.table, damage.sessions) == ("bars_1m_wide", (at("2024-01-03T00:00").date(),))
    assert "1000 bars are stored where 1440 were recorded" in damage.rows


def futures(store: LakeStore) -> list[Partition]:
    """Sessions of which the first hour lies on the evening before, some in another month; the partitions that hold them."""
    rules = BarRules(calendar=get_calendar("CMES"), gap_policy=GapPolicy.NO_TRADE, max_bad_fraction=1.0)
    for first, days in ((date(2024, 1, 26), 8), (date(2024, 4, 22), 6)):
        for session in rules.calendar.sessions(first, first + timedelta(days=days)):
            window = rules.calendar.window(session, session + timedelta(days=1), Resolution.MINUTE)
            frame = minutes(window.start.replace(tzinfo=None).isoformat(), 1380, symbol="ESH24")
            store.write_bars("sim", "ESH24", Resolution.MINUTE, window, frame, rules=rules)
    return [item for item in store.compaction_candidates(min_files=2) if item.table == "bars_1m"]


def test_a_session_across_two_periods_is_no_reason_to_refuse_one_of_them(tmp_path):
    store = LakeStore.at(tmp_path)
    found = futures(store)
    assert len(found) > 1
    assert verify(store).ok
    assert {report.files_after for report in store.compact(*found)} == {1}
    assert verify(store).ok


def test_a_session_across_two_periods_is_compared_where_both_are_compacted(tmp_path):
    store = LakeStore.at(tmp_path)
    january, february = sorted(futures(store), key=str)[:2]
    table = store.tables["bars_1m"]
    # The first hour of a session of February is exchanged for a sound file of other content.
    hour = table.newest().files.filter(pl.col("min.timestamp") == at("2024-01-31T23:00"))
    assert hour["period"].to_list() == ["2024-01"]

    def exchange(draft: Any) -> None:
        draft.advances_clock = False
        rows = stored(store).filter(
            pl.col("timestamp").is_between(at("2024-01-31T23:00"), at("2024-02-01T00:00"), "left")
        )
        assert rows.height == hour["rows"].item() == 60
        draft.remove(hour)
        draft.add(rows.drop("period", "is_current").with_columns(pl.col("close") + Decimal("0.01")))

    commit(table, exchange)
    with pytest.raises(CompactionRefused, match="session 2024-02-01: its bars are not those that were recorded"):
        store.compact(january, february)


def test_what_is_not_there_cannot_be_compacted(store):
    with pytest.raises(LakeError, match="nothing is stored"):
        partition(store, symbol="ETH-USD")
    with pytest.raises(LakeError, match="nothing is stored in bars_1h"):
        partition(store, table="bars_1h")
    with pytest.raises(LakeError, match="no table 'bars_7m'"):
        partition(store, table="bars_7m")


def test_bars_stored_twice_are_reported_not_merged(store):
    twice = stored(store).head(10).select(store.tables["bars_1m"].dataset.columns.names)
    commit(store.tables["bars_1m"], lambda draft: draft.add(with_known_at(twice, draft.stamp, history=True)))
    with pytest.raises(CompactionRefused, match="stored twice"):
        store.compact(partition(store))
