"""A collector that is killed, wherever it is, loses nothing older than its fsync interval, and stores nothing twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.datasets import STREAM_INTERVALS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.storage import reading
from gb_pipeline.storage.fault_points import SPOOL_POINTS
from gb_pipeline_tests.collectors import plain

FSYNC = 0.2
# What the machine may take, beside other tests, to do what is due, besides the time that it lets the process wait for a processor.
PATIENCE = 0.5
LONGEST_LIFE = 4.0
# Notes beside the collector, which a kill does not take: when each trade was heard, and which ones the spool has said it has.
PROGRAM = """
import json, os, sys, time
from gb_pipeline.collectors.collector import run_collector
from gb_pipeline.collectors.link import Link
from gb_pipeline.collectors.spool import Spool
from gb_pipeline.config.settings import Settings
from gb_pipeline_tests.collectors import plain

notes = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(kind, numbers):
    if numbers:
        os.write(notes, (json.dumps([kind, time.monotonic(), numbers]) + "\\n").encode())

receive, append = Link.receive, Spool.append

def noted_receive(link, data):
    receive(link, data)
    note("heard", [json.loads(data).get("n")])

def noted_append(spool, batches):
    batches = list(batches)
    rows = append(spool, batches)
    note("kept", [int(text) for name, frame in batches if name == "trades" for text in frame["trade_id"]])
    return rows

Link.receive, Spool.append = noted_receive, noted_append
plain.register()
run_collector(Settings.load(sys.argv[1]))
"""


class Trading:
    """A server that sends a numbered trade every few milliseconds, and remembers when."""

    def __init__(self, server: plain.PlainServer) -> None:
        self.server, self.sent = server, dict[int, float]()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._trade, daemon=True)
        self._thread.start()

    def _trade(self) -> None:
        number = 0
        while not self._ended.wait(0.002):
            number += 1
            if self.server.send(
                {"e": "trade", "s": "BTC-USD", "n": number, "t": time.time_ns(), "p": "100.5", "q": "0.25"}
            ):
                self.sent[number] = time.monotonic()

    def end(self) -> None:
        self._ended.set()
        self._thread.join(30)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[tuple[Path, plain.PlainServer]]:
    with plain.PlainServer() as server:
        stream = {"venue": "plain", "symbols": ["BTC-USD"], "options": {"url": server.url}}
        collect = {"collector": "one", "fsync_seconds": FSYNC, "streams": {"feed": stream}, "flush": {"every": "1s"}}
        (tmp_path / "gb.yaml").write_text(
            yaml.safe_dump({"lake": "data", "sources": {}, "collect": collect}), encoding="utf-8"
        )
        yield tmp_path, server


def start(folder: Path, point: str | None = None) -> subprocess.Popen[bytes]:
    environment = os.environ | ({"GB_FAULT_POINT": point} if point else {})
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(folder / "notes")], env=environment)


def waited(process: subprocess.Popen[bytes]) -> float:
    """Seconds that the threads of a process have waited for a processor so far."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(text.split()[1]) for text in map(Path.read_text, threads)) / 1e9


def read_notes(folder: Path) -> Iterator[tuple[str, float, list[int | None]]]:
    for line in (folder / "notes").read_text(encoding="utf-8").splitlines():
        # The last note of a process may be torn.
        with suppress(ValueError):
            yield tuple(json.loads(line))


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)


def check(folder: Path, must_be_there: set[int]) -> None:
    store = LakeStore.of_project(Settings.load(folder))

    def read(dataset: Any) -> pl.DataFrame:
        return reading.read(store.tables.storage, dataset, store.tables.newest(dataset.name).files)

    trades = read(stream_dataset("trades"))
    stored = trades["trade_id"].cast(pl.Int64())
    assert stored.is_unique().all()
    assert must_be_there <= set(stored)
    # What is not there lies in a hole.
    covered = covered_stretches(read(STREAM_INTERVALS))
    numbers = trades.select(pl.col("trade_id").cast(pl.Int64()), pl.col("exchange_time")).sort("trade_id")
    missing = numbers.with_columns(
        pl.col("exchange_time").shift(1).alias("before"), pl.col("trade_id").diff().alias("step")
    )
    for row in missing.filter(pl.col("step") > 1).iter_rows(named=True):
        inside = covered.filter(
            (pl.col("start_time") <= row["before"] + 1000) & (pl.col("end_time") >= row["exchange_time"])
        )
        assert inside.is_empty(), row


def kill_again_and_again(folder: Path, server: plain.PlainServer, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    trading = Trading(server)
    # From and until when each process had to have in its spool what it heard.
    lives: list[tuple[float, float]] = []
    running: subprocess.Popen[bytes] | None = None
    try:
        for count in range(kills):
            running = start(folder)
            wait_for(lambda count=count: server.connected > count, "connection")
            connected, before = time.monotonic(), waited(running)
            time.sleep(chance.uniform(0.0, LONGEST_LIFE))
            late = waited(running) - before
            lives.append((connected, time.monotonic() - FSYNC - PATIENCE - late))
            running.kill()
            running.wait()
        running = start(folder)
        wait_for(lambda: server.connected > kills, "connection")
        trading.end()
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
    finally:
        trading.end()
        if running is not None and running.poll() is None:
            running.kill()
    notes = list(read_notes(folder))
    kept = {number for kind, _, numbers in notes if kind == "kept" for number in numbers if number is not None}
    heard = [(at, numbers[0]) for kind, at, numbers in notes if kind == "heard" and numbers[0] is not None]
    due = {number for at, number in heard if any(begin < at < end for begin, end in lives)}
    assert kept
    check(folder, kept | due)


def test_kills_at_random_moments_lose_nothing_that_is_older_than_the_interval(
    project: tuple[Path, plain.PlainServer],
) -> None:
    kill_again_and_again(*project, kills=4, seed=1)


@pytest.mark.long
def test_a_hundred_kills_lose_nothing_that_is_older_than_the_interval(
    project: tuple[Path, plain.PlainServer],
) -> None:
    kill_again_and_again(*project, kills=100, seed=2)


def test_who_is_asked_to_end_amid_its_flushes_commits_all_that_it_heard(
    project: tuple[Path, plain.PlainServer],
) -> None:
    folder, server = project
    settings = yaml.safe_load((folder / "gb.yaml").read_text(encoding="utf-8"))
    # One flush follows the other.
    settings["collect"]["flush"] = {"rows": 1}
    (folder / "gb.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    log = folder / "data" / "lake" / "trades" / "_delta_log"
    trading = Trading(server)
    running: subprocess.Popen[bytes] | None = None
    try:
        for count in range(3):
            running = start(folder)
            wait_for(lambda count=count: server.connected > count, "connection")
            enough = len(list(log.glob("*.json"))) + count
            wait_for(lambda enough=enough: len(list(log.glob("*.json"))) > enough, "flush")
            running.send_signal(signal.SIGTERM)
            assert running.wait(120) == 0
            assert not list((folder / "data" / "state" / "spool" / "one").glob("segment-*"))
    finally:
        trading.end()
        if running is not None and running.poll() is None:
            running.kill()
    check(folder, {numbers[0] for kind, _, numbers in read_notes(folder) if kind == "heard" and numbers[0] is not None})


@pytest.mark.parametrize("point", SPOOL_POINTS)
def test_a_death_at_any_point_of_the_way_into_the_lake_is_made_good(
    project: tuple[Path, plain.PlainServer], point: str
) -> None:
    folder, server = project
    dying = start(folder, point)
    wait_for(lambda: server.connected, "connection")
    trading = Trading(server)
    try:
        assert dying.wait(60) == -signal.SIGKILL
        again = start(folder)
        wait_for(lambda: server.connected > 1, "connection")
        since = time.monotonic()
        wait_for(lambda: len(trading.sent) > 20 and time.monotonic() > since + 0.5, "trades")
    finally:
        trading.end()
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 0
    check(folder, set())
