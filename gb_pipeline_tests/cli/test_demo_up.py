"""`gb demo`, `gb up` and `gb sim`: everything that runs until it is told to stop, as a person runs it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gb_pipeline.catalog.projection import table_versions
from gb_pipeline.cli.init import read_template
from gb_pipeline.dagster_runtime.client import DagsterClient
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.cli.console import Gb as Command
from gb_pipeline_tests.processes import DAEMON, find_processes

pytestmark = pytest.mark.e2e

GB = [sys.executable, "-m", "gb_pipeline.cli"]
PATIENCE = 150.0


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in ("GB_CONFIG", "GB_SIM_URL", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return dict(os.environ)


@pytest.fixture
def started(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `gb` in the background, with SIGINT ignored as a shell's `&` does it."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "said").open("wb") as said:
            processes.append(
                subprocess.Popen(
                    ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *GB, *arguments],
                    cwd=tmp_path,
                    env=environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                )
            )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


class Terminal:
    """A terminal of its own, for one process; what was printed on it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self._printed: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def said(self) -> str:
        return b"".join(self._printed).decode()

    def close(self) -> None:
        """As a window is closed; as often as one likes."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def _read(self) -> None:
        with suppress(OSError):
            while self._ours >= 0:
                # Nobody may be reading at the moment of the close: it would not take place.
                if select.select([self._ours], [], [], 0.1)[0]:
                    self._printed.append(os.read(self._ours, 65_536))


@pytest.fixture
def in_terminal(
    tmp_path: Path, environment: dict[str, str]
) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Terminal]]]:
    """Start `gb` in a terminal of its own."""
    made: list[tuple[subprocess.Popen[bytes], Terminal]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[bytes], Terminal]:
        terminal = Terminal()
        # A program that makes its standard input the terminal that it is controlled by, and becomes another one.
        control = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", control, *GB, *arguments],
            cwd=tmp_path,
            env=environment | {"COLUMNS": "200", "TERM": "xterm"},
            stdin=terminal.theirs,
            stdout=terminal.theirs,
            stderr=terminal.theirs,
            start_new_session=True,
        )
        os.close(terminal.theirs)
        made.append((process, terminal))
        return made[-1]

    yield start
    for process, terminal in made:
        process.kill()
        process.wait()
        terminal.close()


def wait_until(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < until
        time.sleep(0.1)


def test_the_demo_stores_everything_once(tmp_path: Path, environment: dict[str, str]) -> None:
    other = tmp_path / "my-own-lake"
    command = [*GB, "demo", "--no-ui", "--symbols", "2", "--days", "12"]
    environment["GB_LAKE"] = str(other)
    first = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "24 partitions in 1 run, 24 symbol-days changed" in first.stderr
    lake = Lake.open(tmp_path / "demo" / "data")
    coverage = lake.coverage("sim")
    assert coverage.height == 24
    assert coverage["expected"].sum() == 24 * 1440
    assert coverage["missing"].sum() == 13
    assert lake.quarantine()["symbol"].to_list() == ["BTC-USDT"]
    assert not other.exists(), "a demo must never write to a lake of the environment"

    versions = table_versions(LakeStore.at(tmp_path / "demo" / "data"))
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "nothing committed" in again.stderr
    after = table_versions(LakeStore.at(tmp_path / "demo" / "data"))
    assert {name: after[name] for name in after if name != "fetches"} == {
        name: versions[name] for name in versions if name != "fetches"
    }
    assert find_processes(tmp_path / "demo" / ".dagster") == {}


def test_a_demo_is_not_started_in_somebodys_project(
    tmp_path: Path, gb: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    told = gb("demo", "--no-ui", "--dir", "mine")
    assert told.code == 2
    assert "something other than a demo" in told.err
    assert gb("init", "other").code == 0
    told = gb("demo", "--no-ui", "--dir", "other")
    assert told.code == 2
    assert "is not a demo" in told.err


def test_a_longer_demo_than_its_project_is_refused(
    tmp_path: Path, gb: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = read_template("demo.yaml").replace("{start}", time.strftime("%Y-%m-%d")).replace("{symbols}", "BTC-USDT")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "gb.yaml").write_text(text, encoding="utf-8")
    told = gb("demo")
    assert told.code == 2
    assert "start on" in told.err


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_dagster_stops_with_the_command_that_started_it(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Without a terminal, as a service; by the signal of Ctrl-C."""
    subprocess.run([*GB, "init", "."], cwd=tmp_path, check=True, capture_output=True)
    process = started("up", "--port", "0")
    said = tmp_path / "said"
    wait_until(lambda: "Ctrl-C stops everything" in said.read_text(encoding="utf-8"), process)
    url = said.read_text(encoding="utf-8").split("Dagster: ")[1].split()[0]
    assert may_launch(url)
    with urllib.request.urlopen(f"{url}/server_info", timeout=10) as answer:
        assert answer.status == 200
    home = tmp_path / ".dagster"
    assert len(find_processes(home)) >= 3
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert find_processes(home) == {}
    assert "\x1b" not in said.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_dagster_stops_when_its_terminal_is_closed(
    tmp_path: Path, in_terminal: Callable[..., tuple[subprocess.Popen[bytes], Terminal]]
) -> None:
    """As when a connection to the machine breaks: SIGHUP, and nobody to print to any more."""
    subprocess.run([*GB, "init", "."], cwd=tmp_path, check=True, capture_output=True)
    process, terminal = in_terminal("up", "--port", "0", "--read-only")
    wait_until(lambda: "Ctrl-C stops everything" in terminal.said, process)
    url = terminal.said.split("Dagster, read-only: ")[1].split()[0]
    assert not may_launch(url)
    home = tmp_path / ".dagster"
    assert len(find_processes(home)) >= 3
    terminal.close()
    assert process.wait(60) == 129
    assert find_processes(home) == {}


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_daemon_that_dies_again_and_again_ends_the_command_with_its_last_lines(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    subprocess.run([*GB, "init", "."], cwd=tmp_path, check=True, capture_output=True)
    process = started("up", "--port", "0")
    said, home, killed = tmp_path / "said", tmp_path / ".dagster", 0
    wait_until(lambda: "Ctrl-C stops everything" in said.read_text(encoding="utf-8"), process)
    until = time.monotonic() + PATIENCE
    while process.poll() is None:
        for daemon in find_processes(home, DAEMON):
            with suppress(ProcessLookupError):
                os.kill(daemon, signal.SIGKILL)
            killed += 1
        assert time.monotonic() < until
        time.sleep(0.05)

    text = said.read_text(encoding="utf-8")
    assert process.returncode == 1, text
    assert re.search(r"Dagster's daemon died after \d s \(SIGKILL: out of memory\?\): 6 times in a row", text)
    assert f"see {home / 'dagster.log'}" in text
    assert killed >= 6 and len(re.findall(r"daemon died after .* started again in \d+ s", text)) in {5, 6}
    assert find_processes(home) == {}


def may_launch(url: str) -> bool:
    with DagsterClient(url) as client:
        permissions = client.graphql("{ permissions { permission value } }")["permissions"]
    return next(item["value"] for item in permissions if item["permission"] == "launch_partition_backfill")


def test_the_exchange_runs_alone_until_it_is_told_to_stop(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    ready = tmp_path / "url"
    process = started("sim", "BTC-USDT", "--ready-file", str(ready))
    wait_until(ready.exists, process)
    address = f"{ready.read_text(encoding='utf-8')}/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
