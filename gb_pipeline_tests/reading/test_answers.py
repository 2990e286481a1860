"""Kept answers: which questions they are for, when they are made anew, and that they are those of the lake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import CacheOptions, GbError, Lake, join_asof
from gb_pipeline.lake.backup import plan_copy
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.actions import received as actions_of
from gb_pipeline_tests.actions import split
from gb_pipeline_tests.bars import day, minutes

DAYS = ["2024-01-30", "2024-01-31", "2024-02-01"]
MEMORY, BOTH = CacheOptions(), CacheOptions(disk=True)


def fill(store: LakeStore) -> None:
    for symbol in ("AAA-USD", "BBB-USD"):
        for text in DAYS:
            store.write_bars("sim", symbol, "1m", day(text), minutes(text, 5, symbol=symbol))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three days of minutes of two symbols."""
    fill(LakeStore.at(tmp_path / "data"))
    return tmp_path / "data"


def test_a_commit_throws_away_what_it_touches_and_nothing_else(root: Path) -> None:
    cached = Lake.open(root, cache=MEMORY)

    def ask() -> tuple[int, int]:
        before = cached.cache.hits, cached.cache.misses
        for symbol in ("AAA-USD", "BBB-USD"):
            cached.bars(symbol, "1m", source="sim")
        return cached.cache.hits - before[0], cached.cache.misses - before[1]

    assert (ask(), ask()) == ((0, 2), (2, 0))
    cached.store.write_bars("sim", "BBB-USD", "1m", day("2024-02-02"), minutes("2024-02-02", 5, symbol="BBB-USD"))
    assert (ask(), ask()) == ((1, 1), (2, 0))
    cached.store.write_bars("sim", "CCC-USD", "1m", day("2024-02-02"), minutes("2024-02-02", 5, symbol="CCC-USD"))
    assert ask() == (2, 0)


def test_a_fresh_process_is_answered_from_the_files_of_another_one(root: Path) -> None:
    first = Lake.open(root, cache=BOTH)
    wanted = first.bars("AAA-USD", "1m", source="sim", as_float=True)
    code = (
        "import sys; from gb_pipeline import Lake\n"
        "lake = Lake.open(sys.argv[1])\n"
        "lake.bars('AAA-USD', '1m', source='sim', as_float=True).write_ipc(sys.argv[2])\n"
        "print(lake.cache.hits, lake.cache.misses)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(root / "answer.arrow")],
        env=os.environ | {"GB_CACHE_DISK": "on"},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "0"]
    assert pl.read_ipc(root / "answer.arrow").equals(wanted)


def test_two_lakes_share_a_folder_and_no_answer(tmp_path: Path) -> None:
    folder = CacheOptions(0, disk=True, folder=tmp_path / "kept")
    lakes = []
    for number in range(2):
        store = LakeStore.at(tmp_path / f"lake-{number}")
        store.write_bars("sim", "AAA-USD", "1m", day(DAYS[0]), minutes(DAYS[0], 3, symbol="AAA-USD", base=100 + number))
        lakes.append(Lake(store, cache=folder))
    for _ in range(2):
        assert [lake.bars("AAA-USD", "1m", source="sim")["close"][0] for lake in lakes] == [
            Decimal("100.75"),
            Decimal("101.75"),
        ]
    assert [lake.cache.hits for lake in lakes] == [1, 1]


def test_a_lake_that_was_made_anew_in_the_same_place_is_another_one(root: Path, tmp_path: Path) -> None:
    options = CacheOptions(disk=True, folder=tmp_path / "kept")
    Lake.open(root, cache=options).bars("AAA-USD", "1m", source="sim")
    shutil.rmtree(root)
    store = LakeStore.at(root)
    store.write_bars("sim", "AAA-USD", "1m", day(DAYS[0]), minutes(DAYS[0], 5, symbol="AAA-USD", base=500))
    for _ in range(2):
        found = Lake.open(root, cache=options).bars("AAA-USD", "1m", source="sim")
        assert found.equals(Lake(store, cache=CacheOptions(0)).bars("AAA-USD", "1m", source="sim"))


@pytest.mark.parametrize("kind", ["bars", "arrow", "pandas", "wide", "history"])
def test_arrays_of_an_answer_do_not_change_the_next_one(root: Path, kind: str) -> None:
    """Whoever can write into what he was given writes into a copy of his own."""
    Lake.open(root, cache=BOTH).bars("AAA-USD", "1m", source="sim", as_float=True)
    for options in (MEMORY, BOTH):
        lake = Lake.open(root, cache=options)
        asked: dict[str, Callable[[], object]] = {
            "bars": lambda lake=lake: lake.bars("AAA-USD", "1m", source="sim", as_float=True)["close"].to_numpy(),
            "arrow": lambda lake=lake: lake.arrow("AAA-USD", "1m", source="sim", as_float=True)["close"].to_numpy(),
            "pandas": lambda lake=lake: lake.pandas("AAA-USD", "1m", source="sim")["close"].to_numpy(),
            "wide": lambda lake=lake: lake.wide("close", "AAA-USD", "1m", source="sim")["AAA-USD"].to_numpy(),
            "history": lambda lake=lake: lake.pandas("AAA-USD", "1m", source="sim")["close"].values,
        }
        first = asked[kind]()
        wanted = first.copy()
        try:
            first[:] = 7
        except ValueError as error:
            assert "read-only" in str(error)
        assert (asked[kind]() == wanted).all()
        assert (lake.bars("AAA-USD", "1m", source="sim", as_float=True)["close"].to_numpy() == wanted).all()
        assert lake.cache.hits


# --- whatever happens to a lake, a cached answer is the uncached one ----------------------------------------------------


@dataclass
class Watched:
    """A lake, and readers that keep answers in every way."""

    store: LakeStore
    readers: list[Lake]
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))
    answers: int = 0
    refusals: set[str] = field(default_factory=set)

    def ask(self) -> None:
        uncached = Lake(self.store, cache=CacheOptions(0))
        for question in questions(self.moment):
            wanted = answer(uncached, question)
            if isinstance(wanted, str):
                self.refusals.add(wanted.partition(":")[0])
            for reader in self.readers:
                for _ in range(2):
                    found = answer(reader, question)
                    if isinstance(wanted, pl.DataFrame):
                        assert isinstance(found, pl.DataFrame) and found.equals(wanted), (question, found, wanted)
                        assert found.schema == wanted.schema
                    else:
                        assert found == wanted
                    self.answers += 1


def questions(moment: datetime) -> list[dict[str, object]]:
    one = {"symbols": "AAA-USD", "resolution": "1m", "source": "sim"}
    return [
        one,
        one | {"as_float": True, "columns": ["timestamp", "close"]},
        one | {"start": "2024-01-31", "end": "2024-02-01"},
        one | {"as_of": moment},
        one | {"adjustment": "none"},
        one | {"adjustment": "splits", "as_float": True},
        one | {"resample": "5m"},
        one | {"settled_only": True},
        one | {"source": None, "columns": ["source", "symbol", "timestamp", "close", "known_at"]},
        one | {"symbols": ["BBB-USD", "AAA-USD"]},
        one | {"symbols": None},
        one | {"symbols": "CCC-USD"},
    ]


def answer(lake: Lake, question: dict[str, object]) -> pl.DataFrame | str:
    try:
        return lake.bars(**question)
    except GbError as error:
        return f"{type(error).__name__}: {error}"


def happenings(place: Path) -> list[tuple[str, Callable[[LakeStore], object]]]:
    """What can happen to a lake, in an order in which each changes something."""
    moment = datetime(2024, 1, 31, 0, 2, tzinfo=UTC)
    restated = minutes(DAYS[1], 5, symbol="AAA-USD", base=300)
    actions = actions_of(split("2024-01-31", "2", symbol="AAA-USD"))
    others = minutes(DAYS[1], 9, symbol="AAA-USD")
    later, middle = datetime.now(UTC) + timedelta(days=60), (date(2024, 1, 31), date(2024, 2, 1))

    def compact(store: LakeStore) -> None:
        found = store.compaction_candidates(min_files=2)
        assert found
        for partition in found:
            store.compact(partition)

    return [
        ("nothing", lambda store: None),
        ("restatement", lambda store: store.write_bars("sim", "AAA-USD", "1m", day(DAYS[1]), restated)),
        ("override", lambda store: store.override("sim", "AAA-USD", "1m", moment, {"volume": "9"}, "a bad tick")),
        ("override back", lambda store: store.override("sim", "AAA-USD", "1m", moment, None, "was right")),
        ("actions", lambda store: store.write_actions("sim", "AAA-USD", (date(2024, 1, 1), date(2024, 3, 1)), actions)),
        ("another source", lambda store: store.write_bars("other", "AAA-USD", "1m", day(DAYS[1]), others)),
        ("compaction", compact),
        ("vacuum", lambda store: store.vacuum(retention=timedelta(hours=1), dry_run=False, now=later)),
        ("backup", lambda store: plan_copy(store, LakeStore.at(place / "copy")).run()),
        ("removal", lambda store: store.delete("sim", "AAA-USD", "1m", date(2024, 2, 1), reason="a test")),
        ("undo", lambda store: store.restore("sim", "AAA-USD", "1m", reason="a test")),
        ("rename", lambda store: store.rename("sim", "BBB-USD", "CCC-USD", reason="a test")),
        ("purge", lambda store: store.delete("sim", "AAA-USD", "1m", *middle, reason="a test", purge=True)),
    ]  # fmt: skip


def follow(watched: Watched, place: Path) -> None:
    watched.ask()
    for _, happen in happenings(place):
        happen(watched.store)
        watched.ask()
    assert watched.answers > 1000
    assert all(reader.cache.hits > 20 for reader in watched.readers)
    assert watched.refusals >= {"UnknownSeries", "ReadError"}


def readers(store: Callable[[], LakeStore], place: Path) -> list[Lake]:
    """One with memory, one with files alone, one with both and as little room as makes it forget all the time."""
    return [
        Lake(store(), cache=MEMORY),
        Lake(store(), cache=CacheOptions(0, disk=True, folder=place / "kept")),
        Lake(store(), cache=CacheOptions(0.01, disk=True, folder=place / "small", disk_mb=0.02)),
    ]


def test_every_read_is_the_uncached_read_whatever_happens_to_a_folder(root: Path, tmp_path: Path) -> None:
    follow(Watched(LakeStore.at(root), readers(lambda: LakeStore.at(root), tmp_path)), tmp_path)
    # What came after the copy is forgotten, what the files of a cache say of it as well.
    for name in ("lake", "log"):
        shutil.rmtree(root / name, ignore_errors=True)
    plan_copy(LakeStore.at(tmp_path / "copy"), LakeStore.at(root), restore=True).run()
    Watched(LakeStore.at(root), readers(lambda: LakeStore.at(root), tmp_path)).ask()
    store = LakeStore.at(root)
    store.write_bars("sim", "AAA-USD", "1m", day(DAYS[1]), minutes(DAYS[1], 5, symbol="AAA-USD", base=400))
    Watched(LakeStore.at(root), readers(lambda: LakeStore.at(root), tmp_path)).ask()


def test_after_a_purge_no_removed_bar_is_left_in_files(root: Path, tmp_path: Path) -> None:
    """Of another process as well, once it has asked again for whatever bars of the resolution."""
    options = CacheOptions(disk=True, folder=tmp_path / "kept")
    other = Lake.open(root, cache=options)
    other.bars("AAA-USD", "1m", source="sim")
    other.bars("BBB-USD", "1m", source="sim")
    planted = {path.name for path in (tmp_path / "kept").rglob("*.arrow")}
    assert len(planted) == 2
    LakeStore.at(root).delete("sim", "AAA-USD", "1m", reason="a test", purge=True)
    reader = other if len(planted) % 2 else Lake.open(root, cache=options)
    assert reader.bars("BBB-USD", "1m", source="sim").height == 15
    assert len(list((tmp_path / "kept").rglob("*.arrow"))) == 1
    with pytest.raises(GbError):
        reader.bars("AAA-USD", "1m", source="sim")


_WRITE = """
import sys
from datetime import UTC, datetime
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import day, minutes
store = LakeStore.at(sys.argv[1])
for number in range(12):
    store.write_bars("sim", "AAA-USD", "1m", day("2024-01-31"), minutes("2024-01-31", 5, symbol="AAA-USD", base=200 + number))
    if number == 6:
        store.compact(*store.compaction_candidates(min_files=2))
"""


def test_while_another_process_writes_every_answer_is_of_a_state_and_none_goes_back(root: Path, tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITE, str(root)])
    seen: list[list[int]] = []
    wrong: list[object] = []

    def read(reader: Lake) -> None:
        said: list[int] = []
        seen.append(said)
        try:
            while writer.poll() is None or not said or said[-1] != 211:
                frame = reader.bars("AAA-USD", "1m", "2024-01-31", "2024-02-01", source="sim", as_float=True)
                [base] = set((frame["close"] - 0.75 - pl.int_range(5, eager=True)).to_list())
                said.append(int(base))
        except BaseException as error:
            wrong.append(error)
            raise

    threads = [threading.Thread(target=read, args=(lake,)) for lake in readers(lambda: LakeStore.at(root), tmp_path)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert writer.wait(60) == 0
    assert wrong == []
    for said in seen:
        assert said == sorted(said)
        assert said[-1] == 211
        assert len(set(said)) > 1, "it did read while the other wrote"


def test_five_reads_of_everything_that_has_floats_have_the_same_bits(root: Path) -> None:
    """Hot and cold: nothing is summed in an order that depends on threads, and no row changes its place."""
    both = ["BBB-USD", "AAA-USD"]

    def asked(lake: Lake) -> dict[str, pl.DataFrame]:
        return {
            "bars": lake.bars(both, "1m", source="sim", as_float=True),
            "all": lake.bars(None, "1m", as_float=True),
            "resampled": lake.bars(both, "1m", source="sim", as_float=True, resample="3m"),
            "wide": lake.wide("close", both, "1m", source="sim"),
            "returns": lake.returns(both, "1m", source="sim"),
            "log returns": lake.returns(both, "1m", source="sim", kind="log"),
            "align": lake.align(both, "1m", source="sim", calendar="24/7", fill=True, as_float=True),
            "joined": join_asof(
                lake.bars("AAA-USD", "1m", source="sim", as_float=True),
                lake.bars("BBB-USD", "1m", source="sim", as_float=True),
                by=None,
            ),
            "scan": lake.scan_bars(both, "1m", source="sim", as_float=True).collect(),
        }

    cached = Lake.open(root, cache=BOTH)
    wanted = asked(Lake.open(root, cache=False))
    for _ in range(5):
        for lake in (cached, Lake.open(root, cache=BOTH), Lake.open(root, cache=False)):
            for name, frame in asked(lake).items():
                assert frame.columns == wanted[name].columns, name
                for column in frame.columns:
                    found, first = frame[column], wanted[name][column]
                    if found.dtype == pl.Float64:
                        found, first = (one.fill_null(-1.0).to_numpy().tobytes() for one in (found, first))
                        assert found == first, (name, column)
                    else:
                        assert found.equals(first), (name, column)
