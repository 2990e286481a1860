"""The index of a table's files: whatever happens to it, a table is what its log says."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import DamagedLog, Lake, Window
from gb_pipeline.market.schema import PRICES
from gb_pipeline.storage import file_index, table
from gb_pipeline.storage.checkpoints import Checkpoints
from gb_pipeline.storage.snapshot import Snapshot

TABLE = "bars_1m"


@pytest.fixture(autouse=True)
def _worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_index, "WORTH_AN_INDEX", 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lake of five commits, with an index of the newest."""
    for number in range(5):
        write(tmp_path / "data", number)
    index(tmp_path / "data").unlink()
    opened(tmp_path / "data")
    return tmp_path / "data"


def write(root: Path, number: int) -> None:
    day = datetime(2024, 1, 1 + number, tzinfo=UTC)
    frame = pl.DataFrame({"timestamp": [day], **{name: [f"{number + 1}.5"] for name in (*PRICES, "volume")}})
    window = Window(day, day.replace(hour=1))
    Lake.open(root, create=True).write_bars("mine", f"S{number % 2}", "1m", window, frame)


def opened(root: Path) -> Snapshot:
    return Lake.open(root).store.tables.newest(TABLE)


def by_log(root: Path) -> Snapshot:
    read = Lake.open(root).store.tables
    read[TABLE].forget()
    return read.newest(TABLE)


def index(root: Path) -> Path:
    (path,) = (root / "state" / "index" / TABLE).glob("*.arrow")
    return path


def same(one: Snapshot, other: Snapshot) -> bool:
    assert one.files.sort("path").equals(other.files.sort("path"))
    facts = [(item.version, told(item), dict(item.transactions)) for item in (one, other)]
    return facts[0] == facts[1]


def told(snapshot: Snapshot) -> list[object]:
    """What counts of a table's metadata; a checkpoint leaves out what the first entry says beside it."""
    return [snapshot.metadata[name] for name in ("id", "schemaString", "partitionColumns", "configuration")]


def test_a_table_is_the_same_from_its_index_as_from_its_log(root, monkeypatch):
    assert same(opened(root), by_log(root))
    write(root, 5)
    write(root, 6)
    read = []
    whole = table.Table.entry
    monkeypatch.setattr(table.Table, "entry", lambda self, version: read.append(version) or whole(self, version))
    newest = opened(root)
    assert set(read) == {5, 6, 7}, "the log is followed from the index on"
    assert same(newest, by_log(root))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_or_cut_index_changes_nothing(root, place, bit, cut):
    path = index(root)
    whole = path.read_bytes()
    at = int(place * len(whole))
    try:
        path.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
        assert same(opened(root), by_log(root))
    finally:
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(whole)


def test_without_its_index_a_table_is_opened_from_its_log_and_indexed_again(root):
    before = index(root).name
    index(root).unlink()
    assert same(opened(root), by_log(root))
    assert index(root).name == before


def test_an_index_that_cannot_be_kept_is_done_without(root):
    folder = index(root).parent
    index(root).unlink()
    folder.rmdir()
    folder.write_text("no folder", encoding="utf-8")
    assert same(opened(root), by_log(root))


def test_what_a_killed_writer_left_is_removed_by_the_next_one(root):
    left = index(root).parent / ".0.arrow.abcdef.tmp"
    left.write_bytes(b"half of it")
    index(root).unlink()
    opened(root)
    assert index(root).parent.joinpath(".0.arrow.abcdef.tmp").exists() is False


def test_an_index_of_another_lake_or_of_one_that_was_made_anew_counts_for_nothing(root, tmp_path):
    other = tmp_path / "other"
    for number in range(2, 7):
        write(other, number)
    kept = other / "state" / "index" / TABLE
    kept.mkdir(parents=True, exist_ok=True)
    for path in kept.glob("*.arrow"):
        path.unlink()
    (kept / index(root).name).write_bytes(index(root).read_bytes())
    assert same(opened(other), by_log(other))
    other.rename(tmp_path / "moved")
    assert same(opened(tmp_path / "moved"), by_log(tmp_path / "moved"))


def test_a_table_that_went_backwards_is_refused_as_without_an_index(root):
    (root / "lake" / TABLE / "_delta_log" / f"{4:020}.json").unlink()
    with pytest.raises(DamagedLog, match="lost from 4 on"):
        opened(root)


def test_a_lost_entry_between_index_and_checkpoint_is_no_end_of_the_table(root):
    old = index(root).read_bytes(), index(root).name
    for number in range(5, 9):
        write(root, number)
    tables = Lake.open(root).store.tables
    newest = tables.newest(TABLE)
    assert Checkpoints(tables.storage, tables[TABLE].dataset).write(newest)
    index(root).unlink()
    (root / "state" / "index" / TABLE / old[1]).write_bytes(old[0])
    (root / "lake" / TABLE / "_delta_log" / f"{6:020}.json").unlink()
    for mirror in (root / "log" / TABLE).glob("0*.json"):
        mirror.unlink()
    assert opened(root).version == newest.version == 8


def test_many_may_keep_an_index_at_once(root):
    index(root).unlink()
    with ThreadPoolExecutor(8) as pool:
        assert {snapshot.version for snapshot in pool.map(opened, [root] * 16)} == {4}
    assert same(opened(root), by_log(root))


# A process that has read the log, and is killed while it keeps an index of it.
KILLED = """
import os, signal, sys
from gb_pipeline import Lake
from gb_pipeline.storage import file_index, files

file_index.WORTH_AN_INDEX = 1
point, root = sys.argv[1:]
whole_write, whole_replace = files._write_all, os.replace

def write(handle, data):
    whole_write(handle, memoryview(data)[: len(data) // 2] if point == "half_written" else data)
    if point in ("half_written", "written"):
        os.kill(os.getpid(), signal.SIGKILL)

def replace(source, target):
    whole_replace(source, target)
    os.kill(os.getpid(), signal.SIGKILL)

files._write_all = write
if point == "named":
    os.replace = replace
Lake.open(root).store.tables.newest("bars_1m")
"""


@pytest.mark.parametrize("point", ["half_written", "written", "named"])
def test_a_process_that_is_killed_while_it_keeps_an_index_changes_nothing(root, point):
    old = index(root)
    write(root, 5)
    write(root, 6)
    assert index(root) == old, "it is kept while the log is short after it"
    table_log = root / "lake" / TABLE / "_delta_log"
    # A damaged one is as good as none: the log is read, and another one kept.
    old.write_bytes(b"damaged")
    killed = subprocess.run([sys.executable, "-c", KILLED, point, str(root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(table_log.glob("0*.json"))) == 7
    assert same(opened(root), by_log(root))
    assert same(opened(root), by_log(root))


WRITER = """
import sys
from datetime import UTC, datetime, timedelta
import polars as pl
from gb_pipeline import Lake, Window
from gb_pipeline.storage import file_index, table

file_index.WORTH_AN_INDEX = table.CHECKPOINT_EVERY = 1
root, symbol = sys.argv[1:]
for number in range(6):
    day = datetime(2024, 2, 1 + number, tzinfo=UTC)
    numbers = {name: ["1.5"] for name in ("open", "high", "low", "close", "volume")}
    frame = pl.DataFrame({"timestamp": [day], **numbers})
    # Each opens the table anew, from an index that the other one may be replacing.
    Lake.open(root).write_bars("mine", symbol, "1m", Window(day, day + timedelta(hours=1)), frame)
"""


def test_two_processes_that_commit_and_keep_indexes_at_once_lose_nothing(root):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(root), symbol]) for symbol in ("A", "B")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    newest = opened(root)
    assert newest.version == 4 + 12
    assert same(newest, by_log(root))
    # The one who was faster may have left an older one behind the other's newest.
    kept = [path.name for path in (root / "state" / "index" / TABLE).glob("*.arrow")]
    assert max(kept).startswith(f"{newest.version:020}")


CHANGE = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 4), st.integers(0, 2), st.integers(1, 3)),
    st.just(("compact",)),
    st.just(("open",)),
    st.just(("lose",)),
    st.just(("bring back",)),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(CHANGE, min_size=2, max_size=8),
    symbols=st.none() | st.lists(st.sampled_from(["S0", "S1", "S2", "S9"]), min_size=1, unique=True),
    days=st.none() | st.tuples(st.integers(0, 5), st.integers(1, 3)),
    current=st.booleans(),
)
def test_a_plan_is_the_same_by_index_and_by_log_after_any_history(tmp_path_factory, changes, symbols, days, current):
    """Of writes, restatements and compactions, with indexes that are made in between, lost, and older than the log."""
    root = tmp_path_factory.mktemp("lake")
    kept: dict[str, bytes] = {}
    folder = root / "state" / "index" / TABLE
    for name, *arguments in [("write", 0, 0, 1), *changes]:
        store = Lake.open(root, create=True).store
        if name == "write":
            number, symbol, price = arguments
            day = datetime(2024, 1, 30 + number % 2, tzinfo=UTC) + timedelta(days=number // 2)
            frame = pl.DataFrame({"timestamp": [day], **{item: [f"{price}.5"] for item in (*PRICES, "volume")}})
            store.write_bars("mine", f"S{symbol}", "1m", Window(day, day + timedelta(hours=1)), frame)
        elif name == "compact":
            store.compact(*store.compaction_candidates(min_files=2))
        elif name == "open":
            assert same(opened(root), by_log(root))
        else:
            for path in folder.glob("*.arrow"):
                kept[path.name] = path.read_bytes()
                path.unlink()
            if name == "bring back" and kept:
                older = min(kept)
                (folder / older).write_bytes(kept[older])
    by_index, from_log = opened(root), by_log(root)
    start = datetime(2024, 1, 30, tzinfo=UTC)
    between = days and {"timestamp": (start + timedelta(days=days[0]), start + timedelta(days=sum(days)))}
    plans = [
        snapshot.select({"source": "mine"}, between=between, holding=symbols and {"symbol": symbols}, current=current)
        for snapshot in (by_index, from_log)
    ]
    assert plans[0].sort("path").equals(plans[1].sort("path"))
    assert same(by_index, from_log)
