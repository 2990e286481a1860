"""Several machines, a cut network, a busy store, processes that are killed: nothing is lost, doubled or half done."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import strategies as st

from gb_pipeline.config.bucket import Bucket
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import quarantine
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.storage import bucket_files, reading
from gb_pipeline.storage.bucket_files import BucketFiles
from gb_pipeline.storage.fault_points import POINTS
from gb_pipeline_tests.faults.kills import Suspect, kill_server
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.test_as_of import STEPS
from gb_pipeline_tests.laws.world import Step, World
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store, running_store
from gb_pipeline_tests.s3.test_lake import volumes, write
from gb_pipeline_tests.s3.writing import ROWS, SHARED, own_day

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def reached(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """The bucket, as the environment of this process and of those that it starts says that it is reached."""
    set_variables(bucket, monkeypatch.setenv)
    return bucket


def set_variables(bucket: Bucket, setenv: Callable[[str, str], None]) -> None:
    setenv("AWS_ENDPOINT_URL", str(bucket.endpoint))
    setenv("AWS_ACCESS_KEY_ID", str(bucket.access_key_id))
    setenv("AWS_SECRET_ACCESS_KEY", str(bucket.secret_access_key))
    setenv("AWS_REGION", str(bucket.region))


@pytest.mark.parametrize(("machines", "times"), [(4, 4), pytest.param(4, 40, marks=pytest.mark.long)])
def test_four_machines_without_a_common_lock_lose_and_double_nothing(
    reached: Bucket, machine: Machine, tmp_path: Path, machines: int, times: int
) -> None:
    command = [sys.executable, "-m", "gb_pipeline_tests.s3.writing", str(reached)]
    running = [
        subprocess.Popen(
            [*command, str(tmp_path / f"m{who}"), str(who), str(times)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for who in range(machines)
    ]
    said = [json.loads(line) for process in running for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in running] == [0] * machines
    store = machine("reader")
    snapshot = store.tables.newest("bars_1m")
    rows = reading.read(store.storage, snapshot.dataset, snapshot.files).sort("timestamp", "known_at")
    for who in range(machines):
        editions = rows.filter(pl.col("timestamp").dt.date() == own_day(who)).group_by("timestamp")
        for _, versions in editions:
            assert versions["volume"].cast(pl.Int64).to_list() == list(range(1, times + 1))
    shared = [item for item in said if item["day"] == str(SHARED)]
    stored = rows.filter(pl.col("timestamp").dt.date() == SHARED)
    late = quarantine.read(store.tables).height
    assert late == sum(item["late"] for item in shared)
    assert stored.height + late == len(shared) * ROWS
    assert stored.filter(pl.col("superseded_at").is_null()).height == ROWS
    assert verify(store).ok


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.long)])
def test_a_network_that_is_cut_anywhere_leaves_the_whole_write_or_nothing(
    server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(bucket_files, "ATTEMPTS", 1)
    cuts, outcomes = 0, Counter[int]()
    while True:
        bucket = server.bucket()
        write(LakeStore.at(bucket, state=tmp_path / "a"), 1)
        left = cuts = cuts + step

        def cut(_: object) -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        server.gone = cut
        try:
            write(LakeStore.at(bucket, state=tmp_path / "a"), 2)
        except LakeError as error:
            assert "s3://" in str(error) or "bars_1m" in str(error) or "sessions" in str(error)
        finished = not server.is_gone
        server.heal()
        (edition,) = volumes(LakeStore.at(bucket, state=tmp_path / "b"))
        outcomes[edition] += 1
        assert edition in {1, 2}
        again = write(LakeStore.at(bucket, state=tmp_path / "b"), 2)
        assert (again.version is None) == (edition == 2)
        assert volumes(LakeStore.at(bucket, state=tmp_path / "c")) == [2]
        assert verify(LakeStore.at(bucket, state=tmp_path / "c")).ok
        if finished:
            break
    assert outcomes[1] > 1 and outcomes[2] >= 1
    print(f"cut before one of every {step} of {cuts} requests: {dict(outcomes)}")


def test_a_busy_store_and_broken_connections_lose_nothing(machine: Machine, server: Store) -> None:
    server.busy, server.broken = 0.05, 0.05
    for edition in range(1, 13):
        assert write(machine("a"), edition, rows=3).stored == 3
    assert volumes(machine("b")) == [12]
    server.heal()
    store = machine("c")
    snapshot = store.tables.newest("bars_1m")
    rows = reading.read(store.storage, snapshot.dataset, snapshot.files).sort("timestamp", "known_at")
    for _, versions in rows.group_by("timestamp"):
        assert versions["volume"].cast(pl.Int64).to_list() == list(range(1, 13))
    assert verify(store).ok


def test_an_answer_that_is_lost_is_not_taken_for_somebody_elses_commit(bucket: Bucket, server: Store) -> None:
    files, lost = BucketFiles(bucket), []
    files.put_if_absent("first", b"1")

    def lose(request: object) -> None:
        lost.append(request)

    server.after = lambda request: request.name.endswith("second") and not lost and (lose(request) or True)
    assert files.put_if_absent("second", b"mine")
    assert len(lost) == 1
    assert not files.put_if_absent("second", b"another's")
    assert files.read("second") == b"mine"


def test_a_store_that_does_not_say_which_condition_failed_keeps_it_all_the_same(
    machine: Machine, bucket: Bucket, server: Store
) -> None:
    server.terse = True
    files = BucketFiles(bucket)
    assert files.put_if_absent("name", b"mine")
    assert not files.put_if_absent("name", b"another's")
    assert files.read("name") == b"mine"
    assert [write(machine(name), edition).version for name, edition in (("a", 1), ("b", 2))] == [0, 1]
    assert volumes(machine("c")) == [2]


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.long)])
def test_kills_lose_nothing_and_double_nothing(reached: Bucket, tmp_path: Path, kills: int) -> None:
    chance, killed, attempts = Random(kills), Counter[str](), 0
    suspect = Suspect(Path(str(reached)), seed=3)
    with kill_server(tmp_path) as server:
        whole = suspect.attempt(server).seconds
        while killed.total() < kills:
            attempts += 1
            assert attempts < 4 * kills, f"most processes end before they are killed: {killed}"
            point = chance.choice(POINTS) if attempts % 2 else None
            if point:
                end = suspect.attempt(server, point=f"{point}:{chance.randint(1, 3)}")
            else:
                end = suspect.attempt(server, seconds=chance.uniform(0, whole))
            killed[point or "at a random moment"] += end.killed
        suspect.attempt(server)
    assert verify(suspect.store).ok
    print(f"{killed.total()} kills in {attempts} processes: {dict(killed)}")


@law(st.lists(STEPS, min_size=3, max_size=6), few=1, many=50)
def test_as_of_is_a_full_copy_taken_at_that_moment_in_a_bucket_too(steps: list[Step]) -> None:
    """As in a folder, with a store in a process of its own."""
    with running_store() as server, pytest.MonkeyPatch.context() as patched:
        bucket = server.bucket()
        set_variables(bucket, patched.setenv)
        world = World(Path(str(bucket)))
        for step in steps:
            world.take(step)
        world.expect_past()
