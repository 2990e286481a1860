"""`gb cache stats` and `gb cache clear`."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline import CacheOptions, Lake
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.cli.console import Gb


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lake, of which one answer is kept in a file."""
    LakeStore.at(tmp_path / "data").write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 4))
    for _ in range(2):
        Lake.open(tmp_path / "data", cache=CacheOptions(disk=True)).bars("BTC-USD", "1m", source="sim")
    return tmp_path / "data"


def kept(folder: Path) -> list[Path]:
    return list(folder.rglob("*.arrow"))


def test_what_is_kept_on_disk_is_shown_and_forgotten(gb: Gb, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GB_CACHE_DISK", "on")
    told = gb("cache", "stats", "--lake", root)
    assert told.code == 0
    assert all(len(line) <= 80 for line in told.out.splitlines())
    assert str(root / "state" / "cache") in told.err
    [row] = gb("cache", "stats", "--json", "--lake", root).json
    assert (row["place"], row["answers"], row["hits"], row["misses"]) == ("disk", 1, 1, 1)
    assert row["bytes"] == sum(path.stat().st_size for path in kept(root))
    assert len(kept(root)) == 1
    told = gb("cache", "clear", "--lake", root)
    assert (told.code, "1 answer removed" in told.err) == (0, True)
    assert kept(root) == []
    assert gb("cache", "clear", "--json", "--lake", root).json[0]["answers"] == 0


def test_files_of_a_cache_that_was_switched_off_are_shown_and_go_as_well(gb: Gb, root: Path) -> None:
    assert "disk" in gb("cache", "stats", "--lake", root).out
    assert gb("cache", "clear", "--lake", root).code == 0
    assert kept(root) == []
    assert "in the memory of each process alone" in gb("cache", "stats", "--lake", root).err


def test_a_purge_leaves_no_answer_behind(gb: Gb, root: Path) -> None:
    told = gb("delete", "sim:BTC-USD", "--purge", "--reason", "a licence ended", "--yes", "--lake", root)
    assert told.code == 0
    assert kept(root) == []


def test_a_redis_that_cannot_be_asked_is_told(gb: Gb, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GB_CACHE_REDIS", "redis://:PLANTED@127.0.0.1:1/0")
    told = gb("cache", "stats", "--lake", root)
    assert (told.code, "Redis cannot be asked" in told.err) == (0, True)
    cleared = gb("cache", "clear", "--lake", root)
    assert (cleared.code, "could not be asked" in cleared.err) == (1, True)
    assert "PLANTED" not in told.out + told.err + cleared.out + cleared.err
