"""Page, daemon and code server as containers have them: three processes with homes of their own, and a database in common."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gb_pipeline.dagster_runtime import container
from gb_pipeline.dagster_runtime.client import DagsterClient, DagsterError
from gb_pipeline.dagster_runtime.home import CONFIG, HOME, read_template
from gb_pipeline.dagster_runtime.instance import DAEMON, WEBSERVER, find_free_port
from gb_pipeline_tests.postgres import Server

PROJECT = """
lake: {lake}
sources:
  files:
    provider: csv
    options: {{path: "{lake}/{{symbol}}.csv", zone: UTC}}
    calendar: XNYS
    start: 2024-01-02
    symbols: [GOOD]
    resolutions: [1d]
"""
_ENTRIES = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError { __typename } } } }
  instance { daemonHealth { allDaemonStatuses { required healthy } } } }"""
_WAIT_SECONDS = 300


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "gb.yaml").write_text(PROJECT.format(lake=tmp_path / "lake"), encoding="utf-8")
    return folder


@contextmanager
def started(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a copy of the project, stopped as a container is stopped."""
    name = arguments[0]
    mounted = shutil.copytree(folder / "project", folder / name)
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", container.__name__, *arguments],
            cwd=folder, env=environment | {"GB_CONFIG": str(mounted)}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            # Dagster's code server sometimes does not hear a SIGTERM; whoever stops containers kills it then, as here.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait(until: Callable[[], bool], processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not until():
        said = "".join(log.read_text("utf-8", "replace")[-2000:] for log in folder.glob("*.log"))
        assert all(process.poll() is None for process in processes), said
        assert time.monotonic() < end, said
        time.sleep(0.3)


@pytest.mark.e2e
def test_three_containers_that_start_at_once_on_an_empty_database_become_one_dagster(
    tmp_path: Path, project: Path, postgres: Server
) -> None:
    (project / CONFIG).write_text(postgres.config, encoding="utf-8")
    variables = postgres.create("containers")
    environment = dict(os.environ) | variables
    code, port = find_free_port(), find_free_port()
    address = ["--code", f"127.0.0.1:{code}"]
    listening = ["--host", "127.0.0.1", "--port"]
    with (
        started(tmp_path, environment, "page", *address, *listening, str(port), "--read-only") as page,
        started(tmp_path, environment, "daemon", *address) as daemon,
        started(tmp_path, environment, "code", *listening, str(code)) as server,
        DagsterClient(f"http://127.0.0.1:{port}") as client,
    ):

        def works() -> bool:
            try:
                told = client.graphql(_ENTRIES)
            except DagsterError:
                return False
            entries = told["workspaceOrError"].get("locationEntries", [])
            statuses = told["instance"]["daemonHealth"]["allDaemonStatuses"]
            return (
                bool(entries)
                and all((one["locationOrLoadError"] or {}).get("__typename") == "RepositoryLocation" for one in entries)
                and all(one["healthy"] for one in statuses if one["required"])
            )

        wait(works, [page, daemon, server], tmp_path)
        with pytest.raises(DagsterError, match="its page is read-only"):
            client.launch_backfill([["files", "bars_1d", "GOOD"]], ["2024-01-02"])
        with postgres.connect("containers") as database, database.cursor() as cursor:
            # What a home is prepared with, which no process of Dagster does by itself.
            cursor.execute("select concurrency_key from concurrency_limits")
            assert {key for (key,) in cursor.fetchall()} >= {"catalog", "compaction"}

    assert "waiting for the code server" in (tmp_path / "page.log").read_text(encoding="utf-8")
    for name in ("code", "page", "daemon"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [HOME, CONFIG, "gb.yaml"]
    secrets = [
        file
        for file in tmp_path.rglob("*")
        if file.is_file() and variables["DAGSTER_POSTGRES_PASSWORD"] in file.read_text("utf-8", "replace")
    ]
    assert secrets == []


@pytest.mark.parametrize("role", ["page", "daemon"])
def test_page_and_daemon_are_those_that_gb_up_starts(
    project: Path, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's own ones lack what is corrected for this process: a killed run would not be started again."""
    (project / CONFIG).write_text(read_template("dagster.postgres.yaml"), encoding="utf-8")
    monkeypatch.setenv("GB_CONFIG", str(project))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(container, "_answers", lambda *_: True)
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _program, command, _environment: became.append(command))
    container.main([role])
    [[program, *arguments]] = became
    assert Path(program) == Path(sys.executable)
    assert arguments[:2] == ["-m", {"page": WEBSERVER, "daemon": DAEMON}[role]]
    assert ["-w", str(project / HOME / "workspace.yaml")] == arguments[arguments.index("-w") :][:2]


@pytest.mark.parametrize("text", [None, read_template()], ids=["no dagster.yaml", "one with SQLite"])
def test_a_history_that_containers_cannot_share_is_refused(
    project: Path, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (project / CONFIG).write_text(text, encoding="utf-8")
    monkeypatch.setenv("GB_CONFIG", str(project))
    for role in ("code", "page", "daemon"):
        with pytest.raises(SystemExit, match=r"names no storage that containers share\n  -> `gb init --postgres`"):
            container.main([role])
    assert not (project / HOME).exists()


@pytest.mark.parametrize("address", ["code", "code:", ":4000", "code:http"])
def test_an_address_that_is_none_is_refused(project: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / CONFIG).write_text(read_template("dagster.postgres.yaml"), encoding="utf-8")
    monkeypatch.setenv("GB_CONFIG", str(project))
    with pytest.raises(SystemExit, match="is not the address of a code server"):
        container.main(["daemon", "--code", address])


def test_a_code_server_that_never_answers_is_said(project: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (project / CONFIG).write_text(read_template("dagster.postgres.yaml"), encoding="utf-8")
    monkeypatch.setenv("GB_CONFIG", str(project))
    monkeypatch.setattr(container, "_WAIT_SECONDS", 0.1)
    address = f"127.0.0.1:{find_free_port()}"
    with pytest.raises(SystemExit, match=f"no code server answered at {address}"):
        container.main(["page", "--code", address])
    assert capsys.readouterr().err == f"waiting for the code server at {address}\n"


def test_a_lake_that_would_be_lost_with_the_container_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / CONFIG).write_text(read_template("dagster.postgres.yaml"), encoding="utf-8")
    monkeypatch.setenv("GB_CONFIG", str(project))
    # A file system that even root cannot write to.
    monkeypatch.setenv("GB_LAKE", "/proc/sys/lake")
    with pytest.raises(
        SystemExit, match=r"the lake /proc/sys/lake cannot be written: /proc/sys .*\n  -> write `lake: /lake`"
    ):
        container.main(["code"])


def test_a_home_that_cannot_be_written_is_a_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / CONFIG).write_text(read_template("dagster.postgres.yaml"), encoding="utf-8")
    (project / HOME).symlink_to("/proc/sys")
    monkeypatch.setenv("GB_CONFIG", str(project))
    monkeypatch.setattr(container, "_answers", lambda *_: True)
    with pytest.raises(SystemExit, match=r"^error: .*\n  -> mount .dagster in .* as a folder that user \d+ may write"):
        container.main(["page"])
