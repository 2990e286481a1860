"""Backup, sync and restore to and from buckets: killed, over a network that fails, and moved by programs that know no lakes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

import polars as pl
import pytest

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.bucket import Bucket
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import reading
from gb_pipeline.storage.address import COPY_MARK
from gb_pipeline.storage.fault_points import COPY_POINTS
from gb_pipeline.storage.raw_responses import RawStore
from gb_pipeline_tests.s3 import copying
from gb_pipeline_tests.s3.store import Store
from gb_pipeline_tests.s3.test_faults import REPOSITORY, set_variables
from gb_pipeline_tests.s3.test_lake import volumes, write

Place = Callable[[str], str]


@pytest.fixture
def place(server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`place("bucket")`: an empty place of a kind, as the environment says that it is reached."""
    set_variables(server.bucket(), monkeypatch.setenv)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    numbers = count()
    return lambda kind: str(server.bucket()) if kind == "bucket" else str(tmp_path / f"folder-{next(numbers)}")


def every_version(store: LakeStore) -> pl.DataFrame:
    snapshot = store.tables.newest("bars_1m")
    return reading.read(store.storage, snapshot.dataset, snapshot.files).sort("timestamp", "known_at")


def assert_equal(one: str, other: str) -> None:
    """Nothing lost, nothing doubled, with all history, and every byte as it was written."""
    here, there = LakeStore.at(one), LakeStore.at(other)
    assert every_version(there).equals(every_version(here))
    assert Lake(there).fingerprint().whole == Lake(here).fingerprint().whole
    assert verify(there).ok


@pytest.mark.parametrize("kills", [2, pytest.param(34, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("command", "here", "there"),
    [
        ("backup", "folder", "bucket"),
        ("restore", "bucket", "folder"),
        pytest.param("sync", "bucket", "bucket", marks=pytest.mark.long),
        pytest.param("sync", "folder", "folder", marks=pytest.mark.long),
    ],
)
def test_copies_that_are_killed_at_points_and_at_random_moments_lose_nothing(
    place: Place, command: str, here: str, there: str, kills: int
) -> None:
    source, target, chance, killed = place(here), place(there), Random(kills), Counter[str]()
    write(LakeStore.at(source), 1)
    began = time.monotonic()
    copying.run(command, source, target)
    whole, attempts = time.monotonic() - began, 0
    while killed.total() < kills:
        attempts += 1
        assert attempts < 4 * kills + 4, f"most copies end before they are killed: {killed}"
        write(LakeStore.at(source), attempts, f"2024-{1 + attempts // 28:02}-{1 + attempts % 28:02}")
        RawStore(LakeStore.at(source).storage).put(f"answer {attempts}".encode())
        point = chance.choice([*COPY_POINTS, "entry_copied:3"]) if attempts % 2 else ""
        process = subprocess.Popen(
            ["env", f"GB_FAULT_POINT={point}", sys.executable, "-m", "gb_pipeline_tests.s3.copying", command, source, target],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        if not point:
            time.sleep(chance.uniform(0, whole))
            process.kill()
        process.communicate()
        assert process.returncode in {0, -signal.SIGKILL}, attempts
        killed[point or "at a random moment"] += process.returncode != 0
        # What is there is the lake at some earlier moment, whole.
        assert set(volumes(LakeStore.at(target))) <= set(range(1, attempts + 1))
        if command == "restore" and LakeStore.at(target).storage.files.size(COPY_MARK) is None:
            # It was done before it was killed, and is a lake of its own now, whose ledger a verification brings up to date.
            continue
        problems = [damage.problem for damage in verify(LakeStore.at(target)).damages]
        assert all("as a copy leaves it that was cut off" in problem for problem in problems)
    assert copying.run(command, source, target) == Lake(LakeStore.at(source)).fingerprint().whole
    assert_equal(source, target)
    print(f"{command} from {here} to {there}: {killed.total()} kills in {attempts} processes: {dict(killed)}")


def test_a_network_that_fails_again_and_again_loses_and_doubles_nothing(place: Place, server: Store) -> None:
    source, copied, synced, restored = (place("bucket"), place("bucket"), place("bucket"), place("folder"))
    server.busy = server.broken = 0.05
    for number in (1, 2):
        write(LakeStore.at(source), number)
        said = [
            copying.run("backup", source, copied),
            copying.run("sync", source, synced),
            copying.run("restore", copied, restored),
        ]
        assert len(set(said)) == 1 and said[0]
    failed = sum(server.failed.values())
    server.heal()
    assert failed > 10
    for target in (copied, synced, restored):
        assert_equal(source, target)
    rows = every_version(LakeStore.at(restored))
    assert rows.height == 2 * 30 and rows.select("timestamp", "known_at").is_unique().all()
    print(f"of {len(server.requests)} requests failed {dict(server.failed)}")


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_a_lake_that_was_moved_works_at_once(place: Place, server: Store, tmp_path: Path, kind: str) -> None:
    old, new = place(kind), place(kind)
    for day in (2, 3):
        write(LakeStore.at(old), day, f"2024-01-{day:02}")
    refresh_catalog(LakeStore.at(old))
    expected = Lake(LakeStore.at(old)).fingerprint().whole
    if kind == "folder":
        shutil.move(old, new)
    else:
        new = f"{new}/deeper"
        move_objects(server, Bucket.parse(old), Bucket.parse(new))
    server.requests.clear()
    moved = LakeStore.at(new)
    assert Lake(moved).fingerprint().whole == expected
    assert Lake(moved).symbols()["record_count"].to_list() == [60]
    assert Lake(moved).sql("select count(*) from bars_1m").item() == 60
    assert not [request for request in server.requests if request.bucket == Bucket.parse(old).name]
    assert write(LakeStore.at(new), 4, "2024-01-04").stored == 30
    refresh_catalog(LakeStore.at(new))
    assert Lake(LakeStore.at(new)).sql("select record_count from symbol_data").item() == 90
    assert verify(LakeStore.at(new)).ok
    assert LakeStore.at(old).tables.newest("bars_1m").version == -1


def move_objects(server: Store, old: Bucket, new: Bucket) -> None:
    """As a program does that knows no lakes, in the order of their names."""
    client = server.client
    for item in client.list_objects_v2(Bucket=old.name, Prefix=f"{old.prefix}/")["Contents"]:
        name = item["Key"].removeprefix(old.prefix)
        client.copy_object(
            Bucket=new.name, Key=f"{new.prefix}{name}", CopySource={"Bucket": old.name, "Key": item["Key"]}
        )
        client.delete_object(Bucket=old.name, Key=item["Key"])
