"""Starting and stopping Dagster: one at a time, with a reason when it cannot, and nothing left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.dagster_runtime.client import DagsterClient, DagsterError
from gb_pipeline.dagster_runtime.event_log import KeptEventLog
from gb_pipeline.dagster_runtime.home import HomeLock, ensure_home, prepare_home, read_template
from gb_pipeline.dagster_runtime.instance import HOST, Stack, find_free_port
from gb_pipeline.dagster_runtime.reload import request_reload
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.faults.test_surroundings import in_namespace
from gb_pipeline_tests.processes import CODE_SERVER, find_processes

SOURCE = {"provider": "csv", "options": {"files": "*.csv"}, "start": "2024-01-01", "symbols": ["AAPL"]}

# `gb up`: its exit code, and what it says.
UP = """
import contextlib, io, sys
from gb_pipeline.cli.app import run
said = io.StringIO()
with contextlib.redirect_stderr(said):
    code = run(["up", "--config", sys.argv[1]])
print(code, said.getvalue().strip(), sep="\\n")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"mine": SOURCE}}), encoding="utf-8")
    return tmp_path


def wait_for(done, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.05)


def test_a_home_is_ready_for_several_processes_and_can_be_prepared_again(tmp_path):
    prepare_home(tmp_path / "home")
    prepare_home(tmp_path / "home")

    assert (tmp_path / "home" / "dagster.yaml").read_text(encoding="utf-8").startswith(read_template())
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        limits = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
        assert limits == {"catalog": 1, "compaction": 1}
        assert isinstance(instance.event_log_storage, KeptEventLog)
        assert instance.run_retries_enabled
        assert instance.get_settings("telemetry") == {"enabled": False}


def test_a_schedule_finds_room_beside_backfills_and_healing():
    limits = yaml.safe_load(read_template())["concurrency"]
    beside = sum(one["limit"] for one in limits["runs"]["tag_concurrency_limits"])

    assert {one["key"] for one in limits["runs"]["tag_concurrency_limits"]} == {"dagster/backfill", "gb/healing"}
    assert beside < limits["runs"]["max_concurrent_runs"]
    assert beside < limits["pools"]["default_limit"]


def test_a_projects_own_dagster_yaml_is_used_and_its_storage_too(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("telemetry: {enabled: false}\nnux: {enabled: true}\n", encoding="utf-8")
    prepare_home(tmp_path / "home", mine)
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        assert instance.get_settings("nux") == {"enabled": True}
        assert isinstance(instance.event_log_storage, KeptEventLog)

    mine.write_text(f"storage: {{sqlite: {{base_dir: {tmp_path / 'elsewhere'}}}}}\n", encoding="utf-8")
    prepare_home(tmp_path / "home", mine)
    assert (tmp_path / "home" / "dagster.yaml").read_text(encoding="utf-8") == mine.read_text(encoding="utf-8")
    assert (tmp_path / "elsewhere").is_dir()


def test_a_project_that_was_moved_keeps_its_history(tmp_path):
    (tmp_path / "project").mkdir()
    with dg.DagsterInstance.from_config(str(ensure_home(tmp_path / "project"))) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("mine"))
    moved = (tmp_path / "project").rename(tmp_path / "moved")
    with dg.DagsterInstance.from_config(str(ensure_home(moved))) as instance:
        assert instance.all_asset_keys() == [dg.AssetKey("mine")]
    assert not (tmp_path / "project").exists()


def test_runs_that_died_with_the_last_instance_are_called_failed(tmp_path):
    prepare_home(tmp_path)

    @dg.job
    def nothing() -> None: ...

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        died = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
        waits = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.NOT_STARTED)

    prepare_home(tmp_path)

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.get_run_by_id(died.run_id).status is dg.DagsterRunStatus.FAILURE
        assert instance.get_run_by_id(waits.run_id).status is dg.DagsterRunStatus.NOT_STARTED


def test_a_taken_port_is_refused_at_once(project):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is taken") as caught:
            Stack(project, port=port).start()
        assert "--port" in caught.value.fix
    HomeLock(project / ".dagster").acquire("nobody holds it after that")


def test_a_home_that_cannot_be_written_is_refused_with_its_name(project):
    (project / ".dagster").touch()

    with pytest.raises(ConfigError, match=r"\.dagster cannot be written"):
        Stack(project).start()


@pytest.mark.parametrize("made", [[], [".dagster"], [".dagster", ".dagster/in-use.lock"]])
def test_a_home_on_a_disk_that_is_only_read_is_refused_with_its_name(project, made):
    for name in made:
        (project / name).touch() if name.endswith("lock") else (project / name).mkdir()
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
    said = in_namespace(project, mount, "-W", "ignore", "-c", UP, str(project / "gb.yaml"))
    code, *lines = said.splitlines()

    assert code == "2"
    assert f"keeps its history in {project / '.dagster'}" in said and "cannot be written: Read-only file system" in said
    assert lines[-1].strip() == "-> make room, or make the folder writable"


@pytest.mark.e2e
def test_definitions_that_do_not_load_end_the_start_with_their_reason_and_no_process(project):
    (project / "definitions.py").write_text("raise ValueError('no such universe')\n", encoding="utf-8")
    stack = Stack(project)

    with pytest.raises(DagsterError, match=r"the definitions do not load: .*no such universe"):
        stack.start()

    wait_for(lambda: not find_processes(stack.home))


@pytest.mark.e2e
def test_a_projects_own_definitions_are_loaded_and_may_be_broken_for_a_while(project):
    (project / "own.py").write_text("NAME = 'mine_alone'\n", encoding="utf-8")
    text = (
        "import dagster as dg\nfrom own import NAME\n@dg.asset(name=NAME)\ndef asset(): ...\n"
        "defs = dg.Definitions(assets=[asset])\n"
    )
    (project / "definitions.py").write_text(text, encoding="utf-8")
    stack = Stack(project)

    def assets() -> list[str]:
        nodes = stack.graphql("{ assetNodes { assetKey { path } } }")["assetNodes"]
        return [node["assetKey"]["path"][0] for node in nodes]

    def reload(text: str) -> str:
        """As a person does it; what the page shows then."""
        (project / "definitions.py").write_text(text, encoding="utf-8")
        said = request_reload(stack.url)
        stack.check()
        return said

    try:
        stack.start(daemon=False)
        assert assets() == ["mine_alone"]

        before = find_processes(stack.home)
        assert "no such universe" in reload("raise ValueError('no such universe')\n")
        assert "loaded anew" in reload(text.replace("name=NAME", "name='repaired'"))
        assert assets() == ["repaired"]
        assert set(find_processes(stack.home, CODE_SERVER)) <= set(before)
    finally:
        stack.stop()


def test_a_server_that_is_not_there_is_an_error_in_two_lines():
    with pytest.raises(DagsterError, match="does not answer"):
        DagsterClient(f"http://{HOST}:{find_free_port()}").graphql("{ version }")


@pytest.mark.e2e
def test_a_running_dagster_answers_keeps_its_home_and_leaves_nothing_behind(project):
    with Stack(project) as stack:
        assert stack.graphql("{ version }")["version"] == dg.__version__
        stack.check()
        with pytest.raises(ConfigError, match=f"is running for .*: process {os.getpid()} since 20.*, {stack.url}"):
            Stack(project).start()
        with pytest.raises(DagsterError, match="refused the backfill"):
            stack.client.launch_backfill([["mine", "bars_1m", "NOBODY"]], ["2024-01-01"])

    assert find_processes(stack.home) == {}
    stack.stop()


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_dagster_does_not_outlive_a_parent_that_is_killed_hard(project):
    program = (
        "import sys, signal, time; from pathlib import Path; from gb_pipeline.dagster_runtime.instance import Stack\n"
        "stack = Stack(Path(sys.argv[1])); stack.start(daemon=False); Path(sys.argv[1], 'up').touch(); time.sleep(600)"
    )
    # As a shell starts `program &`: with SIGINT ignored, which children inherit.
    ignoring = (
        "import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", ignoring, sys.executable, "-c", program, str(project)]
    process = subprocess.Popen(command)
    try:
        wait_for(lambda: (project / "up").exists() or process.poll() is not None, 120)
        assert len(find_processes(project / ".dagster")) >= 3
    finally:
        process.kill()
        process.wait()

    wait_for(lambda: not find_processes(project / ".dagster"), 60)
