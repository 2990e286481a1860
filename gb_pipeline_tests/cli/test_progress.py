"""How far a command is: in its unit, with rate and remaining time, and in a pipe as a line now and then."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from gb_pipeline.cli import progress as module
from gb_pipeline.cli.progress import describe_task, progress
from gb_pipeline.simulation import Simulation


def test_a_task_says_what_is_known_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("sessions") as bar:
        bar.add_task("sim 1m", total=1200, detail=lambda: "7 calls")
        [task] = bar.tasks
        assert describe_task(task, "sessions") == "0/1,200 sessions, 7 calls"
        moment = bar.get_time()
        bar.get_time = lambda: moment  # type: ignore[method-assign]
        bar.update(task.id, completed=0)
        moment += 10
        bar.update(task.id, completed=400)
        moment += 10
        bar.update(task.id, completed=800)
        assert describe_task(task, "sessions") == "800/1,200 sessions, 7 calls, 40/s, 0:00:10 left"
        assert describe_task(task, "sessions", 41) == "800/1,200 sessions, 7 calls, 0:00:10 left"
        assert describe_task(task, "sessions", 40) == "800/1,200 sessions, 0:00:10 left"
        bar.update(task.id, completed=1200)
        assert describe_task(task, "sessions").startswith("1,200/1,200 sessions, 7 calls")
        assert "left" not in describe_task(task, "sessions")
        bar.add_task("reading", total=None)
        unknown = bar.tasks[1]
        assert describe_task(unknown, "files") == ""
        bar.advance(unknown.id, 3)
        assert describe_task(unknown, "files").startswith("3 files")
    assert capsys.readouterr() == ("", "")


def test_a_pipe_gets_a_line_now_and_then_and_no_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LINE_SECONDS", 0.02)
    with progress("sessions") as bar:
        bar.advance(bar.add_task("sim 1m", total=3))
        logging.getLogger("gb_pipeline").warning("a retry")
        until = time.monotonic() + 10
        seen = ""
        while "sim 1m: 1/3 sessions" not in seen:
            assert time.monotonic() < until
            time.sleep(0.01)
            seen += capsys.readouterr().err
    assert "a retry" not in seen + capsys.readouterr().err
    with progress("sessions", quiet=True) as bar:
        bar.advance(bar.add_task("sim 1m", total=3))
        time.sleep(0.1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_moves_at_least_every_second_while_a_vendor_takes_its_time(
    tmp_path: Path, exchange: Simulation
) -> None:
    (tmp_path / "gb.yaml").write_text(
        "sources:\n  sim:\n    provider: ccxt\n    asset_class: crypto\n    start: 2024-01-02\n    end: 2024-01-03\n"
        f"    options: {{exchange: binance, base_url: {exchange.url}}}\n    symbols: [SOL-USDT]\n    resolutions: [1h]\n",
        encoding="utf-8",
    )
    exchange.faults.add(match="klines", delay=3.0, times=1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gb_pipeline.cli", "fetch", "sim", "-c", str(tmp_path)],
        stderr=theirs, stdout=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "80", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    moments, shown = [], b""
    try:
        while chunk := _read(ours):
            shown += chunk
            if b"sessions" in chunk and b"sim 1h" in chunk:
                moments.append(time.monotonic())
    finally:
        os.close(ours)
        process.wait(30)
        exchange.faults.clear()
    assert process.returncode == 0
    assert moments[-1] - moments[0] > 2
    assert max(later - earlier for earlier, later in pairwise(moments)) < 1
    lines = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().splitlines()
    assert max(len(line) for line in lines if "/1 sessions" in line) <= 80


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # The other side is closed: this is how Linux says so.
        return b""
