"""From the tick of a schedule until every series of its day is green, through the real daemon, and where the time goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg

from benchmarks.dagster_stack import SOURCE, cpu_seconds, list_databases, make_project, start_dagster
from benchmarks.measurement import Measurement
from gb_pipeline.dagster_runtime.home import HOME
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.orchestration.series_group import SeriesGroup

SERIES = 500
MOST_SECONDS = 30
# Within them Dagster has started; a schedule that begins to run after its moment does not fire.
_AHEAD = timedelta(seconds=90)
_PATIENCE_SECONDS = 600


def measure() -> Iterator[Measurement]:
    """A source whose day has settled in a minute or two; files are its vendor, so nobody is waited for."""
    for database in list_databases():
        moment = (datetime.now(UTC) + _AHEAD).replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = moment.date() - timedelta(days=1)
        with TemporaryDirectory(prefix="gb-benchmark-") as name:
            settings = make_project(
                Path(name, "project"), SERIES, [str(day)], calendar="24/7", start=str(day - timedelta(days=30)),
                settle_minutes=moment.hour * 60 + moment.minute,
            )  # fmt: skip
            group = SeriesGroup.of(settings, SOURCE, "1d")
            with start_dagster(Path(name, "project"), database) as stack:
                yield _watch(stack, group, moment, str(day), database)


def _watch(stack: Stack, group: SeriesGroup, moment: datetime, day: str, database: str) -> Measurement:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
    before = cpu_seconds()
    with open_home(stack.folder / HOME) as instance:
        until = time.monotonic() + _PATIENCE_SECONDS
        while not (ended := instance.get_run_records(_ended(group), limit=1)):
            stack.check()
            if time.monotonic() > until:
                raise RuntimeError(f"the schedule's run has not ended; see {stack.log}")
            time.sleep(0.5)
        spent = cpu_seconds() - before
        [record] = ended
        green = sum(day in instance.get_materialized_partitions(key) for key in group.symbols)
        if green != SERIES:
            raise RuntimeError(f"only {green} of {SERIES} series are green; see {stack.log}")
        launched = instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.PIPELINE_STARTING)[0]
    tick = moment.timestamp()
    wall = (record.end_time or 0.0) - tick
    steps = {
        "the run is in the queue": record.create_timestamp.timestamp(),
        "launched": launched.timestamp,
        "begun": record.start_time or 0.0,
        "green": record.end_time or 0.0,
    }
    told = ", ".join(f"{name} after {at - tick:.1f}" for name, at in steps.items())
    return Measurement(
        f"from tick to green, {SERIES} x 1, {database}", wall, "s", f"<= {MOST_SECONDS}", wall <= MOST_SECONDS,
        f"{told} s; {spent:.1f} s of CPU at a load of {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores",
    )  # fmt: skip


def _ended(group: SeriesGroup) -> dg.RunsFilter:
    return dg.RunsFilter(job_name=group.daily_name, statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE])
