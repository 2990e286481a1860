"""A commit is made by its entry: what fails or interrupts before leaves nothing, what comes after takes nothing away."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import table as table_module
from gb_pipeline.storage.commit import Draft, wall_clock
from gb_pipeline.storage.files import LocalFiles
from gb_pipeline_tests.bars import day, minutes


class Faulty(LocalFiles):
    """Files of which one operation ends badly, before or after it was done."""

    def __init__(self, root: Path, operation: str, names: str, error: BaseException, *, after: bool = False) -> None:
        super().__init__(root)
        self.operation, self.names, self.error, self.after, self.hit = operation, names, error, after, 0

    def put_if_absent(self, name: str, data: bytes) -> bool:
        return self._fail("put_if_absent", name, lambda: super(Faulty, self).put_if_absent(name, data))

    def replace(self, name: str, data: bytes) -> None:
        self._fail("replace", name, lambda: super(Faulty, self).replace(name, data))

    def put(self, name: str, data: bytes) -> None:
        self._fail("put", name, lambda: super(Faulty, self).put(name, data))

    def write(self, name: str, data: bytes | memoryview) -> None:
        self._fail("write", name, lambda: super(Faulty, self).write(name, data))

    def _fail(self, operation: str, name: str, act: Callable[[], Any]) -> Any:
        planted = operation == self.operation and self.names in name
        if planted and not self.after:
            self.hit += 1
            raise self.error
        done = act()
        if planted:
            self.hit += 1
            raise self.error
        return done


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


def write(store: LakeStore, edition: int) -> WriteReport:
    frame = minutes("2024-01-02", 30).with_columns(pl.lit(str(edition)).alias("volume"))
    return store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), frame)


def with_fault(root: Path, *fault: object, **options: bool) -> tuple[LakeStore, Faulty]:
    """A lake that has one edition, and a store that meets a fault."""
    write(LakeStore.at(root), 1)
    store = LakeStore.at(root)
    files = Faulty(root, *fault, **options)  # type: ignore[arg-type]
    store.storage.__dict__["files"] = files
    return store, files


def edition_of(root: Path) -> int:
    (volume,) = Lake.open(root).bars("BTC-USD", "1m")["volume"].unique()
    return int(volume)


def data_files(root: Path) -> set[str]:
    return {path.name for path in (root / "lake/bars_1m").rglob("*.parquet")}


@pytest.mark.parametrize(
    ("operation", "names"),
    [("write", "is_current=true"), ("write", "is_current=false"), ("put_if_absent", "_delta_log")],
)
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_what_fails_before_the_entry_leaves_nothing(
    tmp_path: Path, operation: str, names: str, error: BaseException
) -> None:
    store, files = with_fault(tmp_path, operation, names, error)
    before = data_files(tmp_path)
    with pytest.raises(LakeError if isinstance(error, OSError) else KeyboardInterrupt):
        write(store, 2)
    assert (files.hit, edition_of(tmp_path), data_files(tmp_path)) == (1, 1, before)
    assert write(LakeStore.at(tmp_path), 2).restated == 30
    assert verify(LakeStore.at(tmp_path)).ok


@pytest.mark.parametrize("error", [BROKEN, KeyboardInterrupt()])
def test_an_entry_that_is_there_keeps_its_files_whatever_its_writer_was_told(
    tmp_path: Path, error: BaseException
) -> None:
    store, files = with_fault(tmp_path, "put_if_absent", "_delta_log", error, after=True)
    told = (
        pytest.raises(LakeError, match="perhaps not for good") if error is BROKEN else pytest.raises(KeyboardInterrupt)
    )
    with told:
        write(store, 2)
    assert (files.hit, edition_of(tmp_path)) == (1, 2)
    assert verify(LakeStore.at(tmp_path)).ok
    assert write(LakeStore.at(tmp_path), 2).version is None


def test_a_mirror_that_finds_no_space_fails_no_write_and_is_made_by_the_next(tmp_path: Path) -> None:
    store, files = with_fault(tmp_path, "replace", "log/", FULL)
    assert write(store, 2).version == 1
    assert (files.hit, edition_of(tmp_path)) == (1, 2)
    table = LakeStore.at(tmp_path).tables["bars_1m"]
    assert table.mirrored_versions() == [0]
    write(LakeStore.at(tmp_path), 3)
    assert table.mirrored_versions() == [0, 1, 2]
    assert verify(LakeStore.at(tmp_path)).ok


def test_a_checkpoint_that_cannot_be_made_fails_no_write_and_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "CHECKPOINT_EVERY", 2)
    store, files = with_fault(tmp_path, "put", "checkpoint.json", FULL)
    assert [write(store, edition).version for edition in (2, 3)] == [1, 2]
    assert files.hit
    assert edition_of(tmp_path) == 3
    other = LakeStore.at(tmp_path)
    assert write(other, 4).version == 3
    seal = other.tables["bars_1m"].checkpoints.seal()
    assert seal is not None
    assert seal.version == 3
    assert verify(LakeStore.at(tmp_path)).ok


class Late(LocalFiles):
    """Files of a lake that somebody else begins just when its folders are looked through."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun = False

    def list(self, folder: str) -> Iterator[tuple[str, int, float]]:
        if not self.begun:
            self.begun = True
            write(LakeStore.at(self.root), 1)
        yield from super().list(folder)


def test_a_table_that_is_made_while_somebody_looks_for_it_is_read(tmp_path: Path) -> None:
    store, files = LakeStore.at(tmp_path), Late(tmp_path)
    # Whoever makes a table makes its folder first.
    Path(store.storage.table("bars_1m")).mkdir(parents=True)
    store.storage.__dict__["files"] = files
    assert store.tables.newest("bars_1m").version == 0
    assert files.begun


class Watched(LocalFiles):
    """Files of a lake in which another thread does something as soon as an entry is made, before its writer has gone on."""

    def __init__(self, root: Path, names: str, act: Callable[[], object]) -> None:
        super().__init__(root)
        self.names, self.act = names, act

    def put_if_absent(self, name: str, data: bytes) -> bool:
        made = super().put_if_absent(name, data)
        if self.names in name:
            with ThreadPoolExecutor(1) as other:
                other.submit(self.act).result()
        return made


@pytest.mark.parametrize("others", [0, 1, 2])
def test_an_entry_that_a_reader_saw_before_its_writer_went_on_counts_once(tmp_path: Path, others: int) -> None:
    store = LakeStore.at(tmp_path)

    def look() -> None:
        # On a lake without locks somebody else may have committed by then, too.
        table = LakeStore.at(tmp_path).tables["bars_1m"]
        for number in range(others):
            draft = Draft(table, table.newest(), wall_clock())
            draft.set_transaction("other", number)
            draft.finish()
        Lake(store).bars("BTC-USD", "1m")

    store.storage.__dict__["files"] = Watched(tmp_path, "bars_1m/_delta_log", look)
    for edition in (1, 2, 3):
        write(store, edition)
    held, stored = store.tables.newest("bars_1m"), LakeStore.at(tmp_path).tables.newest("bars_1m")
    assert held.version == stored.version == 3 * (1 + others) - 1
    assert held.files.sort("path").equals(stored.files.sort("path"))
    assert Lake(store).bars("BTC-USD", "1m").height == 30
