"""Many entries of a log at once make the snapshot that they make one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from random import Random

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage.snapshot import Snapshot, _parser, empty_snapshot, format_statistic
from gb_pipeline_tests.bars import changed, day, minutes


def test_entries_at_once_and_one_after_the_other_make_the_same_snapshot(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    random = Random(7)
    for number in range(12):
        which = random.choice(["2024-01-02", "2024-01-03", "2024-02-05"])
        frame = changed(minutes(which, 1440), 5, volume=str(number + 1))
        store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(which), frame)
    store.compact(*store.compaction_candidates(min_files=2))
    table = store.tables["bars_1m"]
    newest = table.newest()
    entries = table.entries(0, newest.version)
    assert any(entry.removes for entry in entries[:-1]), "some files have to come and go"
    for cut in range(len(entries) + 1):
        before = reduce(Snapshot.after, entries[:cut], empty_snapshot(table.dataset))
        made = before.after(*entries[cut:])
        assert made.files.equals(newest.files)
        assert (made.version, made.table_id, made.clock) == (newest.version, newest.table_id, newest.clock)
        assert made.transactions == newest.transactions


@pytest.mark.parametrize("year", [2, 24, 202, 999])
def test_a_year_with_few_digits_makes_no_table_unreadable(tmp_path: Path, year: int) -> None:
    """As it comes from a date with two digits of a year, or a slip of the finger."""
    numbers = {"open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    bars = pl.DataFrame([{"timestamp": datetime(each, 6, 30, tzinfo=UTC), **numbers} for each in (year, 2024)])
    for number, bar in enumerate(bars.iter_slices(1)):
        Lake.open(tmp_path, create=True).put(bar, source="mine", resolution="1m", symbol="X")
        assert Lake.open(tmp_path).bars("X", "1m")["timestamp"].to_list() == bars["timestamp"].to_list()[: number + 1]
    table = Lake.open(tmp_path).store.tables["bars_1m"].newest()
    assert table.files["period"].to_list() == [f"{year:04}-06", "2024-06"]
    assert Lake.open(tmp_path).coverage("mine")["actual"].to_list() == [1, 1]


@pytest.mark.parametrize("text", ["24-06-30T00:00:00.000000Z", "0024-06-30T00:00:00Z"])
def test_a_moment_of_a_log_is_read_whatever_its_digits(text: str) -> None:
    moment = datetime(24, 6, 30, tzinfo=UTC)
    assert _parser(pl.Datetime("us", "UTC"))(text) == microseconds(moment)
    assert format_statistic(moment) == "0024-06-30T00:00:00.000000Z"
