"""Surroundings that are not as they should be: a full disk, nothing writable, few handles, a wrong clock, no temporary folder."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import SetClock, at, changed, day, minutes
from gb_pipeline_tests.faults.specimen import SOURCE, fresh

REPOSITORY = Path(__file__).resolve().parents[2]


def in_namespace(folder: Path, mount: str, *arguments: str) -> str:
    """Run Python where a folder is mounted in a way of its own; what it prints. Skips where the machine does not allow that."""
    folder.mkdir(exist_ok=True)
    begin = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*begin, "mount -t tmpfs tmpfs /mnt"], check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of his own")
    command = [*begin, f'{mount} && exec "$@"', str(folder), sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("rounds", [40, pytest.param(400, marks=pytest.mark.long)])
def test_a_full_disk_loses_nothing_and_leaves_nothing_half_done(tmp_path: Path, rounds: int) -> None:
    said = in_namespace(
        tmp_path / "disk", 'mount -t tmpfs -o size=12m tmpfs "$0"', "-m", "gb_pipeline_tests.faults.little_space",
        str(tmp_path / "disk"), str(rounds),
    )  # fmt: skip
    failed = ast.literal_eval(said.splitlines()[-1])
    print(said)
    assert failed["write"] >= rounds / 8
    assert {"compact", "catalog"} <= set(failed)


def test_a_copy_to_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    said = in_namespace(
        tmp_path / "disk", 'mount -t tmpfs -o size=4m tmpfs "$0"', "-m", "gb_pipeline_tests.faults.full_copy",
        str(tmp_path / "disk"), str(tmp_path / "lake"),
    )  # fmt: skip
    failed = ast.literal_eval(said.splitlines()[-1])
    assert failed["backup"] >= 2 and failed["restore"] >= 4, failed


def test_a_lake_that_cannot_be_written_is_read_in_full_and_says_why_it_is_not_changed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    fresh(folder / "lake").copy(folder / "writable")
    mount = 'mount --bind "$0/lake" "$0/lake" && mount -o remount,ro,bind "$0/lake"'
    in_namespace(folder, mount, "-m", "gb_pipeline_tests.faults.surroundings", "read_only", str(folder))


def test_sixty_four_handles_are_enough_for_a_table_of_more_files(tmp_path: Path) -> None:
    alone("few_handles", tmp_path)


def test_nothing_needs_a_temporary_folder_or_leaves_something_in_the_current_one(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    alone("no_temporary_folder", tmp_path, cwd=here, TMPDIR="/nowhere", HOME="/nowhere")
    assert not list(here.iterdir())


def alone(what: str, folder: Path, *, cwd: Path = REPOSITORY, **environment: str) -> None:
    command = [sys.executable, "-m", "gb_pipeline_tests.faults.surroundings", what, str(folder)]
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_clock_that_jumps_moves_no_moment_back(tmp_path: Path) -> None:
    clock = SetClock(at("2024-03-01T00:00"))
    store = LakeStore.at(tmp_path, clock=clock)
    known = []
    for number, jump in enumerate([timedelta(), timedelta(days=400), timedelta(days=-800), timedelta(seconds=1)]):
        clock.now += jump
        frame = changed(minutes("2024-01-02", 3), 0, volume=f"{number + 1}")
        asked = at("2024-03-01T00:00") + timedelta(days=number)
        store.write_bars(SOURCE, "BTC-USD", Resolution.MINUTE, day("2024-01-02"), frame, fetched_at=asked)
        known.append(Lake(store).bars("BTC-USD", "1m")["known_at"].max())
    assert known == sorted(set(known))
    assert known[1] - known[0] == timedelta(days=400)
    assert known[3] - known[1] == 2 * timedelta(microseconds=1)
    for number, moment in enumerate(known):
        assert Lake(store).bars("BTC-USD", "1m", as_of=moment)["volume"][0] == number + 1
        assert Lake(store).coverage(as_of=moment)["known_at"].to_list() == [moment]
