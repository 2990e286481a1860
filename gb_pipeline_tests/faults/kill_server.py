"""A process that has imported everything and forks another for each kill: `python -m gb_pipeline_tests.faults.kill_server`.

Imports take a second, a fork some milliseconds. Nothing is computed here before a fork, so no thread of Polars, Arrow or DuckDB
exists that a child would lack. One request and one response a line, as JSON; what a child says goes to standard error.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer requests until there are no more."""
    import duckdb  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from deltalake import DeltaTable  # noqa: F401

    import gb_pipeline_tests.faults.kill_work  # noqa: F401

    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_kill(json.loads(line))), flush=True)


def _kill(request: dict[str, Any]) -> dict[str, Any]:
    """Start a child, kill it when it is time, and say how it ended and what it acknowledged."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(request, writing)
    os.close(writing)
    said = _listen(reading, child, request["seconds"])
    _, status = os.waitpid(child, 0)
    return {
        "done": [int(number) for number in said.split()],
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "failed": os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0,
        "seconds": time.monotonic() - began,
    }


def _listen(reading: int, child: int, seconds: float | None) -> str:
    """Everything that the child acknowledges; it is killed after so many seconds."""
    deadline = None if seconds is None else time.monotonic() + seconds
    said = b""
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([reading], [], [], left)
        if not ready:
            os.kill(child, signal.SIGKILL)
            deadline = None
            continue
        data = os.read(reading, 65536)
        if not data:
            os.close(reading)
            return said.decode()
        said += data


def _work(request: dict[str, Any], writing: int) -> None:
    try:
        if request["point"]:
            os.environ["GB_FAULT_POINT"] = request["point"]
        from gb_pipeline_tests.faults.kill_work import work

        work(Path(request["root"]), request["seed"], request["first"], request["last"], writing)
    except BaseException:
        traceback.print_exc()
        os._exit(3)
    os._exit(0)


if __name__ == "__main__":
    main()
