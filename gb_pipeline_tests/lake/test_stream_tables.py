"""Tables of trades obey the laws of all others: small files of a day become one that says the same, verified, vacuumed, copied."""

from __future__ import annotations

import random
from pathlib import Path

from gb_pipeline import Lake, LakeStore
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.verification import verify
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_trades, commit_watermark, nanoseconds

NINE = nanoseconds("2024-01-02 09:00")


def test_many_small_files_of_a_day_become_one_that_says_the_same(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake", create=True)
    times = [NINE + number * SECOND for number in range(60)]
    random.Random(3).shuffle(times)
    for start in range(0, 60, 6):
        commit_trades(lake.store, times[start : start + 6])
    commit_interval(lake.store, NINE, NINE + 60 * SECOND)
    commit_watermark(lake.store, NINE + 60 * SECOND)
    before = lake.trades("BTC-USD")
    (candidate,) = [item for item in lake.store.compaction_candidates() if item.table == "trades"]
    assert (candidate.files, candidate.rows) == (10, 60)
    (report,) = lake.store.compact(candidate)
    assert report.files_after == 1
    assert lake.stream_files(table="trades").height == 1
    assert lake.trades("BTC-USD").equals(before)
    assert before["timestamp"].is_sorted()
    assert verify(lake.store).ok
    there = LakeStore.at(tmp_path / "copy")
    assert plan_copy(lake.store, there).run().damaged == ()
    assert Lake.open(tmp_path / "copy").trades("BTC-USD").equals(before)
