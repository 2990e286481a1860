"""This module keeps Dagster's processes alive: one that dies is started again, and one that dies again and again ends everything.

Which processes these are is up to `instance`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.dagster_runtime.guardian import GRACE_SECONDS
from gb_pipeline.dagster_runtime.log_file import LogFile
from gb_pipeline.dagster_runtime.processes import Patience, Process, describe_end
from gb_pipeline.dagster_runtime.runs import RunWatch, group_of
from gb_pipeline.errors import ConfigError

_GUARDIAN_LOCK = "guardian.lock"
_PING_SECONDS = 5.0
# A reload replaces the process behind the code server that we started, and for a moment nobody answers.
_AGAIN_SECONDS = 1.0
_MOST_SILENT_PINGS = 3
_LOST_RUNS_SECONDS = 5.0
# A clock that is merely corrected loses less at once.
_SET_BACK_SECONDS = 10.0
# Who needs a code server waits for it so long.
_NO_CODE_SERVER_SECONDS = 60.0


class Supervisor:
    """The processes of one Dagster.

    Args:
        home: the instance's folder.
        log: what the processes print, and one line for each death.
        on_event: told of these lines too.
        patience: how often a process that dies is started again.
        wall_clock: seconds since 1970, which somebody may set.
    """

    def __init__(
        self,
        home: Path,
        log: LogFile,
        on_event: Callable[[str], None] | None,
        patience: Patience,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is started yet."""
        self.runs = RunWatch(home, wall_clock())
        self._wall_clock = wall_clock
        # Grows when the clock is set forward or the machine sleeps, and shrinks when it is set back.
        self._ahead = wall_clock() - time.monotonic()
        self._home, self._log, self._on_event, self._patience = home, log, on_event, patience
        self._processes: dict[str, Process] = {}
        self._follow_clock: list[Process] = []
        self._guardian: subprocess.Popen[bytes] | None = None
        self._ping: CodeServerPing | None = None
        self._next_look = 0.0

    def start(self) -> None:
        """Wait until the processes of a Dagster that was killed are gone, and be guarded from now on.

        Raises:
            ConfigError: they do not end.
        """
        lock = FileLock(self._home / _GUARDIAN_LOCK)
        try:
            lock.acquire(timeout=2 * GRACE_SECONDS)
        except Timeout:
            raise ConfigError(
                f"Dagster ran on {self._home} until it was killed, and its processes do not end",
                fix=f"end them: `ps -ef | grep {self._home}`",
            ) from None
        lock.release()
        self._guard()

    def say(self, line: str) -> None:
        """One line for whoever runs this, and for the log."""
        self._log.write(f"gb: {line}")
        if self._on_event is not None:
            self._on_event(line)

    def launch(
        self,
        name: str,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        follows_clock: bool = False,
    ) -> None:
        """Start a process and keep it alive from now on.

        Args:
            name: for messages.
            command: program and arguments.
            folder: working directory.
            environment: all variables.
            follows_clock: it waits for moments of the wall clock, so it is started again when that is set back.
        """
        process = Process(
            name,
            command,
            folder=folder,
            environment=environment,
            log=self._log,
            patience=self._patience,
            on_group=self._note_group,
        )
        self._processes[name] = process
        if follows_clock:
            self._follow_clock.append(process)
        process.start()

    def watch_code_server(self, name: str, address: str) -> None:
        """A code server loads the definitions in a process of its own: start it again as well when that one has died."""
        self._ping = CodeServerPing(name, address)

    def expect_alive(self) -> None:
        """Raise DagsterError if one of the processes has ended: while they start nothing is started again."""
        for process in self._processes.values():
            if (code := process.exit_code) is not None:
                raise self._error(process, f"Dagster's {process.name} died ({describe_end(code)})")

    def check(self) -> None:
        """Start again what has died, and call runs failed whose process is gone; to be called about once a second.

        Raises:
            DagsterError: a process died so often that it is given up.
        """
        if self._guardian is not None and self._guardian.poll() is not None:
            self._guard()
        self._look_at_clock()
        if self._ping is not None:
            self._ping.look()
            if self._ping.is_dead():
                self._processes[self._ping.name].kill()
        for process in self._processes.values():
            if process.due is not None:
                if time.monotonic() >= process.due and not self._has_to_wait(process):
                    process.start()
            elif (code := process.exit_code) is not None:
                self._bury(process, code)
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOST_RUNS_SECONDS
            groups = {group for process in self._processes.values() for group in process.groups()}
            for run_id in self.runs.fail_lost(lambda process: group_of(process) in groups):
                self.say(f"run {run_id[:8]} lost its process and counts as failed")

    def stop(self) -> None:
        """End everything, runs included; as often as one likes."""
        self._ping = None
        # Who gives work first, who does it last.
        processes = list(reversed(self._processes.values()))
        for process in processes:
            process.ask_to_end()
        until = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.end(until)
        self._processes.clear()
        self._follow_clock.clear()
        self.runs.close()
        if self._guardian is not None:
            guardian, self._guardian = self._guardian, None
            with suppress(OSError):
                if guardian.stdin is not None:
                    guardian.stdin.close()
            guardian.wait()

    def _look_at_clock(self) -> None:
        before, self._ahead = self._ahead, self._wall_clock() - time.monotonic()
        if (back := before - self._ahead) < _SET_BACK_SECONDS:
            return
        for process in self._follow_clock:
            if process.due is None:
                self.say(f"the clock was set back by {_format_seconds(back)}; {process.name} is started again")
                process.kill()
                process.bury(0.0)

    def _has_to_wait(self, process: Process) -> bool:
        """Whether a process that is due would find no code server, which it would then look for only now and then."""
        if self._ping is None or process.name == self._ping.name or process.due is None:
            return False
        return not self._ping.answers and time.monotonic() < process.due + _NO_CODE_SERVER_SECONDS

    def _bury(self, process: Process, code: int) -> None:
        lived = process.lived
        delay = process.deaths.record(lived)
        end = f"{process.name} died after {_format_seconds(lived)} ({describe_end(code)})"
        if delay is None:
            times = self._patience.most_quick_deaths
            raise self._error(process, f"Dagster's {end}: {times} times in a row, each soon after its start")
        process.bury(delay)
        if self._ping is not None and self._ping.name == process.name:
            self._ping.forget()
        self.say(f"{end}; started again in {_format_seconds(delay)}, see the log")

    def _error(self, process: Process, what: str) -> DagsterError:
        error = DagsterError(what, fix=f"see {self._log.path}")
        for line in process.tail:
            error.add_note(line)
        return error

    def _guard(self) -> None:
        program = [sys.executable, "-m", "gb_pipeline.dagster_runtime.guardian", str(self._home / _GUARDIAN_LOCK)]
        self._guardian = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for process in self._processes.values():
            for group in process.groups():
                self._note_group(group, True)

    def _note_group(self, group: int, begins: bool) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            # A guardian that is gone is replaced with the next look.
            with suppress(OSError):
                self._guardian.stdin.write(f"{'+' if begins else '-'}{group}\n".encode())
                self._guardian.stdin.flush()


class CodeServerPing:
    """Asks a code server now and then whether it answers.

    Args:
        name: of its process.
        address: `HOST:PORT`.
    """

    def __init__(self, name: str, address: str) -> None:
        """Nothing is asked yet."""
        self.name = name
        self._address = address
        self._next = 0.0
        self.forget()

    def forget(self) -> None:
        """It is started anew, and answers once it has loaded the definitions."""
        self._answered, self._silent = False, 0

    def look(self) -> None:
        """Ask it, if it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PING_SECONDS
        import grpc

        try:
            with grpc.insecure_channel(self._address) as channel:
                # The empty request, as bytes: Dagster's own client is no public name.
                channel.unary_unary("/api.DagsterApi/Ping")(b"", timeout=_PING_SECONDS)
            self._answered, self._silent = True, 0
        except grpc.RpcError as error:
            self._next = time.monotonic() + _AGAIN_SECONDS
            # One that is merely slow lives.
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self._silent += 1

    @property
    def answers(self) -> bool:
        """Whether it has answered the last time."""
        return self._answered and not self._silent

    def is_dead(self) -> bool:
        """Whether it has answered before, and has not for some time."""
        return self._answered and self._silent >= _MOST_SILENT_PINGS


def _format_seconds(seconds: float) -> str:
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 119.5 * 60 else f"{seconds / 3600:.0f} h"
