"""A project of many series, the Dagster that runs it, and what the processes of that take; for the benchmarks of Dagster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from gb_pipeline import Settings
from gb_pipeline.dagster_runtime.home import CONFIG
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline_tests.postgres import find_programs, serve

SOURCE, RESOLUTION = "many", "1d"
DATABASES = ("SQLite", "PostgreSQL")
# What a process's command holds. Those that do the work: the page is another matter.
_COMMANDS = {
    "code server": "code-server",
    "daemon": "dagster_runtime.daemon",
    "webserver": "webserver",
    "database": "postgres",
}
_WORKING = ("code server", "daemon", "database")


def make_project(folder: Path, series: int, days: Sequence[str], **source: Any) -> Settings:
    """A gb.yaml of so many series, each of a file with a row for each day.

    Args:
        folder: new.
        series: how many.
        days: of the rows.
        source: what the source says beside that.
    """
    (folder / "files").mkdir(parents=True)
    text = "date,open,high,low,close,volume\n" + "".join(f"{day},10,11,9,10,100\n" for day in days)
    symbols = [f"S{number:03d}" for number in range(series)]
    for symbol in symbols:
        (folder / "files" / f"{symbol}.csv").write_text(text, encoding="utf-8")
    own = {
        "provider": "csv", "options": {"path": "files/{symbol}.csv"}, "asset_class": "equity", "calendar": "XNYS",
        "symbols": symbols, "resolutions": [RESOLUTION], "grain": "day",
    }  # fmt: skip
    raw = {"lake": "data", "sources": {SOURCE: own | source}}
    (folder / "gb.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return Settings.load(folder)


def paths(settings: Settings) -> list[list[str]]:
    """Asset keys of all series."""
    return [[SOURCE, f"bars_{RESOLUTION}", symbol.code] for symbol in settings.source(SOURCE).instruments]


def list_databases() -> list[str]:
    """Those that are installed here: SQLite always is."""
    return [name for name in DATABASES if name == "SQLite" or find_programs() is not None]


@contextmanager
def start_dagster(folder: Path, database: str) -> Iterator[Stack]:
    """The whole Dagster of a project, with its history in one of `DATABASES`."""
    with ExitStack() as opened:
        if database != "SQLite":
            server = opened.enter_context(serve(find_programs() or Path()))
            (folder / CONFIG).write_text(server.config, encoding="utf-8")
            variables = folder / ".env"
            variables.touch(0o600)
            named = server.create("history")
            variables.write_text("".join(f"{name}='{value}'\n" for name, value in named.items()), encoding="utf-8")
            # Opening the history puts them into the environment, where those of an earlier one would count.
            for name in named:
                os.environ.pop(name, None)
        yield opened.enter_context(Stack(folder))


def cpu_seconds() -> float:
    """Processor time of all that works for a run: daemon, code server, runs and database, those that have ended included."""
    processes = _find_processes()
    return sum(_cpu_of(processes[name]) for name in _WORKING if name in processes)


def cpu_of(name: str) -> float:
    """Processor time of one process, with that of those that it started: `daemon`, `webserver` or `code server`."""
    return _cpu_of(_find_processes()[name])


def memory(name: str) -> float:
    """MB of a process: `daemon`, `webserver` or `code server`."""
    status = Path(f"/proc/{_find_processes()[name]}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def _find_processes() -> dict[str, int]:
    found = {}
    for process in _children(os.getpid()):
        command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        for name, word in _COMMANDS.items():
            if any(part.decode(errors="replace").rpartition("/")[2].endswith(word) for part in command[:4]):
                found[name] = process
    return found


def _children(process: int) -> list[int]:
    """Of all threads of a process."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for thread in threads for child in thread.read_text(encoding="ascii").split()]


def _cpu_of(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        children = _children(process)
    except OSError:
        return 0.0
    ticks = sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK") + sum(_cpu_of(child) for child in children)
