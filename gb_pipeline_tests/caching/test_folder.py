"""Answers in files: bounded, whole, and of no consequence where the disk fails."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gb_pipeline.caching.folder import CacheFolder
from gb_pipeline.storage.fault_points import CACHE_POINTS
from gb_pipeline_tests.caching.conftest import LAKE, frame_of, key_of


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.arrow"))


def test_an_answer_is_there_for_the_next_process(tmp_path: Path) -> None:
    CacheFolder(tmp_path, 10).put(key_of(1), frame_of(1))
    found = CacheFolder(tmp_path, 10).get(key_of(1))
    assert found is not None
    assert found.schema == frame_of(1).schema
    assert found.equals(frame_of(1))
    assert CacheFolder(tmp_path, 10).get(key_of(2)) is None
    assert CacheFolder(tmp_path, 10).counts(LAKE) == (1, 1)
    assert files(tmp_path)[0].stat().st_mode & 0o077 == 0, "prices may be licensed to one person"


def test_what_is_mapped_cannot_be_changed(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, 10)
    folder.put(key_of(1), frame_of(1).drop_nulls())
    found = folder.get(key_of(1))
    assert found is not None
    numbers = found["vwap"].to_numpy(allow_copy=False)
    assert not numbers.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        numbers[0] = 7
    found[0, "vwap"] = 7.0
    again = folder.get(key_of(1))
    assert again is not None and again.equals(frame_of(1).drop_nulls())


def test_an_answer_stays_readable_after_its_file_is_gone(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, 10)
    folder.put(key_of(1), frame_of(1))
    found = folder.get(key_of(1))
    assert folder.clear(LAKE)[0] == 1
    assert found is not None and found.equals(frame_of(1))


@pytest.mark.parametrize("kind", ["bit", "cut", "empty", "longer", "another"])
def test_a_file_that_is_not_what_was_written_is_removed(tmp_path: Path, kind: str) -> None:
    chance = random.Random(0)
    for attempt in range(60 if kind == "bit" else 5):
        folder = CacheFolder(tmp_path, 10)
        folder.put(key_of(1), frame_of(1))
        [path] = files(tmp_path)
        data = bytearray(path.read_bytes())
        if kind == "bit":
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            data = data[: chance.randrange(1, len(data))]
        elif kind == "another":
            folder.put(key_of(2 + attempt), frame_of(2))
            data = bytearray(next(file for file in files(tmp_path) if file != path).read_bytes())
            folder.remove(key_of(2 + attempt))
        path.write_bytes(b"" if kind == "empty" else data + b"\0" if kind == "longer" else data)
        assert folder.get(key_of(1)) is None, attempt
        assert not path.exists()


def test_files_stay_below_the_bound_and_the_last_used_stay(tmp_path: Path) -> None:
    CacheFolder(tmp_path, 10).put(key_of(0), frame_of(0))
    one = files(tmp_path)[0].stat().st_size
    folder = CacheFolder(tmp_path, 20 * one / 1e6)
    for number in range(1, 60):
        folder.put(key_of(number), frame_of(number))
        os.utime(tmp_path / LAKE / f"{key_of(number).digest}.arrow", (number, number))
        # Used again and again.
        assert folder.get(key_of(0)) is not None, number
        assert sum(path.stat().st_size for path in files(tmp_path)) <= folder.bound
    kept = [number for number in range(1, 60) if (tmp_path / LAKE / f"{key_of(number).digest}.arrow").exists()]
    assert kept == list(range(kept[0], 60))
    assert len(kept) > 10, "no more is removed than has to be"


def test_two_lakes_share_the_bound_and_no_answer(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, 10)
    other = key_of(1, lake="ba9876543210")
    folder.put(key_of(1), frame_of(1))
    assert folder.get(other) is None
    folder.put(other, frame_of(2))
    assert folder.clear(LAKE)[0] == 1
    found = folder.get(other)
    assert found is not None and found.equals(frame_of(2))


def test_only_its_own_files_are_ever_removed(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, 0.02)
    (tmp_path / LAKE).mkdir()
    for foreign in (tmp_path / "notes.txt", tmp_path / LAKE / "thesis.arrow"):
        foreign.write_bytes(bytes(100_000))
    for number in range(30):
        folder.put(key_of(number), frame_of(number))
    folder.clear(LAKE)
    assert (tmp_path / "notes.txt").exists() and (tmp_path / LAKE / "thesis.arrow").exists()


def test_a_disk_that_is_full_or_no_place_at_all_only_means_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere"), Path("/dev/full")):
        folder = CacheFolder(place, 10)
        folder.put(key_of(1), frame_of(1))
        assert folder.get(key_of(1)) is None
        assert (folder.clear(LAKE), folder.measure(LAKE), folder.counts(LAKE)) == ((0, 0), (0, 0), (0, 0))
    folder = CacheFolder(tmp_path / "full", 10)
    real = os.write
    written = []

    def half(handle: int, data: bytes) -> int:
        if len(data) > 100:
            written.append(real(handle, data[: len(data) // 2]))
            raise OSError(28, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(os, "write", half)
    folder.put(key_of(1), frame_of(1))
    assert written
    assert folder.get(key_of(1)) is None
    assert [path for path in (tmp_path / "full").rglob("*") if path.suffix in {".arrow", ".tmp"}] == []


_FILL = """
import sys
from pathlib import Path
import numpy as np
from gb_pipeline.caching.folder import CacheFolder
from gb_pipeline_tests.caching.conftest import frame_of, key_of
folder, chance = CacheFolder(Path(sys.argv[1]), float(sys.argv[2])), np.random.default_rng(int(sys.argv[3]))
hits = 0
for number in chance.integers(0, 40, 400):
    found = folder.get(key_of(int(number)))
    if found is None:
        folder.put(key_of(int(number)), frame_of(int(number)))
    else:
        hits += 1
        assert found.equals(frame_of(int(number)))
print(hits)
"""


def test_processes_fill_and_evict_at_once_and_every_answer_is_right(tmp_path: Path) -> None:
    CacheFolder(tmp_path, 10).put(key_of(0), frame_of(0))
    bound = 15 * files(tmp_path)[0].stat().st_size
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _FILL, str(tmp_path), str(bound / 1e6), str(seed)], stdout=subprocess.PIPE, text=True
        )
        for seed in range(2)
    ]
    answers = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert all(int(hits) > 0 for hits in answers)
    # Each may have made room just before the other wrote.
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2 * bound
    assert not list(tmp_path.rglob("*.tmp"))


_PUT = """
import sys
from pathlib import Path
from gb_pipeline.caching.folder import CacheFolder
from gb_pipeline_tests.caching.conftest import frame_of, key_of
CacheFolder(Path(sys.argv[1]), 10).put(key_of(1), frame_of(1))
"""


@pytest.mark.parametrize("point", CACHE_POINTS)
def test_a_writer_that_is_killed_leaves_nothing_that_is_read(tmp_path: Path, point: str) -> None:
    command = [sys.executable, "-c", _PUT, str(tmp_path)]
    killed = subprocess.run(command, env=os.environ | {"GB_FAULT_POINT": point}, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    [left] = tmp_path.rglob("*.tmp")
    folder = CacheFolder(tmp_path, 10)
    assert folder.get(key_of(1)) is None
    folder.put(key_of(1), frame_of(1))
    found = folder.get(key_of(1))
    assert found is not None and found.equals(frame_of(1))
    # Half a file goes once nobody can be writing it any more.
    os.utime(left, (1, 1))
    CacheFolder(tmp_path, 10).put(key_of(2), frame_of(2))
    assert not left.exists()


def test_numbers_are_the_same_bits(tmp_path: Path) -> None:
    frame = frame_of(1).with_columns(vwap=np.random.default_rng(0).normal(size=100))
    folder = CacheFolder(tmp_path, 10)
    folder.put(key_of(1), frame)
    found = folder.get(key_of(1))
    assert found is not None
    assert found["vwap"].to_numpy().tobytes() == frame["vwap"].to_numpy().tobytes()
