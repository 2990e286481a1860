"""The breakout example as a second code location beside a project: a code server of its own, as another team would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from gb_pipeline.dagster_runtime.instance import HOST, Stack, find_free_port, listens

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "breakout"
_RELOAD = "mutation { reloadWorkspace { __typename ... on Workspace { locationEntries { name loadStatus } } } }"


@contextmanager
def beside(stack: Stack, lake: Path, end: str) -> Iterator[None]:
    """Serve the example's definitions, and put them into the workspace of a Dagster whose daemon does not run yet.

    Args:
        stack: it is running.
        lake: what the example reads.
        end: of the source that it reads, as gb.yaml has it.
    """
    port = find_free_port()
    command = [str(Path(sys.executable).parent / "dagster"), "code-server", "start", "-m", "breakout.definitions", "-d",
               str(EXAMPLE), "-h", HOST, "-p", str(port), "--location-name", "breakout"]  # fmt: skip
    # Runs are told their instance by whoever launches them: the server has no home, and is none of the stack's processes.
    environment = {name: value for name, value in os.environ.items() if name not in {"DAGSTER_HOME", "GB_CONFIG"}}
    environment |= {"BREAKOUT_LAKE": str(lake), "BREAKOUT_END": end, "DAGSTER_DISABLE_TELEMETRY": "1"}
    with (
        (stack.home / "breakout.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            stack.client.wait(
                lambda: listens(HOST, port) or server.poll() is not None, bool, "the second location", 180
            )
            workspace = stack.home / "workspace.yaml"
            entries = yaml.safe_load(workspace.read_text(encoding="utf-8"))
            entry = {"grpc_server": {"host": HOST, "port": port, "location_name": "breakout"}}
            entries["load_from"].append(entry)
            workspace.write_text(yaml.safe_dump(entries), encoding="utf-8")
            answer = stack.graphql(_RELOAD)["reloadWorkspace"]
            assert "breakout" in str(answer), answer
            yield
        finally:
            server.terminate()
