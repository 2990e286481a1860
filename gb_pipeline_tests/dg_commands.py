"""Commands of `dg` in a project, several in one fresh process: most of each is what Python imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_SCRIPT = """
import json, sys
from click.testing import CliRunner
from dagster_dg_cli.cli import cli

runner = CliRunner()
done = [runner.invoke(cli, command) for command in json.loads(sys.argv[1])]
print("\\n" + json.dumps([[item.exit_code, item.stdout, item.output] for item in done]))
"""


class Done(NamedTuple):
    """One command's exit code, what it answered, and that with warnings."""

    code: int
    stdout: str
    output: str


def run_dg(folder: Path, *commands: str, **variables: str) -> list[Done]:
    """Run `dg` commands (`"check yaml"`) one after the other, in a folder; `variables` are set for them."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"DAGSTER_HOME", "GB_CONFIG", "GB_LAKE"}
    }
    environment |= {"DAGSTER_DISABLE_TELEMETRY": "1", "COLUMNS": "200", "PYTHONPATH": str(folder / "src"), **variables}
    environment["VIRTUAL_ENV"] = sys.prefix
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps([command.split() for command in commands])],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [Done(*item) for item in json.loads(done.stdout.splitlines()[-1])]
