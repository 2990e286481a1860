"""Processes that a test starts to be killed or to compete, forked from one that has imported everything.

Imports take a second, a fork some milliseconds. What they are forked from computes nothing, so no thread of Polars, Arrow or DuckDB
exists that a child would lack; it begins with the first of them, and ends with the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "deltalake", "duckdb", "httpx", "pandera.polars", "pyarrow.parquet", "gb_pipeline.providers.ccxt.provider",
        "gb_pipeline_tests.faults.ingesting", "gb_pipeline_tests.faults.writing_days",
    ]
)  # fmt: skip
PATIENCE = 180.0


class Forked:
    """A process that runs a function; the first argument of that is a connection to whoever started it.

    Args:
        log: the file that takes what it prints, added to what is there.
        target: a function of a module.
        arguments: more arguments of it.
    """

    def __init__(self, log: Path, target: Callable[..., None], *arguments: object) -> None:
        self.connection, other = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_run, args=(log, target, other, arguments))
        self._process.start()
        # Else an end of the process would not be an end of what it says.
        other.close()

    def hears(self, word: str) -> None:
        """Wait for what it says next, and let nothing else be it; EOFError where it is dead."""
        assert self.connection.poll(PATIENCE), f"it does not say {word!r}"
        assert self.connection.recv() == word

    def poll(self) -> int | None:
        """How it ended, as `subprocess` says it; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """Wait for its end, at most so long."""
        self._process.join(seconds)
        return self._process.exitcode

    def kill(self) -> int | None:
        """End it as hard as can be, whatever it is at."""
        self._process.kill()
        code = self.wait()
        self.connection.close()
        return code


def _run(log: Path, target: Callable[..., None], connection: Connection, arguments: tuple[object, ...]) -> None:
    with log.open("ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        target(connection, *arguments)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise
