"""Factors over a lake of daily bars: Qlib's published task, and its Alpha158 over 500 symbols and ten years.

Qlib's task: 14 factors of 800 stocks from 2007 to 2020, one core; 7.4 s is what its documentation prints for its own cached files
(47 s cold from CSV-like stores, 365 s of MySQL). Here it is cold: the lake is opened, read and computed in a new process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measurement import Measurement
from gb_pipeline import Lake
from gb_pipeline.market.calendar import get_calendar

STOCKS, FIRST, LAST = 800, date(2007, 1, 1), date(2021, 1, 1)
WIDE_STOCKS, WIDE_FIRST = 500, date(2011, 1, 1)
ONE_THREAD = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def measure(stocks: int = STOCKS, wide: int = WIDE_STOCKS) -> Iterator[Measurement]:
    """Processor seconds of new processes with one thread, imports and reading included; memory as the system counts it."""
    with tempfile.TemporaryDirectory(prefix="gb-benchmark-") as folder:
        root = Path(folder) / "data"
        fill(root, stocks)
        ours = in_new_process("qlib", root, stocks, str(FIRST))
        title = f"14 factors of {stocks} stocks, 2007 to 2020, cold, one core"
        full = stocks == STOCKS
        others = []
        for name in ("polars", "pandas"):
            theirs = in_new_process(name, root, stocks, str(FIRST))
            others.append(f"{name} by hand {theirs['cpu']:.1f} s")
        yield Measurement(
            title, ours["cpu"], "s", "< 7.4" if full else "", ours["cpu"] < 7.4 if full else None, ", ".join(others),
        )  # fmt: skip
        many = in_new_process("alpha158", root, wide, str(WIDE_FIRST))
        full = wide == WIDE_STOCKS
        yield Measurement(
            f"158 factors of {wide} stocks, ten years", many["cpu"], "s", "< 30" if full else "",
            many["cpu"] < 30 if full else None, f"{many['rows']:,.0f} rows",
        )  # fmt: skip
        short = in_new_process("alpha158", root, wide, "2017-01-01")
        ratio = many["megabytes"] / short["megabytes"]
        yield Measurement(
            "their memory, to that of four years", ratio, "x", "<= 1.2", ratio <= 1.2, f"{many['megabytes']:,.0f} MB"
        )


def fill(root: Path, stocks: int) -> None:
    """A lake of made-up daily bars, from half a year before the first session on."""
    sessions = get_calendar("XNYS").sessions(date(2006, 6, 1), LAST)
    stamps = pl.Series("timestamp", sessions).cast(pl.Datetime("us", "UTC"))
    lake = Lake.open(root, create=True)
    random = np.random.default_rng(7)
    for begin in range(0, stocks, 100):
        frames = []
        for number in range(begin, min(stocks, begin + 100)):
            close = np.round(50 * np.exp(np.cumsum(random.normal(0, 0.015, len(sessions)))), 4)
            opened = np.round(close * (1 + random.normal(0, 0.004, len(sessions))), 4)
            high = np.round(np.maximum(close, opened) * 1.004, 4)
            low = np.round(np.minimum(close, opened) * 0.996, 4)
            volume = random.integers(100_000, 9_000_000, len(sessions)).astype(float)
            columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume, "vwap": close}
            frames.append(pl.DataFrame({"timestamp": stamps, **columns}).with_columns(symbol=pl.lit(f"S{number:04d}")))
        lake.put(pl.concat(frames), source="sim", resolution="1d", calendar="XNYS", decimals=4, precision="standard")


def in_new_process(task: str, root: Path, stocks: int, start: str) -> dict[str, Any]:
    """What one task of `factor_tasks` took, in a process of one thread."""
    command = [sys.executable, "-m", "benchmarks.factor_tasks", task, str(root), str(stocks), start, str(LAST)]
    return run_alone(command)


def run_alone(command: list[str]) -> dict[str, Any]:
    """What a process of one thread printed last, as JSON."""
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    taken: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return taken
