"""What a write has asked of the disk before it says that it is done, in the order in which it asked."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import LakeStore, Resolution, Window
from gb_pipeline.storage import files
from gb_pipeline_tests.bars import minutes

DAY = Window.of(date(2024, 1, 2), date(2024, 1, 3))


class Disk:
    """Takes down what is flushed and what gets its name, as (what, path)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str]] = []
        flush, link, flush_all = os.fsync, os.link, files._flush_file_system

        def fsync(handle: int) -> None:
            self.asked.append(("flushed", str(Path(f"/proc/self/fd/{handle}").readlink())))
            flush(handle)

        def named(beside: str, name: str) -> None:
            self.asked.append(("named", name))
            link(beside, name)

        def everything(path: str) -> bool:
            done = flush_all(path)
            self.asked.append(("flushed everything" if done else "could not", path))
            return done

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "link", named)
        monkeypatch.setattr(files, "_flush_file_system", everything)

    def before(self, name: str) -> list[tuple[str, str]]:
        return self.asked[: self.asked.index(("named", name))]

    def after(self, name: str) -> list[tuple[str, str]]:
        return self.asked[self.asked.index(("named", name)) + 1 :]


def write(store: LakeStore, symbols: list[str]) -> None:
    frame = pl.concat([minutes("2024-01-02", symbol=symbol) for symbol in symbols])
    store.write_bars("sim", symbols, Resolution.MINUTE, DAY, frame)


def entry(store: LakeStore, version: int) -> str:
    return f"{store.storage.table('bars_1m')}/_delta_log/{version:020}.json"


def test_everything_is_flushed_before_a_write_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LakeStore.at(tmp_path)
    disk = Disk(monkeypatch)
    write(store, ["BTC-USD", "ETH-USD"])
    name = entry(store, 0)
    flushed = {path for what, path in disk.before(name) if what == "flushed"}
    data = [f"{store.storage.table('bars_1m')}/{path}" for path in store.tables.newest("bars_1m").files["path"]]
    assert len(data) == 2
    for path in data:
        folders = [str(folder) for folder in Path(path).parents if folder == tmp_path or tmp_path in folder.parents]
        assert len(folders) > 4, "the folders are new, and each is an entry of the one above it"
        assert {path, *folders} <= flushed
    # The entry's bytes before its name, its name before the write returns.
    log = str(Path(name).parent)
    assert any(what == "flushed" and path.startswith(f"{log}/.") for what, path in disk.before(name))
    assert ("flushed", log) in disk.after(name)


def test_many_files_are_flushed_together_before_their_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LakeStore.at(tmp_path)
    disk = Disk(monkeypatch)
    write(store, [f"S{number:02}-USD" for number in range(12)])
    assert ("flushed everything", str(store.storage.root)) in disk.before(entry(store, 0))


def test_a_name_that_is_taken_is_never_written_over(tmp_path: Path) -> None:
    place = files.LocalFiles(tmp_path)
    assert place.put_if_absent("log/1.json", b"first")
    assert not place.put_if_absent("log/1.json", b"second")
    assert place.read("log/1.json") == b"first"
    assert [name for name, _, _ in place.list("log")] == ["log/1.json"]


def test_a_repeat_of_what_is_stored_asks_nothing_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LakeStore.at(tmp_path)
    write(store, ["BTC-USD"])
    disk = Disk(monkeypatch)
    write(store, ["BTC-USD"])
    assert disk.asked == []
