"""What a vendor says differently later: every version is kept, in one commit with what took its place."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake import ledger, quarantine, versions
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.storage import reading
from gb_pipeline_tests.bars import at, changed, day, every_version, minutes, stored

T1, T2, T3, T4 = (at(f"2024-02-0{number}T00:00") for number in (1, 2, 3, 4))
WIDE = BarRules(precision=Precision.WIDE)


def lives(store: LakeStore, minute: int) -> list[tuple]:
    """Every version of one bar: close, whether it is withdrawn, known and superseded."""
    rows = every_version(store).filter(pl.col("timestamp") == at("2024-01-02T00:00") + timedelta(minutes=minute))
    return rows.select("close", "withdrawn", "known_at", "superseded_at").rows()


def test_changed_content_is_a_restatement_and_keeps_the_old_row(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    report = write(store, changed(frame, 100, close="140.5", volume="2"), now=T2)
    assert (report.restated, report.unchanged, report.sessions[0].restated, report.version) == (1, 1439, 1, 1)
    found = versions.restatements(store.tables).row(0, named=True)
    assert (found["old_close"], found["new_close"]) == (Decimal("140.75"), Decimal("140.5"))
    assert (found["first_known"], found["replaced_at"], found["delay"]) == (T1, T2, 86_400_000_000)
    moments = stored(store)["known_at"]
    assert (moments[100], moments[99], moments[101]) == (T2, T1, T1)
    assert lives(store, 100) == [(Decimal("140.75"), None, T1, T2), (Decimal("140.5"), None, T2, None)]


def test_content_that_comes_back_is_a_third_version_and_a_second_restatement(store, write):
    frame = minutes("2024-01-02")
    for moment, content in ((T1, frame), (T2, changed(frame, 7, volume="9")), (T3, frame)):
        write(store, content, now=moment)
    found = versions.restatements(store.tables, "sim", Resolution.MINUTE, ["BTC-USD"])
    assert found.select("new_volume", "first_known", "replaced_at").rows() == [
        (Decimal(9), T1, T2),
        (Decimal(frame["volume"][7]), T2, T3),
    ]


def test_rows_that_the_vendor_no_longer_returns_are_kept_and_marked(store, write):
    frame = minutes("2024-01-02")
    first = write(store, frame)
    report = write(store, frame.filter(pl.int_range(pl.len()) != 5), now=T2)
    assert (report.withdrawn, report.restated, report.version, report.fingerprint) == (1, 0, 1, first.fingerprint)
    assert stored(store).height == 1440
    assert lives(store, 5) == [(Decimal("105.75"), None, T1, T2), (Decimal("105.75"), True, T2, None)]
    found = versions.withdrawn(store.tables)
    assert found.select("source", "symbol", "resolution", "timestamp", "close", "withdrawn_at").rows() == [
        ("sim", "BTC-USD", "1m", at("2024-01-02T00:05"), Decimal("105.75"), T2)
    ]
    assert versions.restatements(store.tables).is_empty(), "its content is what it was"
    assert ledger.current(store.tables).select("actual", "withdrawn", "status").rows() == [(1440, 1, "complete")]


def test_what_is_withdrawn_is_told_once_and_may_come_back(store, write):
    frame = minutes("2024-01-02")
    without = frame.filter(pl.int_range(pl.len()) != 5)
    write(store, frame)
    write(store, without, now=T2)
    assert write(store, without, now=T3).version is None
    back = write(store, frame, now=T4)
    assert (back.version, back.restated, back.withdrawn, back.unchanged) == (2, 0, 0, 1439)
    assert versions.withdrawn(store.tables).is_empty()
    assert versions.withdrawn(store.tables, as_of=T2)["timestamp"].to_list() == [at("2024-01-02T00:05")]
    assert versions.withdrawn(store.tables, as_of=T2 - timedelta(microseconds=1)).is_empty()
    assert [life[1:] for life in lives(store, 5)] == [(None, T1, T2), (True, T2, T4), (None, T4, None)]
    assert ledger.current(store.tables)["withdrawn"].to_list() == [0]
    assert ledger.current(store.tables, as_of=T3)["withdrawn"].to_list() == [1]


def test_only_what_was_asked_for_can_be_withdrawn(store, write):
    both = pl.concat([minutes("2024-01-02", symbol=code) for code in ("BTC-USD", "ETH-USD")])
    write(store, both, symbols=["BTC-USD", "ETH-USD"])
    report = write(store, minutes("2024-01-03"), day("2024-01-03"), now=T2)
    assert report.withdrawn == 0
    gone = write(store, minutes("2024-01-02", 1).clear(), now=T3)
    assert gone.withdrawn == 1440
    assert versions.withdrawn(store.tables)["symbol"].unique().to_list() == ["BTC-USD"]


def test_the_past_lies_in_files_that_readers_of_the_present_never_open(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    write(store, changed(frame, 100, close="140.5"), now=T2)
    found = store.tables.newest("bars_1m")
    past = found.files.filter(~pl.col("is_current"))
    assert reading.current_files(found)["rows"].to_list() == [1440]
    assert past["rows"].to_list() == [1]


def test_an_answer_from_before_what_is_stored_changes_nothing_and_is_kept_as_late(store, write):
    frame = minutes("2024-01-02")
    write(store, changed(frame, 100, close="140.5"), now=T2)
    late = changed(frame, 7, volume="9")
    report = write(store, late, now=T3, fetched_at=T1)
    assert (report.received, report.unchanged, report.quarantined, report.late, report.version) == (
        1440,
        1438,
        2,
        2,
        None,
    )
    assert stored(store)["close"][100] == Decimal("140.5")
    kept = quarantine.read(store.tables)
    assert kept["reasons"].to_list() == [["fetched_before_stored"]] * 2
    assert kept["timestamp"].to_list() == [at("2024-01-02T00:07"), at("2024-01-02T01:40")]
    assert '"140.75' in kept["row"][1]
    assert write(store, late, now=T4, fetched_at=T1).late == 2
    assert quarantine.read(store.tables).height == 2, "each refusal is kept once"


def test_a_late_answer_neither_withdraws_nor_brings_back(store, write):
    frame = minutes("2024-01-02")
    without = frame.filter(pl.int_range(pl.len()) != 5)
    write(store, frame, now=T2)
    assert write(store, without, now=T2, fetched_at=T1).withdrawn == 0
    write(store, without, now=T3)
    report = write(store, frame, now=T4, fetched_at=T2)
    assert (report.late, report.version) == (1, None)
    assert versions.withdrawn(store.tables).height == 1


def test_a_late_answer_still_brings_what_was_not_there(store, write):
    frame = minutes("2024-01-02")
    write(store, frame.head(1000), now=T2)
    report = write(store, frame, now=T3, fetched_at=T1)
    assert (report.late, report.unchanged, report.stored) == (0, 1000, 440)
    rows = stored(store)
    assert rows.select("known_at", "fetched_at")[1439].rows() == [(T3, T1)]


def test_each_symbol_of_an_answer_has_its_own_moment(store, write):
    codes = ["BTC-USD", "ETH-USD"]
    both = pl.concat([minutes("2024-01-02", 60, symbol=code) for code in codes])
    lenient = BarRules(max_bad_fraction=1.0)
    write(store, both, symbols=codes, now=T2, rules=lenient)
    other = both.with_columns(pl.lit("9").alias("volume"))
    report = write(store, other, symbols=codes, now=T3, rules=lenient, fetched_at={"BTC-USD": T1, "ETH-USD": T3})
    assert (report.late, report.restated) == (60, 60)
    changed_codes = versions.restatements(store.tables)["symbol"].unique().to_list()
    assert changed_codes == ["ETH-USD"]


def test_a_moment_never_stands_still_nor_goes_back(store, write):
    frame = minutes("2024-01-02")
    for number, moment in enumerate((T3, T1, T1)):
        write(store, changed(frame, 0, volume=str(number + 5)), now=moment, fetched_at=T3)
    lived = lives(store, 0)
    tick = timedelta(microseconds=1)
    assert [life[2] for life in lived] == [T3, T3 + tick, T3 + 2 * tick]
    assert [life[3] for life in lived] == [T3 + tick, T3 + 2 * tick, None]


def test_restatements_are_found_by_series_and_time(store, write):
    codes = ["BTC-USD", "ETH-USD"]
    both = pl.concat([minutes("2024-01-02", symbol=code) for code in codes])
    write(store, both, symbols=codes)
    write(store, changed(changed(both, 3, volume="9"), 1440 + 700, volume="9"), symbols=codes, now=T2)
    noon = at("2024-01-02T12:00")
    assert versions.restatements(store.tables)["symbol"].to_list() == codes
    assert versions.restatements(store.tables, symbols=["ETH-USD"])["timestamp"].to_list() == [at("2024-01-02T11:40")]
    assert versions.restatements(store.tables, between=(at("2024-01-02T11:40"), noon))["symbol"].to_list() == [
        "ETH-USD"
    ]
    assert versions.restatements(store.tables, "other").is_empty()
    assert versions.restatements(store.tables, "sim", Resolution.HOUR).is_empty()


def test_a_series_that_goes_wide_was_restated_where_its_content_changed(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    finer = changed(frame, 3, volume="0.000000000000000001")
    report = write(store, finer, now=T2, rules=WIDE)
    assert (report.restated, report.unchanged) == (1, 1439)
    found = versions.restatements(store.tables)
    assert found.select("old_volume", "new_volume", "first_known", "replaced_at").rows() == [
        (Decimal(frame["volume"][3]), Decimal("1E-18"), T1, T2)
    ]


def test_a_withdrawn_bar_that_comes_back_wide_is_withdrawn_no_more(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    write(store, frame.filter(pl.int_range(pl.len()) != 5), now=T2)
    write(store, changed(frame, 5, volume="0.000000000000000001"), now=T3, rules=WIDE)
    assert versions.withdrawn(store.tables).is_empty()
    assert versions.withdrawn(store.tables, as_of=T2)["withdrawn_at"].to_list() == [T2]
    assert versions.withdrawn(store.tables, as_of=T3).is_empty()


def test_a_standard_bar_may_be_withdrawn_by_a_wide_answer(store, write):
    frame = minutes("2024-01-02")
    write(store, frame)
    report = write(store, frame.filter(pl.int_range(pl.len()) != 5), now=T2, rules=WIDE)
    assert (report.withdrawn, report.restated) == (1, 0)
    assert versions.withdrawn(store.tables).select("close", "withdrawn_at").rows() == [(Decimal("105.75"), T2)]
    assert versions.restatements(store.tables).is_empty()


# Dies where the environment says, in the middle of storing another close of one bar at T2.
DIES = """
import sys
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, at, changed, day, minutes
store = LakeStore.at(sys.argv[1], clock=SetClock(at("2024-02-02T00:00")))
frame = changed(minutes("2024-01-02"), 100, close="140.5")
store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), frame)
"""
# Whether the bars were committed when the process died.
POINTS = {"file_written": False, "entry_written": False, "committed": True, "before_ledger": True}


def die(store: LakeStore, point: str) -> None:
    environment = {**os.environ, "GB_FAULT_POINT": point}
    done = subprocess.run(
        [sys.executable, "-c", DIES, store.storage.root], env=environment, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == -9, "the planted fault was not hit"


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_anywhere_in_a_write_is_repaired_by_running_again(store, write, lake_at, point):
    frame = minutes("2024-01-02")
    write(store, frame)
    die(store, point)
    restated = changed(frame, 100, close="140.5")
    write(store, restated, now=T3)
    # It became known when it was committed, once.
    learnt = T2 if POINTS[point] else T3
    found = versions.restatements(store.tables)
    assert found.select("first_known", "replaced_at").rows() == [(T1, learnt)]
    assert stored(store)["known_at"][100] == learnt
    fresh = lake_at(store.storage.root / "fresh")
    write(fresh, restated)
    assert (
        ledger.current(store.tables)["fingerprint"].to_list() == ledger.current(fresh.tables)["fingerprint"].to_list()
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_vendor_that_changes_its_mind_during_a_crash_leaves_a_true_record(store, write, point):
    frame = minutes("2024-01-02")
    write(store, frame)
    die(store, point)
    write(store, changed(frame, 100, close="140.25"), now=T3)
    found = versions.restatements(store.tables)
    passing = [(Decimal("140.5"), T2)] if POINTS[point] else []
    assert found.select("new_close", "replaced_at").rows() == [*passing, (Decimal("140.25"), T3)]
