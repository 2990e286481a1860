"""Instruments and rolls are kept like bars: whole after a kill, compacted, vacuumed, copied, restored, and the same in a bucket."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake import instruments
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import SetClock, at

WORK = """
import sys, polars as pl
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, at
store = LakeStore.at(sys.argv[1], clock=SetClock(at("2024-02-02T00:00")))
store.write_instruments(pl.read_csv(sys.argv[2], infer_schema=False), source="sim")
"""
BEFORE = "symbol,valid_from,valid_until,composite_figi\nFB,2012-05-18,,BBG000MM2P62\n"
AFTER = "symbol,valid_from,valid_until,composite_figi\nFB,2012-05-18,2022-06-09,BBG000MM2P62\nMETA,2022-06-09,,BBG000MM2P62\n"
ROLLS = pl.DataFrame({"session": [date(2013, 12, 20)], "from_symbol": ["ESZ13"], "to_symbol": ["ESH14"]})


def frame(text: str) -> pl.DataFrame:
    return pl.read_csv(text.encode(), infer_schema=False)


def names(store: LakeStore, **how: object) -> list[tuple[object, ...]]:
    return instruments.read(store.tables, **how).select("symbol", "valid_from", "valid_until").rows()  # type: ignore[arg-type]


@pytest.mark.parametrize("point", ["before_files", "entry_written", "committed"])
def test_killed_anywhere_a_change_of_ticker_is_there_as_a_whole_or_not_at_all(
    store: LakeStore, tmp_path: Path, point: str
) -> None:
    store.write_instruments(frame(BEFORE), source="sim")
    before = names(store)
    (tmp_path / "after.csv").write_text(AFTER, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", WORK, store.storage.root, tmp_path / "after.csv"],
        env={**os.environ, "GB_FAULT_POINT": point}, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert run.returncode == -9, "the point was reached"
    killed = LakeStore.at(store.storage.root, clock=SetClock(at("2024-02-03T00:00")))
    whole = [("FB", date(2012, 5, 18), date(2022, 6, 9)), ("META", date(2022, 6, 9), None)]
    assert names(killed) == (whole if point == "committed" else before)
    killed.write_instruments(frame(AFTER), source="sim")
    assert names(killed) == whole
    assert names(killed, as_of=at("2024-02-01T12:00")) == before
    assert verify(killed).ok


@pytest.fixture
def known(store: LakeStore) -> LakeStore:
    """Five versions of two rows and of a table of rolls, a day apart."""
    for number in range(5):
        store.write_instruments(frame(AFTER).with_columns(name=pl.lit(f"name {number}")), source="sim")
        store.write_rolls("ES", ROLLS.with_columns(session=pl.lit(date(2013, 12, 16 + number))))
        store.clock.now += timedelta(days=1)  # type: ignore[attr-defined]
    return store


def versions(store: LakeStore) -> list[pl.DataFrame]:
    moments = [at(f"2024-02-0{number}T12:00") for number in range(1, 6)]
    return [instruments.read(store.tables, as_of=moment) for moment in moments] + [
        Lake(store).rolls("ES", as_of=moment) for moment in moments
    ]


def test_compaction_and_vacuum_change_no_moment(known: LakeStore) -> None:
    expected = versions(known)
    assert [frame["name"][0] for frame in expected[:5]] == [f"name {number}" for number in range(5)]
    candidates = [each for each in known.compaction_candidates(min_files=2) if each.table in {"instruments", "rolls"}]
    assert len(candidates) >= 2
    known.compact(*candidates)
    known.vacuum(dry_run=False, now=known.clock() + timedelta(days=60))
    again = LakeStore.at(known.storage.root, clock=known.clock)
    for before, after in zip(expected, versions(again), strict=True):
        assert after.equals(before)
    assert verify(again).ok


def test_a_restored_backup_knows_them_as_they_were_at_every_moment(
    known: LakeStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copied, restored = (LakeStore.at(tmp_path_factory.mktemp(name)) for name in ("copy", "restored"))
    plan_copy(known, copied).run()
    plan_copy(LakeStore(copied.storage), restored, restore=True).run()
    for before, after in zip(versions(known), versions(restored), strict=True):
        assert after.equals(before)
    assert verify(restored).ok
