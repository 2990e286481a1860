"""The other end of a worker: a process for each contender, asked one question at a time."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.truth import Truth

ROOT = Path(__file__).resolve().parents[2]


class ContenderFailed(Exception):
    """A contender raised, or its process ended; the message carries what it said."""


class ContenderProcess:
    """A contender in a process and an environment of its own.

    Attributes:
        name: of the contender.
        acts: what it can do.
        exactness: what its answers promise.
        started: wall and processor seconds until its library was imported.
    """

    def __init__(self, name: str, python: Path, scratch: Path) -> None:
        """Start it; `scratch` is a folder for its files."""
        self.name, self.python = name, python
        self.folder = scratch / name
        self.folder.mkdir(parents=True)
        self._said = self.folder / "stderr.txt"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [str(python), "-m", "benchmarks.peers.worker", name],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, encoding="utf-8", cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            )  # fmt: skip
        try:
            told = self.ask("hello")
        except ContenderFailed:
            self.close()
            raise
        self.acts = frozenset(told["acts"])
        self.exactness = str(told["exactness"])
        self.started: dict[str, float] = told["started"]

    def ask(self, do: str, **arguments: Any) -> Any:
        """Send one request and wait for its reply.

        Raises:
            ContenderFailed: with the traceback of the contender, or the last that its process said.
        """
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self._said.read_text(encoding="utf-8", errors="replace")[-4000:]
            raise ContenderFailed(f"the process of {self.name} ended at {do!r}:\n{said}")
        reply = json.loads(line)
        if "error" in reply:
            raise ContenderFailed(f"{self.name} failed at {do!r}:\n{reply['error']}")
        return reply["done"]

    def load(self, name: str, truth: Truth) -> None:
        """Hand over a batch, to be prepared outside the timer, under a name."""
        path = truth.file(self.folder.parent)
        window = {"start": truth.start.isoformat(), "end": truth.end.isoformat()}
        self.ask("load", name=name, path=str(path), resolution=truth.resolution, **window)

    def close(self) -> None:
        """End the process; one that does not end by itself is killed."""
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        with suppress(BrokenPipeError):  # it ended, and what was last said to it stays unread
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()
