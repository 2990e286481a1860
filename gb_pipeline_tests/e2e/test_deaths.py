"""Every process of a running Dagster is killed as hard as can be, in the middle of a backfill, and `gb up` itself at last."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest
import yaml

from gb_pipeline.dagster_runtime.client import Backfill, DagsterClient, DagsterError
from gb_pipeline.lake.ledger import current
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.faults.test_surroundings import in_namespace
from gb_pipeline_tests.processes import (
    CODE_SERVER,
    DAEMON,
    DEFINITIONS,
    GUARDIAN,
    WEBSERVER,
    WORKER,
    find_processes,
)  # fmt: skip

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

# One after the other, which takes minutes. `test_backfill` kills all of them at once.
KILLED = pytest.mark.long

GB = [sys.executable, "-m", "gb_pipeline.cli"]
SYMBOLS = ["LTC-USD", "BCH-USD"]
DAYS = [f"2024-01-{day:02d}" for day in range(1, 17)]
PATIENCE = 150.0
# Twice the time between two calls of the heartbeat.
QUIET = 60.0


@dataclass
class Up:
    """A `gb up`, as a person starts it."""

    folder: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with (self.folder / "said").open("ab") as said:
            command = [*GB, "up", "--port", "0"]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=said, stderr=subprocess.STDOUT)
        self.wait(lambda: self.said.count("Ctrl-C stops everything") == self.said.count("Dagster: ") > self._starts)
        self._starts += 1

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    _starts: int = 0

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text(encoding="utf-8")

    @contextmanager
    def client(self) -> Iterator[DagsterClient]:
        with DagsterClient(re.findall(r"Dagster: (\S+)", self.said)[-1]) as client:
            yield client

    def wait(self, what: Callable[[], object]) -> None:
        until = time.monotonic() + PATIENCE
        while not what():
            assert self.process.poll() is None, f"gb up ended with {self.process.returncode}:\n{self.said}"
            assert time.monotonic() < until, self.said
            time.sleep(0.1)

    def pids(self, word: str = "") -> set[int]:
        """Everything that runs with this home and has this word in its command line."""
        return set(find_processes(self.folder / ".dagster", word)) - {self.process.pid}

    def kill(self, word: str) -> None:
        """Kill one process, and wait until another one has taken its place."""
        self.wait(lambda: self.pids(word))
        before = self.pids(word)
        os.kill(max(before), signal.SIGKILL)
        if word != WORKER:
            self.wait(lambda: len(self.pids(word) - before) >= 1)

    def runs(self) -> list[dict]:
        document = "{ runsOrError(limit: 100) { ... on Runs { results { runId status jobName } } } }"
        try:
            with self.client() as client:
                return client.graphql(document)["runsOrError"]["results"]
        except DagsterError:
            return []

    def count(self, status: str) -> int:
        return sum(run["status"] == status for run in self.runs())

    def wait_for_a_run(self) -> None:
        """Until some run is at work; or has been, which on a busy machine may be over before anybody looks."""
        done = self.count("SUCCESS")
        self.wait(lambda: (self.count("STARTED") and self.pids(WORKER)) or self.count("SUCCESS") > done)


@dataclass
class Aftermath:
    """What is there after all of it."""

    up: Up
    backfill: Backfill
    runs: list[dict]
    left_by_the_killed_one: set[int]
    heart: Heart
    beats: dict[str, int]


class Heart:
    """Counts the calls of a heartbeat."""

    def __init__(self, stack: ExitStack) -> None:
        heart, self.beats = self, 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heart.beats += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}/alive"


def write_project(folder: Path, url: str, calls: int = 12, **settings: object) -> Path:
    source = {
        "provider": "ccxt", "asset_class": "crypto", "start": DAYS[0], "end": "2024-01-17", "symbols": SYMBOLS,
        "options": {"exchange": "coinbase", "base_url": url}, "partitions_per_run": 4, "rate_limit": {"calls": calls},
    }  # fmt: skip
    folder.mkdir()
    (folder / "gb.yaml").write_text(
        yaml.safe_dump({"lake": "data", "sources": {"sim": source}} | settings), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def aftermath(market, tmp_path_factory) -> Iterator[Aftermath]:
    with ExitStack() as stack:
        heart = Heart(stack)
        alerts = {"heartbeat": heart.url, "heartbeat_every": f"{QUIET // 2:.0f}s"}
        up = Up(write_project(tmp_path_factory.mktemp("killed") / "project", market.url, alerts=alerts))
        up.start()
        stack.callback(up.stop)
        with up.client() as client:
            backfill = client.launch_backfill([["sim", "bars_1m", symbol] for symbol in SYMBOLS], DAYS)
        # Nothing is requested yet; a daemon that starts looks at once.
        up.kill(DAEMON)
        for victim in (WORKER, DEFINITIONS, WEBSERVER, CODE_SERVER, GUARDIAN, DAEMON):
            up.wait_for_a_run()
            up.kill(victim)
        up.wait(lambda: heart.beats)
        beats = {"before": heart.beats}
        up.wait_for_a_run()
        up.process.kill()
        up.process.wait()
        until = time.monotonic() + PATIENCE
        while (left := up.pids()) and time.monotonic() < until:
            time.sleep(0.1)
        beats["dead"] = heart.beats
        # Longer than the heartbeat may be silent: there is no condition to wait for.
        time.sleep(QUIET)
        beats["still dead"] = heart.beats
        up.start()
        with up.client() as client:
            done = client.wait_backfill(backfill, timeout=PATIENCE)
        up.wait(lambda: all(run["status"] in {"SUCCESS", "FAILURE"} for run in up.runs()))
        up.wait(lambda: heart.beats > beats["still dead"])
        yield Aftermath(up, done, up.runs(), left, heart, beats)


@pytest.fixture(scope="module")
def undisturbed(market, tmp_path_factory) -> LakeStore:
    folder = write_project(tmp_path_factory.mktemp("undisturbed") / "project", market.url)
    command = [*GB, "fetch", "sim", "--start", DAYS[0], "--end", "2024-01-17"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return LakeStore.at(folder / "data")


@KILLED
def test_every_day_is_there_in_the_end(aftermath):
    assert (aftermath.backfill.status, aftermath.backfill.failed) == ("COMPLETED_SUCCESS", 0), aftermath.up.said
    assert aftermath.backfill.materialized == len(SYMBOLS) * len(DAYS)


@KILLED
def test_the_lake_is_the_one_that_nobody_disturbed(aftermath, undisturbed):
    killed = LakeStore.at(aftermath.up.folder / "data")

    def sessions(store: LakeStore) -> pl.DataFrame:
        rows = current(store.tables).select("source", "symbol", "resolution", "session", "fingerprint")
        return rows.sort("symbol", "session")

    assert sessions(killed).height == len(SYMBOLS) * len(DAYS)
    assert sessions(killed).equals(sessions(undisturbed))
    bars = Lake(killed).bars(SYMBOLS, "1m", source="sim")
    assert bars.height == bars.select("symbol", "timestamp").n_unique() == len(SYMBOLS) * len(DAYS) * 1440


@KILLED
def test_no_run_is_left_at_work_and_what_was_killed_was_started_again(aftermath):
    statuses = [run["status"] for run in aftermath.runs if run["jobName"] == "__ASSET_JOB"]

    assert set(statuses) == {"SUCCESS", "FAILURE"}
    assert statuses.count("SUCCESS") == len(DAYS) / 4
    # The worker's run; and what ran when everything was killed, if anything did.
    assert 1 <= statuses.count("FAILURE") <= 4


@KILLED
def test_the_heartbeat_ends_with_everything_and_goes_on_with_it(aftermath):
    beats = aftermath.beats

    assert beats["before"] >= 1
    assert beats["still dead"] == beats["dead"]
    assert aftermath.heart.beats > beats["still dead"]


@KILLED
def test_nothing_outlives_a_gb_up_that_was_killed(aftermath):
    assert aftermath.left_by_the_killed_one == set()


@KILLED
@pytest.mark.parametrize("name", ["daemon", "code server", "webserver"])
def test_each_death_is_one_short_line(aftermath, name):
    lines = [line for line in aftermath.up.said.splitlines() if f" {name} died" in line]

    assert len(lines) == {"daemon": 2, "code server": 2, "webserver": 1}[name], aftermath.up.said
    for line in lines:
        assert re.fullmatch(
            rf"\S+ {name} died after \d+ s \(SIGKILL: out of memory\?\); started again in \d+ s, see the log", line
        )
    log = (aftermath.up.folder / ".dagster" / "dagster.log").read_text(encoding="utf-8")
    assert log.count(f"gb: {name} died") == len(lines)


@KILLED
def test_each_run_is_one_line_with_what_came_of_it(aftermath):
    said = aftermath.up.said

    assert re.search(r"run \w{8} done in \d+ s: sim/bars_1m, 2 series, 2024-01-01..2024-01-04\n", said)
    assert re.search(r"run \w{8} FAILED.*: sim/bars_1m, 2 series, 2024-01-\d\d..2024-01-\d\d, is started again\n", said)
    assert "elemetry" not in said
    assert max(len(line) for line in said.splitlines()) < 200


@KILLED
def test_the_log_has_no_endless_lines(aftermath):
    log = (aftermath.up.folder / ".dagster" / "dagster.log").read_text(encoding="utf-8")

    assert max(len(line) for line in log.splitlines()) <= 1000
    assert "\x1b" not in log


# It waits for what Dagster gives up only after a while: three minutes on a busy machine.
@pytest.mark.long
def test_a_backfill_goes_on_once_a_full_disk_under_the_home_has_room_again(market, tmp_path):
    # A run takes ten seconds at the least, so it is still at work when the disk is full.
    folder, project = tmp_path / "disk", write_project(tmp_path / "project", market.url, calls=4)
    said = in_namespace(
        folder, 'mount -t tmpfs -o size=24m tmpfs "$0"', "-m", "gb_pipeline_tests.faults.full_instance",
        str(folder), str(project),
    )  # fmt: skip
    found = ast.literal_eval(said.splitlines()[-1])

    assert (found["backfill"], found["materialized"]) == ("COMPLETED_SUCCESS", 2 * 8)
    assert "FAILURE" in found["runs"], "the disk was never full for a run"
