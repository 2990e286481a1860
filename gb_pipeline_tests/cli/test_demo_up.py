"""`gb demo`, `gb up` and `gb sim`: everything that runs until it is told to stop, as a person runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gb_pipeline.catalog.projection import table_versions
from gb_pipeline.dagster_runtime.client import DagsterClient
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.lake import Lake

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


def wait_until(what: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not what():
        assert process.poll() is None, f"ended with {process.returncode}"
        assert time.monotonic() < until
        time.sleep(0.1)


def processes_of(home: Path) -> list[str]:
    """Command lines of everything that runs with this Dagster home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"DAGSTER_HOME={home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append((entry / "cmdline").read_text(encoding="utf-8").replace("\0", " "))
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
    return found


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
    assert processes_of(tmp_path / "demo" / ".dagster") == []


def test_a_demo_is_not_started_in_somebodys_project(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    command = [*GB, "demo", "--no-ui", "--dir", "mine"]
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "something other than a demo" in told.stderr
    subprocess.run([*GB, "init", "other"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    command[-1] = "other"
    told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "is not a demo" in told.stderr


def test_a_longer_demo_than_its_project_is_refused(tmp_path: Path, environment: dict[str, str]) -> None:
    template = Path(__file__).parents[2] / "gb_pipeline" / "cli" / "templates" / "demo.yaml"
    (tmp_path / "demo").mkdir()
    yaml = (
        template.read_text(encoding="utf-8")
        .replace("{start}", time.strftime("%Y-%m-%d"))
        .replace("{symbols}", "BTC-USDT")
    )
    (tmp_path / "demo" / "gb.yaml").write_text(yaml, encoding="utf-8")
    told = subprocess.run([*GB, "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "start on" in told.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_dagster_stops_with_the_command_that_started_it(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]], number: signal.Signals, code: int
) -> None:
    subprocess.run([*GB, "init", "."], cwd=tmp_path, check=True, capture_output=True)
    options = ["--read-only"] if number is signal.SIGTERM else []
    process = started("up", "--port", "0", *options)
    said = tmp_path / "said"
    wait_until(lambda: "Ctrl-C stops everything" in said.read_text(encoding="utf-8"), process)
    url = re.split(r"Dagster(?:, read-only)?: ", said.read_text(encoding="utf-8"))[1].split()[0]
    with DagsterClient(url) as client:
        permissions = client.graphql("{ permissions { permission value } }")["permissions"]
    launches = next(item["value"] for item in permissions if item["permission"] == "launch_partition_backfill")
    assert launches is (not options)
    with urllib.request.urlopen(f"{url}/server_info", timeout=10) as answer:
        assert answer.status == 200
    home = tmp_path / ".dagster"
    assert len(processes_of(home)) >= 3
    process.send_signal(number)
    assert process.wait(60) == code
    assert processes_of(home) == []


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
