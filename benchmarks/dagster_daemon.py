"""What a day, and a range of days, of many series costs through the real daemon: processor time of all of Dagster's processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.dagster_stack import SOURCE, cpu_seconds, list_databases, make_project, memory, paths, start_dagster
from benchmarks.measurement import Measurement
from gb_pipeline import Settings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution

SERIES = 500
START, END = date(2024, 1, 1), date(2024, 3, 1)
_IDLE_SECONDS = 10


def measure() -> Iterator[Measurement]:
    """A backfill of one day and one of five, each by the button of the page; what `ingest` alone takes is told beside it."""
    for database in list_databases():
        yield from _measure_with(database)


def _measure_with(database: str) -> Iterator[Measurement]:
    days = [str(day) for day in get_calendar("XNYS").sessions(START, END)]
    with TemporaryDirectory(prefix="gb-benchmark-") as name:
        folder = Path(name)
        settings = make_project(folder / "project", SERIES, days, start=str(START), end=str(END))
        with start_dagster(folder / "project", database) as stack:
            idle = _idle_rate()
            for wanted, target in ((days[:1], 30), (days[5:10], 15)):
                alone = _cpu_of_ingest(settings, folder / f"alone-{len(wanted)}", wanted)
                began, before = time.monotonic(), cpu_seconds()
                backfill = stack.wait_backfill(stack.client.launch_backfill(paths(settings), wanted))
                wall = time.monotonic() - began
                if backfill.status != "COMPLETED_SUCCESS":
                    raise RuntimeError(f"the backfill ended as {backfill.status}; see {stack.log}")
                number = SERIES * len(wanted)
                spent = (cpu_seconds() - before - idle * wall - alone) / number * 1000
                yield Measurement(
                    f"Dagster per symbol-day, {SERIES} x {len(wanted)} through the daemon, {database}", spent, "ms of CPU",
                    f"<= {target}", spent <= target,
                    f"{wall:.0f} s from the button to the end, at a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores;"
                    f" ingest alone {alone / number * 1000:.1f} ms",
                )  # fmt: skip
            for process, most in (("daemon", 400), ("webserver", 600)):
                used = memory(process)
                yield Measurement(f"memory of the {process}, {database}", used, "MB", f"<= {most}", used <= most)


def _cpu_of_ingest(settings: Settings, lake: Path, days: Sequence[str]) -> float:
    source = settings.source(SOURCE)
    first, end = date.fromisoformat(days[0]), date.fromisoformat(days[-1]) + timedelta(days=1)
    jobs = [Job(symbol, first, end) for symbol in source.instruments]
    began = time.process_time()
    ingest(LakeStore.at(lake), source, Resolution.DAY, jobs)
    return time.process_time() - began


def _idle_rate() -> float:
    """Seconds of processor time in a second in which nothing is asked."""
    before = cpu_seconds()
    time.sleep(_IDLE_SECONDS)
    return (cpu_seconds() - before) / _IDLE_SECONDS
