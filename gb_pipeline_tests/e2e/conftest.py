"""One simulated exchange, one real Dagster and one backfill for all end-to-end tests: they only look at what came of it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.dagster_runtime.client import Backfill
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import reading
from gb_pipeline_tests.browser import browser  # noqa: F401 - a fixture
from gb_pipeline_tests.e2e.breakout import beside
from gb_pipeline_tests.processes import CODE_SERVER, DAEMON, DEFINITIONS, WEBSERVER, find_processes

SYMBOLS = ["BTC-USDT", "ETH-USDT", "SOL-USDT", "BNB-USDT", "XRP-USDT", "ADA-USDT"]
DOOMED = ["LTC-USD", "BCH-USD"]
DAYS = [str(date(2024, 1, 1) + timedelta(days=i)) for i in range(30)]
PER_RUN = 15
BAD = ("SOL-USDT", "2024-01-12")
ODD = ("ETH-USDT", "2024-01-09")
GAP = ("XRP-USDT", "2024-01-20")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "moving_average"
COMMITTED = ("bars_1m", "quarantine", "sessions")


@dataclass
class Market:
    """The simulated exchange in a process of its own."""

    url: str
    http: httpx.Client

    def control(self, action: str, **body) -> None:
        self.http.post(f"/_control/{action}", json=body).raise_for_status()

    def klines(self, symbol: str, day: str) -> list[list]:
        """What the exchange serves for a day, asked for without any of our code."""
        start = int(time.mktime(time.strptime(day, "%Y-%m-%d")) - time.timezone) * 1000
        found: list[list] = []
        for part in range(2):
            query = {"symbol": symbol.replace("-", ""), "interval": "1m", "startTime": start + part * 43_200_000,
                     "endTime": start + (part + 1) * 43_200_000 - 1, "limit": 1000}  # fmt: skip
            found += self.http.get("/api.binance.com/api/v3/klines", params=query).raise_for_status().json()
        return found


@dataclass
class Project:
    """A project with its Dagster."""

    folder: Path
    stack: Stack
    store: LakeStore

    def keys(self, symbols=SYMBOLS, source="sim") -> list[list[str]]:
        return [[source, "bars_1m", symbol] for symbol in symbols]

    def committed(self, source: str) -> dict[str, dict[datetime, int]]:
        """Rows of a source by the moment of their commit, which no compaction changes."""
        found = {}
        for name in COMMITTED:
            snapshot = self.store.tables.newest(name)
            files = snapshot.select({"source": source})
            moments = reading.read(self.store.storage, snapshot.dataset, files, ["known_at"])
            found[name] = dict(moments.group_by("known_at").len().iter_rows())
        return found

    def series(self, source: str) -> set[str]:
        """Symbols of the source whose days the page shows."""
        nodes = self.stack.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
        paths = [node["assetKey"]["path"] for node in nodes]
        return {path[2] for path in paths if len(path) == 3 and path[:2] == [source, "bars_1d"]}

    def runs(self) -> list[dict]:
        found = self.stack.graphql(
            "{ runsOrError(limit: 200) { ... on Runs { results { runId jobName status assetSelection { path }"
            " tags { key value } } } } }"
        )
        runs = found["runsOrError"]["results"]
        return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs]

    def pid(self, run_id: str) -> int | None:
        """The process that executes a run, once it does."""
        found = self.stack.graphql(
            "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {"
            " ... on MessageEvent { message } } } } }",
            id=run_id,
        )
        for event in found["logsForRun"].get("events", []):
            match = re.search(r"Executing steps in process \(pid: (\d+)\)", event.get("message", ""))
            if match:
                return int(match[1])
        return None


@dataclass
class Second:
    """What a second backfill, and a Dagster of which everything was killed in the middle of it, came to."""

    again: Backfill
    doomed: Backfill
    before: dict[str, dict[datetime, int]]
    after: dict[str, dict[datetime, int]]
    killed: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="session")
def market(tmp_path_factory) -> Iterator[Market]:
    ready = tmp_path_factory.mktemp("exchange") / "url"
    command = [sys.executable, "-m", "gb_pipeline.simulation", "--seed", "7", "--ready-file", str(ready),
               "--symbols", ",".join([*SYMBOLS, *DOOMED])]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 60
            while not ready.exists():
                assert process.poll() is None and time.monotonic() < until, "the simulated exchange does not start"
                time.sleep(0.05)
            url = ready.read_text(encoding="utf-8")
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
                exchange = Market(url, http)
                for minute in range(20):
                    stamp = f"{BAD[1]}T10:{minute:02d}:00Z"
                    exchange.control("plant", kind="bad", symbol=BAD[0], start=stamp, values={"high": "1.00"})
                odd = f"{ODD[1]}T13:37:00Z"
                exchange.control("plant", kind="bad", symbol=ODD[0], start=odd, values={"low": "99999.00"})
                gap = {"start": f"{GAP[1]}T04:00:00Z", "end": f"{GAP[1]}T04:07:00Z"}
                exchange.control("plant", kind="gap", symbol=GAP[0], **gap)
                yield exchange
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def project(market, tmp_path_factory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    common = {"provider": "ccxt", "asset_class": "crypto", "start": DAYS[0], "end": "2024-01-31", "max_concurrency": 6}
    _write_stocks(folder / "stocks")
    settings = {
        "lake": "data",
        "sources": {
            "sim": common
            | {
                "options": {"exchange": "binance", "base_url": market.url},
                "symbols": SYMBOLS,
                "partitions_per_run": PER_RUN,
                "rate_limit": {"calls": 1000},
            },
            # Slow enough to be killed half-way.
            "doomed": common
            | {
                "options": {"exchange": "coinbase", "base_url": market.url},
                "symbols": DOOMED,
                "partitions_per_run": 10,
                "rate_limit": {"calls": 25},
            },
            # Without symbols until somebody asks the exchange.
            "listed": common
            | {
                "options": {"exchange": "binance", "base_url": market.url},
                "symbols": {"discover": {"quote": "USDT", "match": "^(BTC|ETH)-"}},
                "resolutions": ["1d"],
                "rate_limit": {"calls": 1000},
            },
            "stocks": {
                "provider": "csv",
                "options": {"path": "stocks/{symbol}.csv"},
                "calendar": "XNYS",
                "start": "2024-01-02",
                "end": "2024-02-01",
                "resolutions": ["1h"],
                "symbols": ["AAPL", "MSFT"],
            },
        },
    }
    # The assets of a project's own: the example's, on the bars of this exchange.
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, folder)
    (folder / "gb.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    stack = Stack(folder)
    stack.start(daemon=False)
    try:
        # The daemon reads the workspace when it starts.
        with beside(stack, folder / "data", end=common["end"]):
            yield Project(folder, stack, LakeStore.at(folder / "data"))
    finally:
        stack.stop()


def _write_stocks(folder: Path) -> None:
    """Hourly bars of the sessions from Friday to Wednesday around Martin Luther King's day."""
    folder.mkdir()
    rows = [
        f"{day}T{hour}:00:00Z,10.{hour},11.00,9.50,10.50,1000"
        for day in ("2024-01-12", "2024-01-16", "2024-01-17")
        for hour in range(14, 21)
    ]
    for symbol in ("AAPL", "MSFT"):
        text = "\n".join(["timestamp,open,high,low,close,volume", *rows])
        (folder / f"{symbol}.csv").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def not_yet_listed(project) -> set[str]:
    """Symbols that the page shows of the source that asks for them, before the daemon: its schedule asks once a day."""
    return project.series("listed")


@pytest.fixture(scope="session")
def launched(project, not_yet_listed) -> tuple[str, str]:
    """Two backfills, of the exchange and of the files, launched as the page does it."""
    client = project.stack.client
    exchange = client.launch_backfill(project.keys(), DAYS)
    stocks = [["stocks", "bars_1h", symbol] for symbol in ("AAPL", "MSFT")]
    files_ = client.launch_backfill(stocks, ["2024-01-12", "2024-01-16", "2024-01-17"])
    project.stack.start_daemon()
    return exchange, files_


@pytest.fixture(scope="session")
def first(project, launched) -> Backfill:
    """The backfill of all symbols over all days."""
    return project.stack.wait_backfill(launched[0], timeout=180)


@pytest.fixture(scope="session")
def stocks(project, launched) -> Backfill:
    """The backfill of the files."""
    return project.stack.wait_backfill(launched[1], timeout=180)


@pytest.fixture(scope="session")
def settled(project, first, stocks) -> Project:
    """The project after everything that happens by itself has happened: the catalog, and the newest day's backtests."""

    def done(runs: list[dict]) -> bool:
        names = [
            run["jobName"] if run["jobName"] != "__ASSET_JOB" else run["assetSelection"][0]["path"][1] for run in runs
        ]
        finished = all(run["status"] in {"SUCCESS", "FAILURE"} for run in runs)
        followed = {"catalog_refresh", "moving_average"} <= set(names) and not catalog_is_stale(project.store)
        return finished and followed

    project.stack.client.wait(project.runs, done, "catalog and backtests", timeout=120, alive=project.stack.check)
    return project


@pytest.fixture(scope="session")
def second(settled) -> Second:
    """The same backfill again, and beside it one in whose first run all processes are killed at once, as hard as can be."""
    client = settled.stack.client
    before = settled.committed("sim")
    again = client.launch_backfill(settled.keys(), DAYS)
    doomed = client.launch_backfill(settled.keys(DOOMED, "doomed"), DAYS[:20])
    killed: dict[str, int] = {}

    def look() -> tuple[Backfill, Backfill]:
        now = client.backfill(doomed)
        for run in now.runs:
            if not killed and run["status"] == "STARTED" and (pid := settled.pid(run["id"])):
                killed.update(kill_all(settled.stack.home, worker=pid))
        return client.backfill(again), now

    done = client.wait(look, lambda both: all(item.finished for item in both), "both", 300, alive=settled.stack.check)
    return Second(*done, before=before, after=settled.committed("sim"), killed=killed)


def kill_all(home: Path, worker: int) -> dict[str, int]:
    """Kill a run's process and then those of Dagster, so that there is nobody to notice the first death; their ids."""
    killed = {"worker": worker}
    os.kill(worker, signal.SIGKILL)
    for name in (DEFINITIONS, CODE_SERVER, DAEMON, WEBSERVER):
        for process in find_processes(home, name):
            killed[name] = process
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    return killed
