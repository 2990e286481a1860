"""This module starts one process of Dagster after the other for one purpose, and decides when the next one is due.

Which processes there are, and whether they answer, is up to `instance`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gb_pipeline.dagster_runtime.guardian import is_alive, send
from gb_pipeline.dagster_runtime.log_file import LogFile

_TAIL_LINES = 25
_LINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a process that dies is started again.

    Attributes:
        first_delay, longest_delay: seconds until it is started again the first time, and at most; doubled with each death.
        quick: who lives shorter than so many seconds dies at once.
        settled: who lives longer than so many seconds has no deaths behind it.
        most_quick_deaths: after so many deaths at once in a row it is given up.
    """

    first_delay: float = 1.0
    longest_delay: float = 60.0
    quick: float = 10.0
    settled: float = 300.0
    most_quick_deaths: int = 6


class Deaths:
    """The deaths of one process so far.

    Example:
        >>> deaths = Deaths(Patience())
        >>> [deaths.record(lived=2.0) for _ in range(6)]
        [1.0, 2.0, 4.0, 8.0, 16.0, None]
    """

    def __init__(self, patience: Patience) -> None:
        """None yet."""
        self.patience = patience
        self._in_a_row = self._quick = 0

    def record(self, lived: float) -> float | None:
        """One more, after so many seconds; returns in how many seconds it is started again, None for not at all."""
        patience = self.patience
        if lived >= patience.settled:
            self._in_a_row = 0
        self._quick = self._quick + 1 if lived < patience.quick else 0
        if self._quick >= patience.most_quick_deaths:
            return None
        delay = min(patience.longest_delay, patience.first_delay * 2**self._in_a_row)
        self._in_a_row += 1
        return float(delay)


class Process:
    """One of Dagster's processes, which may be started again and again.

    Args:
        name: for messages.
        command: program and arguments.
        folder: working directory.
        environment: all variables.
        log: gets what it prints.
        patience: see `Patience`.
        on_group: told of each process group that begins (True) and that has ended (False).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log: LogFile,
        patience: Patience,
        on_group: Callable[[int, bool], None],
    ) -> None:
        """Nothing is started yet."""
        self.name = name
        self.deaths = Deaths(patience)
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.due: float | None = None
        self._command, self._folder, self._environment = list(command), folder, dict(environment)
        self._log, self._on_group = log, on_group
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        # Groups whose leader is gone: a code server that died leaves its runs at work.
        self._left: list[int] = []

    def start(self) -> None:
        """Start it, tied to this process: it does not outlive us."""
        self.due = None
        child = [sys.executable, "-m", "gb_pipeline.dagster_runtime.child_process", str(os.getpid())]
        self._process = subprocess.Popen(
            [*child, *self._command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches us alone, and we end the children in order.
            start_new_session=True,
        )
        self._started = time.monotonic()
        self._on_group(self._process.pid, True)
        threading.Thread(
            target=self._read, args=(self._process.stdout,), name=f"log of {self.name}", daemon=True
        ).start()

    @property
    def exit_code(self) -> int | None:
        """How it ended: negative for a signal; None while it runs or waits to be started again."""
        return None if self._process is None else self._process.poll()

    @property
    def lived(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    def groups(self) -> list[int]:
        """Its process groups, and those that earlier ones left."""
        for group in list(self._left):
            # As the first process of a container we inherit what has no parent any more.
            with suppress(ChildProcessError):
                while os.waitpid(-group, os.WNOHANG)[0]:
                    pass
            if not is_alive(group):
                self._left.remove(group)
                self._on_group(group, False)
        return [*self._left, *([self._process.pid] if self._process is not None else [])]

    def kill(self) -> None:
        """End the process itself hard, and nothing that it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def bury(self, delay: float) -> None:
        """Take note of its end, and of when it is started again. What it started goes on."""
        if self._process is not None:
            self._left.append(self._process.pid)
            self._process = None
        self.due = time.monotonic() + delay

    def ask_to_end(self) -> None:
        """Ask it, and all that it started, to end."""
        for group in self.groups():
            send(group, signal.SIGTERM)

    def end(self, until: float) -> None:
        """Wait for its end until a moment of `time.monotonic`, then end hard whatever is left."""
        process, self.due = self._process, None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
        for group in self.groups():
            # The group outlives its leader where a run ignored the first request.
            send(group, signal.SIGKILL)
        if process is not None:
            process.wait()
            self._left.append(process.pid)
            self._process = None
        while self.groups() and time.monotonic() < until:
            time.sleep(0.02)

    def _read(self, output: IO[bytes]) -> None:
        # Runs inherit the pipe, so it may end long after the process itself.
        with output:
            for line in iter(lambda: output.readline(_LINE_BYTES), b""):
                text = self._log.write(line.decode(errors="replace").rstrip("\r\n"))
                if text.strip():
                    self.tail.append(text)


def describe_end(code: int) -> str:
    """How a process ended, from its exit code.

    Example:
        >>> describe_end(-9)
        'SIGKILL: out of memory?'
        >>> describe_end(1)
        'exit code 1'
    """
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    # Hardly anybody but the kernel sends that one.
    return f"{name}: out of memory?" if name == "SIGKILL" else name
