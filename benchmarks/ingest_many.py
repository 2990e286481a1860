"""Many symbols of a year of minutes, from a simulated vendor in a process of its own into a lake: speed, and flat memory.

`GB_BENCHMARK_SYMBOLS` (20) sets how many: 200 take half an hour, most of which the vendor is simulated in.
`GB_BENCHMARK_VENDOR` (massive; or binance, whose days have 1,440 minutes) sets whose. Half as many go first: what is needed for
each symbol would show as the difference.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measurement import Measurement
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution

SYMBOLS = int(os.environ.get("GB_BENCHMARK_SYMBOLS", "20"))
VENDOR = os.environ.get("GB_BENCHMARK_VENDOR", "massive")
YEAR = date(2024, 1, 1), date(2025, 1, 1)
LIMIT_MB = 1500
# Twice the symbols may not need more than this much more. Slow vendors fill no whole batch of few symbols, and allocators keep
# what was needed once.
FLAT_MB = 250

_SERVE = """
import sys
from pathlib import Path
from gb_pipeline.simulation.server import run
codes = sys.argv[2].split(",")
run(ready_file=Path(sys.argv[1]), symbols=codes if "-" in codes[0] else None, stocks=None if "-" in codes[0] else codes)
"""


def measure() -> Iterator[Measurement]:
    """Rows a second and the peak of the ingesting process's memory, for half the symbols and for all."""
    codes = _codes(SYMBOLS)
    peaks = []
    with _vendor(codes) as url:
        for count in (SYMBOLS // 2, SYMBOLS):
            with TemporaryDirectory(prefix="gb-benchmark-") as folder:
                told = _in_a_process(url, folder, count)
            peaks.append(told["peak_mb"])
            name = f"{count} symbols x a year of minutes from {VENDOR}"
            by_hand = f"{told['rows']:,} rows in {told['seconds']:.0f} s, {told['cpu']:.0f} s of them of one core"
            yield Measurement(f"ingest, {name}", told["rows"] / told["seconds"], "rows/s", by_hand=by_hand)
            yield Measurement(f"memory, {name}", peaks[-1], "MB peak", f"< {LIMIT_MB}", peaks[-1] < LIMIT_MB)
    more = peaks[1] - peaks[0]
    yield Measurement("memory, twice the symbols", more, "MB more", f"< {FLAT_MB}", more < FLAT_MB)


def _codes(count: int) -> list[str]:
    return [f"S{number:03d}-USDT" if VENDOR == "binance" else f"S{number:03d}" for number in range(count)]


@contextmanager
def _vendor(codes: list[str]) -> Iterator[str]:
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        ready = Path(folder, "url")
        command = [sys.executable, "-c", _SERVE, str(ready), ",".join(codes)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise RuntimeError("the simulated vendor did not start")
                time.sleep(0.05)
            yield ready.read_text(encoding="utf-8")
        finally:
            process.terminate()
            process.wait()


def _in_a_process(url: str, folder: str, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ingest_many", url, folder, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _ingest(url: str, folder: str, count: int) -> dict[str, Any]:
    vendor: dict[str, Any] = {"provider": "massive", "options": {"key": "any", "base_url": url}, "calendar": "XNYS"}
    if VENDOR == "binance":
        vendor = {"provider": "ccxt", "options": {"exchange": "binance", "base_url": url}, "asset_class": "crypto"}
    source = SourceSettings.model_validate({"name": "many", "start": YEAR[0], "symbols": _codes(count), **vendor})
    jobs = [Job(symbol, *YEAR) for symbol in source.instruments]
    began = time.perf_counter()
    outcomes = ingest(LakeStore.at(folder), source, Resolution.MINUTE, jobs)
    seconds = time.perf_counter() - began
    assert all(outcome.ok for outcome in outcomes), next(outcome.error for outcome in outcomes if not outcome.ok)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": sum(outcome.counts.stored for outcome in outcomes),
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(_ingest(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
