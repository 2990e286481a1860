"""A month of operation, its time injected: what Dagster's history comes to, and what pruning leaves of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from dagster._core.test_utils import freeze_time

from benchmarks.dagster_stack import SOURCE, make_project
from benchmarks.measurement import Measurement
from gb_pipeline.dagster_runtime.home import HOME, ensure_home
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.dagster_runtime.pruning.files import give_back
from gb_pipeline.dagster_runtime.pruning.files import measure as measure_history
from gb_pipeline.dagster_runtime.pruning.prune import prune
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.series_group import SeriesGroup

SERIES = 50
START, END = date(2024, 1, 2), date(2024, 2, 1)
_DAY = timedelta(days=1)
_SUNDAY = 6


def measure(series: int = SERIES) -> Iterator[Measurement]:
    """Each evening the schedule's own requests, the catalog and the health checks; each Sunday the verification."""
    logging.disable(logging.DEBUG)
    sessions = list(get_calendar("XNYS").sessions(START, END))
    with TemporaryDirectory(prefix="gb-benchmark-") as name:
        folder = Path(name, "project")
        settings = make_project(folder, series, list(map(str, sessions)), start=str(START), end=str(END))
        group, definitions = SeriesGroup.of(settings, SOURCE, "1d"), build_definitions(settings)
        with open_home(ensure_home(folder)) as instance:
            empty = measure_history(instance)
            for day in (START + _DAY * number for number in range((END - START).days)):
                _live_through(day, definitions, instance, group)
            green = sum(len(instance.get_materialized_partitions(key)) for key in group.symbols)
            if green != series * len(sessions):
                raise RuntimeError(f"{green} of {series * len(sessions)} symbol-days are green")
            give_back(folder / HOME)
            grown = measure_history(instance) - empty
            pruned = prune(instance, datetime.now(UTC), finish=lambda: give_back(folder / HOME))
            left = pruned.bytes_after - empty
    for what, size in (("", grown), (", pruned", left)):
        # Every run has a file of its own, be it of one series or of five hundred.
        yield Measurement(
            f"history of a month of {series} series, per symbol-day{what}",
            size / green / 1024,
            "kB",
            by_hand=f"{size / 1e6:.1f} MB for {len(sessions)} sessions",
        )


def _live_through(day: date, definitions: dg.Definitions, instance: dg.DagsterInstance, group: SeriesGroup) -> None:
    evening = datetime(day.year, day.month, day.day, 23, tzinfo=UTC)
    with freeze_time(evening):
        schedule = definitions.resolve_schedule_def(group.daily_name)
        with dg.build_schedule_context(
            instance, scheduled_execution_time=evening, repository_def=definitions.get_repository_def()
        ) as context:
            requests = schedule.evaluate_tick(context).run_requests
        for request in requests or ():
            _run(definitions, instance, list(group.symbols), dict(request.tags), request.partition_key)
        _run(definitions, instance, [dg.AssetKey("catalog")])
        health = definitions.resolve_job_def("health_daily")
        health.execute_in_process(instance=instance, raise_on_error=False)
        if day.weekday() == _SUNDAY:
            _run(definitions, instance, [dg.AssetKey("verify")])


def _run(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetKey],
    tags: dict[str, Any] | None = None,
    partition: str | None = None,
) -> None:
    job = definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(instance=instance, asset_selection=list(keys), tags=tags, partition_key=partition)
