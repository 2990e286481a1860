"""What a day, and a range of days, of many series costs through the real daemon: processor time of all of Dagster's processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks.measurement import Measurement
from gb_pipeline import Settings
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution

SERIES = 500
START, END = date(2024, 1, 1), date(2024, 3, 1)
_IDLE_SECONDS = 10
# Of the processes that do the work: the page is another matter.
_WORKING = ("code server", "daemon")


def measure() -> Iterator[Measurement]:
    """A backfill of one day and one of five, each by the button of the page; what `ingest` alone takes is told beside it."""
    days = [str(day) for day in get_calendar("XNYS").sessions(START, END)]
    with TemporaryDirectory(prefix="gb-benchmark-") as folder:
        settings = _make_project(Path(folder), days)
        paths = [["many", "bars_1d", symbol.code] for symbol in settings.source("many").instruments]
        with Stack(Path(folder)) as stack:
            idle = _idle_rate(stack)
            for wanted, target in ((days[:1], 30), (days[5:10], 15)):
                alone = _cpu_of_ingest(settings, Path(folder, f"alone-{len(wanted)}"), wanted)
                began, before = time.monotonic(), _cpu(stack)
                backfill = stack.wait_backfill(stack.client.launch_backfill(paths, wanted))
                wall = time.monotonic() - began
                if backfill.status != "COMPLETED_SUCCESS":
                    raise RuntimeError(f"the backfill ended as {backfill.status}:\n{stack.tail()}")
                number = SERIES * len(wanted)
                spent = (_cpu(stack) - before - idle * wall - alone) / number * 1000
                yield Measurement(
                    f"Dagster per symbol-day, {SERIES} x {len(wanted)} through the daemon", spent, "ms of CPU",
                    f"<= {target}", spent <= target,
                    f"{wall:.0f} s from the button to the end; ingest alone {alone / number * 1000:.1f} ms",
                )  # fmt: skip
            for name, most in (("daemon", 400), ("webserver", 600)):
                used = _memory(stack, name)
                yield Measurement(f"memory of the {name}", used, "MB", f"<= {most}", used <= most)


def _make_project(folder: Path, days: list[str]) -> Settings:
    (folder / "files").mkdir()
    text = "date,open,high,low,close,volume\n" + "".join(f"{day},10,11,9,10,100\n" for day in days)
    symbols = [f"S{number:03d}" for number in range(SERIES)]
    for symbol in symbols:
        (folder / "files" / f"{symbol}.csv").write_text(text, encoding="utf-8")
    source = {
        "provider": "csv", "options": {"path": "files/{symbol}.csv"}, "asset_class": "equity", "calendar": "XNYS",
        "start": str(START), "end": str(END), "symbols": symbols, "resolutions": ["1d"], "grain": "day",
    }  # fmt: skip
    raw = {"lake": "data", "sources": {"many": source}}
    (folder / "gb.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return Settings.load(folder)


def _cpu_of_ingest(settings: Settings, lake: Path, days: list[str]) -> float:
    source = settings.source("many")
    first, end = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    jobs = [Job(symbol, first, end.replace(day=end.day + 1)) for symbol in source.instruments]
    began = time.process_time()
    ingest(LakeStore.at(lake), source, Resolution.DAY, jobs)
    return time.process_time() - began


def _idle_rate(stack: Stack) -> float:
    """Seconds of processor time in a second in which nothing is asked."""
    before = _cpu(stack)
    time.sleep(_IDLE_SECONDS)
    return (_cpu(stack) - before) / _IDLE_SECONDS


def _cpu(stack: Stack) -> float:
    return sum(_cpu_of(stack._processes[name].pid) for name in _WORKING)


def _cpu_of(process: int) -> float:
    """Seconds of a process and of its children, those that have ended included."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0.0
    ticks = sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK") + sum(_cpu_of(int(child)) for child in children)


def _memory(stack: Stack, name: str) -> float:
    status = Path(f"/proc/{stack._processes[name].pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024
