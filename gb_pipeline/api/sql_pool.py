"""`SqlPool` runs queries in SQL in a few processes of their own, and ends those that take too much memory or time.

A query does not take the server down: what `sql_child` cannot refuse by itself, the system or the pool ends, and whoever asked
learns why. Rows come through a pipe as they are taken, so the server holds a batch of them.
"""

from __future__ import annotations

import io
import json
import pickle
import selectors
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import islice
from typing import Any, cast

import polars as pl
import pyarrow as pa

from gb_pipeline import errors
from gb_pipeline.api.problems import Problem
from gb_pipeline.api.sql_child import FAILED
from gb_pipeline.errors import GbError, ReadError
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.sql_engine import remove_spilled
from gb_pipeline.reading.sql_plan import SqlPlan
from gb_pipeline.reading.sql_stop import QueryStop

_LOOK_SECONDS = 0.05
# A query that its own limit of time does not end is killed so much later.
_GRACE_SECONDS = 2.0
_START_SECONDS = 120.0
_LEFT_BATCHES = 16


class _Child:
    """One process that answers queries."""

    def __init__(self, lake: Lake, limits: dict[str, Any]) -> None:
        self._storage = lake.store.storage
        command = [sys.executable, "-m", "gb_pipeline.api.sql_child"]
        # A session of its own: Ctrl-C is for the server, with which it ends.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._output = self._process.stdin, self._process.stdout
        self.output = io.BufferedReader(cast(io.RawIOBase, self._output), 1 << 20)
        try:
            self._write(pickle.dumps(lake) + json.dumps(limits).encode() + b"\n")
            self.wait(_START_SECONDS)
        except BaseException:
            self.end()
            raise

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: dict[str, Any]) -> None:
        self._write(json.dumps(question).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._to.write(view) or 0 :]

    def wait(self, seconds: float, stop: QueryStop | None = None) -> dict[str, Any]:
        """What it says next.

        Raises:
            TimeoutError: nothing within the time.
            EOFError: it ended.
            ReadError: the query was stopped, and did not end by itself.
        """
        until, told = time.monotonic() + seconds, False
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while not selector.select(_LOOK_SECONDS):
                if stop is not None and stop.is_stopped and not told:
                    self.ask({"kind": "stop"})
                    told, until = True, time.monotonic() + _GRACE_SECONDS
                if time.monotonic() > until:
                    if told and stop is not None:
                        stop.raise_if_stopped()
                    raise TimeoutError
        line = self.output.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ended(self) -> int:
        """The exit code of one that says nothing more; it may still have to let go of its memory."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        return self.end()

    def end(self) -> int:
        """Kill it, and return its exit code."""
        if self.is_alive:
            self._process.kill()
        code = self._process.wait()
        self._to.close()
        self.output.close()
        remove_spilled(self._storage, self._process.pid)
        return code


class SqlPool:
    """Queries in SQL of one lake. Safe to share between threads."""

    def __init__(self, lake: Lake, *, memory: int, rows: int, seconds: float, processes: int) -> None:
        """Nothing is started before `warm` or the first query.

        Args:
            lake: whose tables are read.
            memory: most bytes that DuckDB may use for one query, and that its answer may have.
            rows: most rows of an answer.
            seconds: how long one query may run.
            processes: how many run at a time; further ones wait.
        """
        self._lake, self._processes = lake, processes
        self._limits: dict[str, Any] = {"memory": memory, "rows": rows, "seconds": seconds}
        self._seconds, self._memory = seconds, memory
        self._slots = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self.close = weakref.finalize(self, _end_all, self._idle)

    def warm(self) -> None:
        """Start a process where there is none, so that the next query need not wait for it: about a second.

        Raises:
            Problem: 503, none can be started.
        """
        if not self._slots.acquire(blocking=False):
            return
        try:
            if self.close.alive and not self._idle:
                self._keep(self._start())
        finally:
            self._slots.release()

    def query(self, text: str, *, as_of: datetime | None = None, stop: QueryStop) -> Iterator[pl.DataFrame]:
        """The rows of a query, a batch at a time; at least one, which may be empty.

        Raises:
            Problem: 503, all processes are busy.
            GbError: as `SqlReader.query`.
        """
        with self._asked("query", text, as_of, stop) as (_, reader):
            batch = next(reader, None)
            yield pl.DataFrame(pl.from_arrow(reader.schema.empty_table() if batch is None else batch))
            for batch in reader:
                yield pl.DataFrame(pl.from_arrow(batch))

    def explain(self, text: str, *, as_of: datetime | None = None, stop: QueryStop) -> SqlPlan:
        """What a query would read.

        Raises:
            Problem: 503, all processes are busy.
            GbError: as `SqlReader.explain`.
        """
        with self._asked("explain", text, as_of, stop) as (told, reader):
            return SqlPlan(pl.DataFrame(pl.from_arrow(reader.read_all())), told["steps"])

    @contextmanager
    def _asked(
        self, kind: str, text: str, as_of: datetime | None, stop: QueryStop
    ) -> Iterator[tuple[dict[str, Any], pa.ipc.RecordBatchStreamReader]]:
        """What a process says of a question, and its rows, to be read to their end; afterwards it is given back."""
        child = self._take(stop)
        whole = False
        try:
            told = self._ask(child, kind, text, as_of, stop)
            with pa.ipc.open_stream(child.output) as reader:
                try:
                    yield told, reader
                except GeneratorExit:
                    # Nobody wants the rest, which is cheaper to read than a process is to start, unless it is long.
                    whole = len(list(islice(reader, _LEFT_BATCHES))) < _LEFT_BATCHES and not told["last"]
                    raise
            whole = not told["last"]
        except (pa.ArrowException, OSError) as error:
            raise ReadError("the process of the query ended in the middle of its answer", fix="ask again") from error
        except _Refused as refused:
            whole = not refused.last
            raise refused.error from None
        finally:
            self._give_back(child, whole=whole)

    def _ask(self, child: _Child, kind: str, text: str, as_of: datetime | None, stop: QueryStop) -> dict[str, Any]:
        try:
            child.ask({"kind": kind, "query": text, "as_of": None if as_of is None else as_of.isoformat()})
            told = child.wait(self._seconds + _GRACE_SECONDS, stop)
        except TimeoutError:
            raise ReadError(
                f"the query ran longer than {self._seconds:g} s",
                fix="ask for less at a time: fewer symbols, a shorter range, or an aggregate",
            ) from None
        except (EOFError, BrokenPipeError):
            raise self._died(child.ended()) from None
        if told["kind"] == "memory":
            raise self._too_large()
        if told["kind"] == "refused":
            raise _Refused(_error_of(told), last=told["last"])
        return told

    def _died(self, code: int) -> ReadError:
        if code == -9:
            return ReadError(
                "the process of the query was killed, by the system for its memory or by a person",
                fix="ask for fewer rows or columns, or aggregate; or ask again",
            )
        if code == FAILED:
            return ReadError(
                "the query failed in a way that nobody foresaw", fix="ask in another way; the server's log says more"
            )
        # A library that is refused memory ends the process, each in its own way.
        return self._too_large()

    def _too_large(self) -> ReadError:
        return ReadError(
            f"the query takes more than {self._memory / 2**30:.3g} GB of memory",
            fix="ask for fewer rows or columns, aggregate, or read bars with `lake.bars`",
        )

    def _take(self, stop: QueryStop) -> _Child:
        until = time.monotonic() + self._seconds
        while not self._slots.acquire(timeout=_LOOK_SECONDS):
            stop.raise_if_stopped()
            if time.monotonic() > until:
                what = f"all {self._processes} processes for queries in SQL are busy"
                raise Problem(503, what, "ask again in a while", "Busy", headers={"retry-after": "5"})
        try:
            while True:
                with self._lock:
                    child = self._idle.pop() if self._idle else None
                if child is None:
                    return self._start()
                if child.is_alive:
                    return child
                child.end()
        except BaseException:
            self._slots.release()
            raise

    def _start(self) -> _Child:
        try:
            return _Child(self._lake, self._limits)
        except (EOFError, TimeoutError, OSError):
            raise Problem(
                503, "no process for queries in SQL can be started", "look at the log of the server", "Busy"
            ) from None

    def _give_back(self, child: _Child, *, whole: bool) -> None:
        if whole and child.is_alive:
            self._keep(child)
            self._slots.release()
            return
        child.end()
        # The next query need not wait for another one to start, and does not start a second one beside it.
        threading.Thread(target=self._replace, daemon=True).start()

    def _replace(self) -> None:
        try:
            if self.close.alive:
                self._keep(self._start())
        except Problem:
            # The next query says it.
            return
        finally:
            self._slots.release()

    def _keep(self, child: _Child) -> None:
        with self._lock:
            if self.close.alive:
                self._idle.append(child)
                return
        child.end()


class _Refused(Exception):
    """A query that its process has refused; it is as good as before, unless this is its `last` one."""

    def __init__(self, error: GbError, *, last: bool) -> None:
        super().__init__(str(error))
        self.error, self.last = error, last


def _error_of(told: dict[str, Any]) -> GbError:
    """The refusal as an exception of its kind, or of the nearest that takes two sentences."""
    plain = (errors.ReadError, errors.LakeError, errors.ConfigError, GbError)
    kind = next(kind for name in told["kinds"] for kind in plain if kind.__name__ == name)
    return kind(told["what"], fix=told["fix"])


def _end_all(children: list[_Child]) -> None:
    while children:
        children.pop().end()
