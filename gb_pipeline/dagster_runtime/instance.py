"""This module starts and stops a Dagster of our own: webserver, daemon and code server for one project, with their folder.

What they load is up to `gb_pipeline.definitions`, or to the project's own; what is asked of them is in `client`.

`dagster dev` is not used: killed hard it leaves four processes behind, started from a script it may not be stoppable at all,
and its instance is temporary. One code server is shared, or the daemon would load everything anew every minute.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from gb_pipeline.dagster_runtime.client import LOCATION, Backfill, DagsterClient, DagsterError
from gb_pipeline.dagster_runtime.event_log import BATCH_ENVIRONMENT
from gb_pipeline.dagster_runtime.home import CONFIG, HOME, HomeLock, prepare_home
from gb_pipeline.dagster_runtime.log_file import LogFile
from gb_pipeline.dagster_runtime.opening import find_variables
from gb_pipeline.dagster_runtime.processes import Patience
from gb_pipeline.dagster_runtime.reload import LOAD_ERROR, PAGE, find_load_error
from gb_pipeline.dagster_runtime.runs import RunNews
from gb_pipeline.dagster_runtime.supervision import Supervisor
from gb_pipeline.errors import ConfigError

HOST = "127.0.0.1"
MODULE = "gb_pipeline.definitions"
WEBSERVER = "gb_pipeline.dagster_runtime.webserver"
DAEMON = "gb_pipeline.dagster_runtime.daemon"
OWN_DEFINITIONS = "definitions.py"
_LOG = "dagster.log"
_START_SECONDS = 180.0
_READY = f"""{{ workspaceOrError {{ ... on Workspace {{ locationEntries {{ name loadStatus {LOAD_ERROR} }} }} }}
  instance {{ daemonHealth {{ allDaemonStatuses {{ daemonType required healthy }} }} }} }}"""


def find_free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Stack:
    """Dagster for one project, as a context manager.

    It loads the project's own `definitions.py`, where there is one beside gb.yaml, else `gb_pipeline.definitions`.

    Args:
        project: folder of gb.yaml, or the file itself.
        home: the instance's folder; `.dagster` in the project by default.
        port: of the web page; a free one by default.
        config: a dagster.yaml; the project's own if it has one, else the packaged one.
        environment: additional variables of the processes.
        read_only: the page and its API show everything and start, stop or change nothing; schedules and sensors go on.
        on_event: told in one short line of each process that dies and is started again; the log has these lines too.
        on_output: called with every line of the log.
        patience: how often a process that dies is started again.

    Raises:
        ConfigError: another Dagster uses this home, or the port is taken.
        DagsterError: a process did not get ready, or died again and again; notes of the error are the last lines of its output.

    Example:
        >>> with Stack(Path("demo")) as dagster:
        ...     dagster.client.launch_backfill([["sim", "bars_1m", "BTC-USDT"]], ["2024-01-02"])
        'abcdefgh'
    """

    def __init__(
        self,
        project: Path,
        home: Path | None = None,
        port: int | None = None,
        *,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
        read_only: bool = False,
        on_event: Callable[[str], None] | None = None,
        on_output: Callable[[str], None] | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Nothing is started yet."""
        project = project.resolve()
        self.folder = project if project.is_dir() else project.parent
        self.home = (home or self.folder / HOME).resolve()
        self.port = port or find_free_port()
        self.log = self.home / _LOG
        self._workspace = self.home / "workspace.yaml"
        own = self.folder / CONFIG
        self._config = config or (own if own.is_file() else None)
        self._page_options = ["--read-only"] if read_only else []
        self._environment = {
            **BATCH_ENVIRONMENT,
            **os.environ,
            **(environment or {}),
            "GB_CONFIG": str(project),
            "DAGSTER_HOME": str(self.home),
            PAGE: self.url,
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._log = LogFile(self.log, echo=on_output)
        self._supervisor = Supervisor(self.home, self._log, on_event, patience or Patience())
        self._lock = HomeLock(self.home)
        self.client = DagsterClient(self.url)

    @property
    def url(self) -> str:
        """Of the web page."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Stack:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def start(self, on_wait: Callable[[str], None] | None = None, *, daemon: bool = True) -> None:
        """Start everything and wait until it answers.

        Args:
            on_wait: told now and then what is being waited for.
            daemon: False leaves the daemon to `start_daemon`. It looks for backfills when it starts and every 30 seconds
                after: one that is launched before it starts is under way half a minute earlier.
        """
        self._lock.acquire(self.url)
        try:
            self._refuse_taken_port()
            if problem := self._log.problem():
                self._supervisor.say(f"{self.log} cannot be written, so there is no log: {problem}")
            self._supervisor.start()
            prepare_home(self.home, self._config)
            self._environment |= find_variables(self.home)
            code = find_free_port()
            own = self.folder / OWN_DEFINITIONS
            target = ["-f", str(own)] if own.is_file() else ["-m", MODULE]
            # The folder of gb.yaml is the working directory, so relative paths in it mean the same everywhere.
            self._launch("code server", "dagster", "code-server", "start", *target, "-h", HOST, "-p", str(code),
                         "--location-name", LOCATION)  # fmt: skip
            self._wait("code server", lambda: listens(HOST, code), on_wait)
            self._supervisor.watch_code_server("code server", f"{HOST}:{code}")
            entry = {"grpc_server": {"host": HOST, "port": code, "location_name": LOCATION}}
            self._workspace.write_text(yaml.safe_dump({"load_from": [entry]}), encoding="utf-8")
            page = ["-h", HOST, "-p", str(self.port), "-w", str(self._workspace), *self._page_options]
            self._launch("webserver", Path(sys.executable).name, "-m", WEBSERVER, *page)
            if daemon:
                self._launch_daemon()
            self._wait("web page", self._answers, on_wait)
            if daemon:
                self._wait("daemon", self._healthy, on_wait)
        except BaseException:
            self.stop()
            raise

    def start_daemon(self, on_wait: Callable[[str], None] | None = None) -> None:
        """Start the daemon of a stack that was started without it, and wait until it is healthy."""
        self._launch_daemon()
        self._wait("daemon", self._healthy, on_wait)

    def check(self) -> None:
        """Start again what has died, and call runs failed whose process is gone; to be called about once a second.

        Raises:
            DagsterError: one of the processes died again and again.
        """
        self._supervisor.check()

    def news(self) -> list[RunNews]:
        """Runs that began or ended since the last call, oldest first."""
        return self._supervisor.runs.news()

    def graphql(self, document: str, **variables: Any) -> dict[str, Any]:
        """See `DagsterClient.graphql`."""
        return self.client.graphql(document, **variables)

    def wait_backfill(
        self, backfill_id: str, on_progress: Callable[[Backfill], None] | None = None, *, timeout: float = 3600.0
    ) -> Backfill:
        """See `DagsterClient.wait_backfill`; stops waiting as soon as a process has ended."""
        return self.client.wait_backfill(backfill_id, on_progress, timeout=timeout, alive=self.check)

    def stop(self) -> None:
        """Stop everything, runs included; as often as one likes."""
        self._supervisor.stop()
        self.client.close()
        self._lock.release()

    def _refuse_taken_port(self) -> None:
        if listens(HOST, self.port):
            raise ConfigError(
                f"port {self.port} is taken by another program",
                fix=f"choose another one, such as --port {find_free_port()}, or any free one with --port 0",
            )

    def _launch_daemon(self) -> None:
        # Each of its loops waits for a moment of the wall clock: set back by an hour, it would do nothing for an hour.
        options = ("run", "-w", str(self._workspace))
        self._launch("daemon", Path(sys.executable).name, "-m", DAEMON, *options, follows_clock=True)

    def _launch(self, name: str, program: str, *arguments: str, follows_clock: bool = False) -> None:
        command = [str(Path(sys.executable).parent / program), *arguments]
        self._supervisor.launch(
            name, command, folder=self.folder, environment=self._environment, follows_clock=follows_clock
        )

    def _wait(self, what: str, ready: Callable[[], bool], on_wait: Callable[[str], None] | None) -> None:
        until = time.monotonic() + _START_SECONDS
        while not ready():
            self._supervisor.expect_alive()
            if on_wait is not None:
                on_wait(what)
            if time.monotonic() > until:
                raise DagsterError(
                    f"Dagster's {what} was not ready after {_START_SECONDS:.0f} s", fix=f"see {self.log}"
                )
            time.sleep(0.2)

    def _answers(self) -> bool:
        if not listens(HOST, self.port):
            return False
        entries = self.client.graphql(_READY)["workspaceOrError"].get("locationEntries", [])
        for entry in entries:
            if (reason := find_load_error(entry)) is not None:
                raise DagsterError(f"the definitions do not load: {reason}", fix=f"see {self.log}")
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)

    def _healthy(self) -> bool:
        statuses = self.client.graphql(_READY)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return all(item["healthy"] for item in statuses if item["required"])


def listens(host: str, port: int) -> bool:
    """Whether anybody listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
