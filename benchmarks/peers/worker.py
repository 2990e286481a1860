"""The process of one contender: requests and replies are JSON lines, data are files, and the timer is in here.

    python -m benchmarks.peers.worker duckdb_native

This runs in the peers' environment as well as in ours.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from benchmarks.peers.batch import Batch, load, save
from benchmarks.peers.contender import Contender, contender
from benchmarks.peers.questions import Question

BEGAN = time.perf_counter()


class Worker:
    """Answers requests with one contender."""

    def __init__(self, competing: Contender) -> None:
        """Nothing is open yet."""
        self.contender = competing
        self.prepared: dict[str, Any] = {}
        self.answers: list[tuple[Question, Any]] = []

    def hello(self) -> dict[str, Any]:
        return {
            "acts": sorted(self.contender.acts),
            "exactness": self.contender.exactness,
            "started": {"wall": time.perf_counter() - BEGAN, "cpu": time.process_time()},
        }

    def open(self, folder: str, resolution: str) -> None:
        self.contender.open(Path(folder), resolution)
        self.contender.look()

    def load(self, name: str, path: str, resolution: str, start: str, end: str) -> None:
        window = (datetime.fromisoformat(moment).astimezone(UTC) for moment in (start, end))
        self.prepared[name] = self.contender.prepare(Batch(load(Path(path)), resolution, *window))

    def forget(self) -> None:
        self.prepared.clear()

    def time(self, act: str, names: list[str]) -> dict[str, float]:
        """Wall seconds and processor seconds of all threads for one act on some prepared batches, one after another."""
        inputs = [(self.prepared[name],) for name in names] if act != "compact" else [()]
        perform: Callable[..., object] = getattr(self.contender, act)
        gc.collect()
        os.sync()
        cpu, wall = time.process_time(), time.perf_counter()
        for data in inputs:
            perform(*data)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def ask(self, questions: list[dict[str, Any]], folder: str = "", resolution: str = "") -> dict[str, float]:
        """Wall and processor seconds of a question, over some of them; a folder that is named is opened within that."""
        asked = [Question.heard(told) for told in questions]
        self.answers.clear()
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        if folder:
            self.contender.open(Path(folder), resolution)
        for question in asked:
            answer = self.contender.ask(question)
            for column in self.contender.columns(answer):
                column.sum()
            self.answers.append((question, answer))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall": wall / len(asked), "cpu": cpu / len(asked)}

    def tell(self, path: str) -> int:
        """Save the answers to the last questions, a file each; how many there are."""
        for number, (question, answer) in enumerate(self.answers):
            rows = self.contender.rows(answer, question)
            with pa.OSFile(f"{path}.{number}", "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
                writer.write_table(rows)
        return len(self.answers)

    def read(self, path: str) -> None:
        save(self.contender.read(), Path(path))

    def close(self) -> None:
        self.contender.close()


def serve(name: str, requests: TextIO, replies: TextIO) -> None:
    """Answer one request a line until there are no more."""
    worker = Worker(contender(name))
    for line in requests:
        request = json.loads(line)
        method = getattr(worker, request.pop("do"))
        try:
            reply = {"done": method(**request)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    # Libraries print to standard output; only replies may go there.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1], sys.stdin, replies)


if __name__ == "__main__":
    main()
