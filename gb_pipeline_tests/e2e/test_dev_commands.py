"""`dagster dev` and `dg dev` at the top of a clone, as people who know Dagster start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.client import DagsterClient, DagsterError
from gb_pipeline.dagster_runtime.instance import HOST, find_free_port
from gb_pipeline_tests.dg_commands import run_dg

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
ASSETS = "{ assetNodes { assetKey { path } } }"


def test_both_show_the_assets_of_gb_yaml(tmp_path):
    """Settings, module and instance come from the files at the top of the repository."""
    with ExitStack() as started:
        clients = [
            (started.enter_context(_started(command, tmp_path / command[0])), tmp_path / command[0])
            for command in (["dagster", "dev"], ["dg", "dev"])
        ]
        shown = [_assets(client, log) for client, log in clients]

    expected = {
        f"{source.name}/{resolution.table}/{symbol.code}"
        for source in Settings.load(REPOSITORY).sources.values()
        for resolution in source.resolutions
        for symbol in source.instruments
    }
    assert shown[0] == shown[1]
    assert expected | {"catalog", "ledgers_compaction", "vacuum"} <= shown[0]


def test_dg_checks_and_lists_what_gb_yaml_makes():
    defs, yaml_files, listed, envs = run_dg(REPOSITORY, "check defs", "check yaml", "list defs --json", "list envs")

    assert (defs.code, yaml_files.code, envs.code) == (0, 0, 0), defs.output + yaml_files.output + envs.output
    keys = {asset["asset_key"] for asset in json.loads(listed.stdout)["assets"]}
    assert keys >= {"coinbase/bars_1m/BTC-USD", "catalog"}


def test_workspace_yaml_names_the_same_module_as_pyproject():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text(encoding="utf-8"))

    module = workspace["load_from"][0]["python_module"]["module_name"]
    assert module == project["dagster"]["module_name"] == project["dg"]["project"]["code_location_target_module"]


@contextmanager
def _started(command: list[str], log: Path) -> Iterator[DagsterClient]:
    port = find_free_port()
    environment = {name: value for name, value in os.environ.items() if name not in {"DAGSTER_HOME", "GB_CONFIG"}}
    environment |= {"GB_LAKE": f"{log}-lake", "DAGSTER_DISABLE_TELEMETRY": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PROGRAMS / command[0]), *command[1:], "--host", HOST, "--port", str(port)],
            cwd=REPOSITORY, env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        with DagsterClient(f"http://{HOST}:{port}") as client:
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _assets(client: DagsterClient, log: Path) -> set[str]:
    until = time.monotonic() + 120
    while True:
        assert time.monotonic() < until, log.read_text(encoding="utf-8")[-3000:]
        try:
            found = client.graphql(ASSETS)["assetNodes"]
        except DagsterError:
            found = []
        if found:
            return {"/".join(node["assetKey"]["path"]) for node in found}
        time.sleep(0.3)
