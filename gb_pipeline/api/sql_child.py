"""`python -m gb_pipeline.api.sql_child`: answers queries in SQL for the server, one after the other, within a limit of memory.

A query can take any memory in one value, which DuckDB's own limit does not count, and time in steps that nothing interrupts. So
it runs in a process that the system refuses more memory, and that the server ends. It is asked by lines of JSON on its standard
input, after the pickled lake, and answers with a line of JSON and, where there are rows, a stream of Arrow behind it. It ends when
its input does: with the server, however that ends.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import sys
import threading
import traceback
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from gb_pipeline.errors import GbError, ReadError
from gb_pipeline.reading.sql import SqlReader
from gb_pipeline.reading.sql_stop import QueryStop

# What threads and libraries take beside the query, and the answer beside DuckDB.
_BESIDE = 512 << 20
# How it ends where a query failed by a mistake of the code, and not for its memory.
FAILED = 70
_BATCH_ROWS = 65_536
_AGAIN_SECONDS = 0.05
_OUT_OF_MEMORY_SCORE = "1000"


class _Questions:
    """What the server asks; a thread reads it, so that a query can be stopped while it runs."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.stop = QueryStop()
        self.idle = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> dict[str, Any]:
        return self._waiting.get()

    def _read(self) -> None:
        for line in self._source:
            asked = json.loads(line)
            if asked["kind"] != "stop":
                self.stop = QueryStop()
                self.idle.clear()
                self._waiting.put(asked)
                continue
            while not self.idle.is_set():
                self.stop.stop()
                self.idle.wait(_AGAIN_SECONDS)
        os._exit(0)


def _data_bytes() -> int:
    """What the process has asked the system for; 1 GB where nobody says so."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData")), 1 << 30)


def _limit_memory(most_bytes: int) -> int:
    """Let the system refuse more than this beside what the process has now; where memory ends, let it be ended first.

    Returns:
        What it has now, in bytes.
    """
    now = _data_bytes()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OUT_OF_MEMORY_SCORE, encoding="ascii")
    try:
        import resource
    except ImportError:
        # Windows has no such limit; DuckDB's own counts all the same.
        return now
    limit = now + most_bytes + _BESIDE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return now


def _answer(reader: SqlReader, asked: dict[str, Any], stop: QueryStop, out: IO[bytes], worn_bytes: int) -> None:
    """Answer one question; `last` in it says that the process holds so much of earlier ones that it should end."""
    as_of = None if asked["as_of"] is None else datetime.fromisoformat(asked["as_of"])
    told: dict[str, Any] = {"kind": "rows"}
    try:
        if asked["kind"] == "explain":
            plan = reader.explain(asked["query"], as_of=as_of, stop=stop)
            frame, told["steps"] = plan.scans, plan.steps
        else:
            frame = reader.query(asked["query"], as_of=as_of, stop=stop)
    except GbError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        last = _data_bytes() > worn_bytes
        _tell(out, {"kind": "refused", "kinds": kinds, "what": error.what, "fix": error.fix, "last": last})
        return
    except MemoryError:
        _tell(out, {"kind": "memory"})
        return
    table = frame.to_arrow()
    told["last"] = _data_bytes() - table.nbytes > worn_bytes
    _tell(out, told)
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=_BATCH_ROWS)
    out.flush()


def _tell(out: IO[bytes], told: dict[str, Any]) -> None:
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


def main() -> int:
    """Run as a program, by `sql_pool`."""
    source, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What a library prints is no answer.
    os.dup2(2, 1)
    lake = pickle.load(source)
    limits = json.loads(source.readline())
    reader = lake.sql_reader(**limits)
    with suppress(ReadError):
        reader.query("select 1")
    # DuckDB may take so much, and the answer as much again.
    worn_bytes = _limit_memory(2 * limits["memory"]) + limits["memory"] // 2
    questions = _Questions(source)
    _tell(out, {"kind": "ready"})
    while True:
        asked = questions.next()
        try:
            _answer(reader, asked, questions.stop, out, worn_bytes)
        except Exception as error:
            traceback.print_exc()
            sys.stderr.flush()
            # An ordinary end waits for the thread that reads.
            os._exit(1 if isinstance(error, MemoryError) else FAILED)
        finally:
            questions.idle.set()


if __name__ == "__main__":
    raise SystemExit(main())
