"""A backfill that two workers share, each in a folder of its own as on another machine: a real Redis, a real PostgreSQL, the real
daemon, and a lake in a bucket. One of the workers dies in the middle.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.dagster_runtime.client import Backfill
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.simulation.server import Simulation
from gb_pipeline_tests.postgres import find_programs, serve
from gb_pipeline_tests.redis_server import PASSWORD, find_redis, running_redis
from gb_pipeline_tests.s3.store import Store, running_store
from gb_pipeline_tests.security.leaks import leaks

SYMBOLS = ["BTC-USDT", "ETH-USDT"]
DAYS = [f"2024-01-{day:02d}" for day in range(1, 5)]
GB = [sys.executable, "-m", "gb_pipeline.cli"]
QUEUE = """
run_launcher:
  module: gb_pipeline.dagster_runtime.celery_launcher
  class: CeleryLauncher
  config:
    broker: {env: GB_BROKER}
"""
_RUNS = """{ runsOrError { ... on Runs { results { runId status tags { key value } } } } }"""
_STOP = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"


@dataclass
class Farm:
    """A project with a queue, and its workers, each as on a machine of its own."""

    folder: Path
    environment: dict[str, str]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """A worker that has a copy of the two files, and nothing else in common with the others."""
        folder = self.folder / name
        folder.mkdir()
        for file in ("gb.yaml", "dagster.yaml"):
            shutil.copy(self.folder / file, folder)
        with (folder / "log").open("wb") as log:
            self.workers[name] = subprocess.Popen(
                [*GB, "worker", "--runs", "1", "--name", name],
                cwd=folder, env=self.environment | {"HOME": str(folder)}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def said(self, name: str) -> str:
        return (self.folder / name / "log").read_text(encoding="utf-8")

    def are_ready(self) -> bool:
        return all("ready." in self.said(name) for name in self.workers)

    def check(self) -> None:
        for name, worker in self.workers.items():
            assert worker.poll() is None, self.said(name)

    def kill(self, name: str) -> None:
        worker = self.workers.pop(name)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(60)

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            # It ends the run that it is at.
            worker.wait(180)


@dataclass
class Played:
    """What became of it."""

    folder: Path
    backfill: Backfill
    statuses: dict[str, dict[str, str]]
    runs: list[dict[str, Any]]
    cancelled: list[str]
    killed: str
    verified: subprocess.CompletedProcess[str]
    logs: str


def runs_of(stack: Stack) -> list[dict[str, Any]]:
    runs = stack.graphql(_RUNS)["runsOrError"]["results"]
    return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs]


def worker_of(run: dict[str, Any]) -> str:
    return str(run["tags"].get("gb_pipeline/worker", "")).partition("@")[0]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    programs = find_programs()
    if programs is None or find_redis() is None:
        missing = "neither redis-server nor PostgreSQL may be missing"
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)(missing)
    folder = tmp_path_factory.mktemp("farm")
    with ExitStack() as open_:
        patch = open_.enter_context(pytest.MonkeyPatch.context())
        history = open_.enter_context(serve(programs))
        store = open_.enter_context(running_store())
        vendor = open_.enter_context(Simulation(symbols=SYMBOLS))
        broker = open_.enter_context(running_redis(tmp_path_factory.mktemp("queue")))
        for name, value in (history.create("farm") | {"GB_BROKER": broker}).items():
            patch.setenv(name, value)
        farm = Farm(folder, describe_environment(store))
        write_project(folder, str(store.bucket()), vendor.url, history.config)
        stack = Stack(folder, environment=farm.environment)
        open_.callback(stack.stop)
        open_.callback(farm.stop)
        stack.start(daemon=False)
        yield play(farm, stack)


def describe_environment(store: Store) -> dict[str, str]:
    unwanted = ("AWS_", "GB_LAKE", "GB_CONFIG", "GB_STATE", "DAGSTER_HOME", "XDG_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return environment | {
        "AWS_ENDPOINT_URL": store.url,
        "AWS_ACCESS_KEY_ID": store.key,
        "AWS_SECRET_ACCESS_KEY": store.secret,
        "AWS_REGION": "us-east-1",
    }


def write_project(folder: Path, lake: str, url: str, history: str) -> None:
    source = {
        "provider": "ccxt", "options": {"exchange": "binance", "base_url": url}, "asset_class": "crypto",
        "start": DAYS[0], "end": "2024-01-05", "symbols": SYMBOLS, "partitions_per_run": 1, "rate_limit": {"calls": 5},
    }  # fmt: skip
    # A run of it takes minutes.
    slow = source | {"rate_limit": {"calls": 1, "seconds": 100}}
    sources = {"sim": source, "slow": slow}
    (folder / "gb.yaml").write_text(json.dumps({"lake": lake, "sources": sources}), encoding="utf-8")
    # A second instead of a minute, so that a worker that died is missed soon.
    text = history.replace("  poll_interval_seconds: 60", "  poll_interval_seconds: 1")
    assert text != history
    (folder / "dagster.yaml").write_text(text + QUEUE, encoding="utf-8")


def play(farm: Farm, stack: Stack) -> Played:
    client = stack.client

    wanted = client.launch_backfill([["sim", "bars_1m", symbol] for symbol in SYMBOLS], DAYS)
    farm.start("a")
    farm.start("b")
    client.wait(farm.are_ready, bool, "two workers", timeout=120, alive=farm.check)
    stack.start_daemon()
    killed = ""

    def look() -> Backfill:
        nonlocal killed
        farm.check()
        runs = runs_of(stack)
        done = {worker_of(run) for run in runs if run["status"] == "SUCCESS"}
        for run in runs:
            if not killed and "b" in done and run["status"] == "STARTED" and worker_of(run) == "b":
                farm.kill("b")
                killed = run["runId"]
        return client.backfill(wanted)

    backfill = client.wait(look, lambda now: now.finished, "the backfill", timeout=240, alive=stack.check)
    cancelled = cancel_one(stack)
    verified = subprocess.run(
        [*GB, "verify"], cwd=farm.folder, env=farm.environment, capture_output=True, text=True, check=False
    )
    statuses = {symbol: client.partition_statuses(["sim", "bars_1m", symbol]) for symbol in SYMBOLS}
    logs = stack.log.read_text(encoding="utf-8") + farm.said("a") + farm.said("b")
    return Played(farm.folder, backfill, statuses, runs_of(stack), cancelled, killed, verified, logs)


def cancel_one(stack: Stack) -> list[str]:
    """The statuses of a run that is stopped on the page: before, and within what the page waits."""
    run = stack.client.launch_run([["slow", "bars_1m", SYMBOLS[0]]], "2024-01-01")

    def status() -> str:
        return str(next(item["status"] for item in runs_of(stack) if item["runId"] == run))

    begun = stack.client.wait(status, lambda now: now == "STARTED", "a slow run", timeout=120, alive=stack.check)
    answer = stack.graphql(_STOP, id=run)["terminateRun"]["__typename"]
    return [begun, answer, status()]


def test_every_partition_is_materialised(played: Played) -> None:
    assert played.statuses == {symbol: dict.fromkeys(DAYS, "MATERIALIZED") for symbol in SYMBOLS}
    assert (played.backfill.status, played.backfill.materialized) == ("COMPLETED_SUCCESS", len(SYMBOLS) * len(DAYS))


def test_both_workers_took_part(played: Played) -> None:
    # The newest run of all may not have begun yet.
    assert {worker_of(run) for run in played.runs if run["status"] == "SUCCESS"} == {"a", "b"}


def test_what_a_dead_worker_had_is_done_by_another(played: Played) -> None:
    dead = next(run for run in played.runs if run["runId"] == played.killed)
    assert dead["status"] == "FAILURE"
    again = next(run for run in played.runs if run["tags"].get("dagster/parent_run_id") == played.killed)
    assert (again["status"], worker_of(again)) == ("SUCCESS", "a")


def test_a_run_is_cancelled_where_it_is(played: Played) -> None:
    assert played.cancelled == ["STARTED", "TerminateRunSuccess", "CANCELED"]


def test_the_lake_verifies(played: Played) -> None:
    assert played.verified.returncode == 0, played.verified.stderr


def test_the_password_of_the_queue_is_nowhere(played: Played) -> None:
    assert PASSWORD not in played.logs
    assert leaks(PASSWORD, played.folder) == []
