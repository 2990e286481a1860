"""The processes of a Dagster, found by the home that they were started with; Linux only."""

from __future__ import annotations

import os
from pathlib import Path

# Words of each process's command line. A code server loads the definitions in a process of its own, which runs are children of.
WEBSERVER, DAEMON, CODE_SERVER, DEFINITIONS, WORKER, GUARDIAN = (
    "dagster_runtime.webserver", "dagster_runtime.daemon", "code-server", "dagster api grpc", "spawn_main", "guardian",
)  # fmt: skip


def find_processes(home: Path, word: str = "") -> dict[int, str]:
    """Command lines of everything that runs with this home and has this word in its command line, by their ids."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text(encoding="utf-8").replace("\0", " ")
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = f"DAGSTER_HOME={home}".encode() in variables or f"{home}/guardian" in command
        if ours and word in command and int(entry.name) != os.getpid():
            found[int(entry.name)] = command
    return found
