"""`python -m gb_pipeline.dagster_runtime.container code|page|daemon`: one of Dagster's processes, in a container of its own.

It prepares what `gb up` prepares and then becomes the process; starting it again is up to the containers. The code server is the
one that makes or migrates Dagster's tables and calls runs failed that died with it: page and daemon wait for it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from gb_pipeline.config.places import find_config, lake_address
from gb_pipeline.dagster_runtime.client import LOCATION, DagsterError
from gb_pipeline.dagster_runtime.event_log import BATCH_ENVIRONMENT
from gb_pipeline.dagster_runtime.home import CONFIG, HOME, names_storage, prepare_home
from gb_pipeline.dagster_runtime.instance import DAEMON, MODULE, OWN_DEFINITIONS, WEBSERVER, listens
from gb_pipeline.errors import ConfigError, GbError

CODE_PORT, PAGE_PORT = 4000, 3000
_WAIT_SECONDS = 300.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare, and become the process that is asked for.

    Args:
        arguments: of the command line; those of this process by default.
    """
    options = parse(arguments)
    try:
        project = find_config(None).parent
        home = project / HOME
        config = _require_config(project)
        if options.role == "code":
            _require_lake()
            prepare_home(home, config)
            command = _code_server(project, options.host, options.port or CODE_PORT)
        else:
            home.mkdir(parents=True, exist_ok=True)
            (home / CONFIG).write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
            workspace = _write_workspace(home, options.code)
            command = (
                _page(workspace, options.host, options.port or PAGE_PORT, read_only=options.read_only)
                if options.role == "page"
                else [Path(sys.executable).name, "-m", DAEMON, "run", "-w", str(workspace)]
            )
    except GbError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        place = error.filename or project
        sys.exit(
            f"error: {place}: {error.strerror}\n  -> mount {HOME} in {project} as a folder that user {os.getuid()} may write"
        )
    # The folder of gb.yaml is the working directory, so relative paths in it mean the same everywhere.
    os.chdir(project)
    program = str(Path(sys.executable).parent / command[0])
    fixed = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
    sys.stderr.flush()
    os.execve(program, [program, *command[1:]], {**BATCH_ENVIRONMENT, **os.environ, **fixed})


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Role and options of a command line; ends the process where they are none."""
    parser = argparse.ArgumentParser(prog="python -m gb_pipeline.dagster_runtime.container")
    parser.add_argument("role", choices=["code", "page", "daemon"])
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on; every one of the container by default")
    parser.add_argument(
        "--port", type=int, help=f"{CODE_PORT} for the code server and {PAGE_PORT} for the page by default"
    )
    parser.add_argument(
        "--code", metavar="HOST:PORT", default=f"code:{CODE_PORT}", help="the code server, for page and daemon"
    )
    parser.add_argument("--read-only", action="store_true", help="a page that shows everything and changes nothing")
    return parser.parse_args(arguments)


def _require_config(project: Path) -> Path:
    """The project's dagster.yaml.

    Raises:
        ConfigError: there is none, or it names no storage: history would be in a container, and in no other one.
    """
    config = project / CONFIG
    if not config.is_file() or not names_storage(config.read_text(encoding="utf-8")):
        raise ConfigError(
            f"{config} names no storage that containers share",
            fix="`gb init --postgres` writes one; see docs/deploy.md",
        )
    return config


def _require_lake() -> None:
    """Look at the lake before a run does, which would say it far down in a log.

    Raises:
        ConfigError: it is a folder of the container that cannot be written.
    """
    lake = lake_address()
    if isinstance(lake, Path):
        nearest = next(folder for folder in (lake, *lake.parents) if folder.exists())
        if not os.access(nearest, os.W_OK):
            raise ConfigError(
                f"the lake {lake} cannot be written: {nearest} belongs to somebody else, or is read-only",
                fix="write `lake: /lake` in gb.yaml and mount a volume there, or name a bucket; see docs/deploy.md",
            )


def _code_server(project: Path, host: str, port: int) -> list[str]:
    own = project / OWN_DEFINITIONS
    target = ["-f", str(own)] if own.is_file() else ["-m", MODULE]
    return ["dagster", "code-server", "start", *target, "-h", host, "-p", str(port), "--location-name", LOCATION]


def _page(workspace: Path, host: str, port: int, *, read_only: bool) -> list[str]:
    options = ["--read-only"] if read_only else []
    return [Path(sys.executable).name, "-m", WEBSERVER, "-h", host, "-p", str(port), "-w", str(workspace), *options]


def _write_workspace(home: Path, code: str) -> Path:
    """The file by which page and daemon find the code server, once that answers.

    Raises:
        ConfigError: not HOST:PORT.
        DagsterError: nobody listens there.
    """
    host, _, port = code.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{code!r} is not the address of a code server", fix=f"write --code HOST:{CODE_PORT}")
    until, told = time.monotonic() + _WAIT_SECONDS, False
    while not _answers(host, int(port)):
        if time.monotonic() > until:
            raise DagsterError(
                f"no code server answered at {code} within {_WAIT_SECONDS:.0f} s",
                fix="look at what its container says; see docs/deploy.md",
            )
        if not told:
            sys.stderr.write(f"waiting for the code server at {code}\n")
            told = True
        time.sleep(0.5)
    workspace = home / "workspace.yaml"
    entry = {"grpc_server": {"host": host, "port": int(port), "location_name": LOCATION}}
    workspace.write_text(yaml.safe_dump({"load_from": [entry]}), encoding="utf-8")
    return workspace


def _answers(host: str, port: int) -> bool:
    try:
        return listens(host, port)
    except OSError:
        # A container that is not started yet has no name either.
        return False


if __name__ == "__main__":
    main()
