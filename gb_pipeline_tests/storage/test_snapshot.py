"""Many entries of a log at once make the snapshot that they make one after the other."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from random import Random

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage.snapshot import Snapshot, empty_snapshot
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
