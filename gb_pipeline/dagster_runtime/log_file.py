"""This module keeps what Dagster's processes print: in files of bounded size, and the last lines of each process in memory.

A disk that is full costs lines of the log, and nothing else.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MOST_BYTES = 10_000_000
_OLDER_FILES = 4
# One line of the daemon names every series of a run, in front of the range.
_LONGEST = 1_000
_ENDS = 400
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class LogFile:
    """A file of lines that starts anew when it is full; `NAME.1` is the one before, and so on.

    Args:
        path: the file.
        most_bytes: size of each file.
        older_files: how many full ones are kept.
        echo: called with every line as well.

    Example:
        >>> log = LogFile(Path("dagster.log"))
        >>> log.write("the daemon died")
    """

    def __init__(
        self,
        path: Path,
        *,
        most_bytes: int = _MOST_BYTES,
        older_files: int = _OLDER_FILES,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        """Nothing is opened yet."""
        self.path = path
        self._most_bytes, self._older_files, self._echo = most_bytes, older_files, echo
        self._lock = threading.Lock()
        self._lost = 0

    def write(self, line: str) -> str:
        """Add a line, without colours and its middle where it is very long; returns what was added.

        Nothing is raised: see `problem`.
        """
        line = shorten(_COLOURS.sub("", line))
        with self._lock:
            lost = f"... {self._lost:,} lines are lost: the file could not be written\n" if self._lost else ""
            try:
                self._append(f"{lost}{line}\n".encode())
                self._lost = 0
            except OSError:
                self._lost += 1
        if self._echo is not None:
            self._echo(line)
        return line

    def problem(self) -> str:
        """Why the file cannot be written; empty where it can."""
        try:
            with self._lock:
                self._append(b"")
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def _append(self, data: bytes) -> None:
        # Opened for each line: whoever takes the file away gets a new one, and nothing waits in a buffer.
        with self.path.open("ab", buffering=0) as file:
            if not file.tell() or file.tell() + len(data) <= self._most_bytes:
                file.write(data)
                return
        for number in range(self._older_files - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._older(number).replace(self._older(number + 1))
        self.path.replace(self._older(1))
        self.path.write_bytes(data)

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def shorten(line: str, longest: int = _LONGEST, ends: int = _ENDS) -> str:
    """A line whose middle is left out where it is longer than that.

    Example:
        >>> shorten("x" * 2000, 1000, 3)
        'xxx ... 1,994 characters ... xxx'
    """
    if len(line) <= longest:
        return line
    return f"{line[:ends]} ... {len(line) - 2 * ends:,} characters ... {line[-ends:]}"
