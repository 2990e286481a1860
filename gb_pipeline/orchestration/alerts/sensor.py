"""This module watches Dagster for what fails and what works again: runs, and the checks of datasets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.alerts.send import beat, send
from gb_pipeline.orchestration.alerts.state import Sighting, find_news
from gb_pipeline.orchestration.dataset_check import CHECK
from gb_pipeline.orchestration.project_events import JOB_NAME
from gb_pipeline.orchestration.series_group import SeriesGroup

_SECONDS = 30
_HEARTBEAT_SECONDS = 300
_FINISHED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
# Runs that are looked at in one tick; the next one goes on.
_MOST_RUNS = 200


def build_alert_sensor(settings: Settings, groups: Sequence[SeriesGroup]) -> dg.SensorDefinition:
    """Tell the addresses of `alerts` in gb.yaml what fails first, and when it works again."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells who is named under `alerts` in gb.yaml of the first failure of a run or check, and when it works"
        " again; calls the heartbeat. What could not be delivered is told at the next tick.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        state = _read(context.cursor)
        runs = list(_finished_runs(context.instance, state["seen"]))
        sightings = [_look_at_run(context.instance, run) for run, _ in runs]
        sightings += _look_at_checks(context.instance, groups, warnings=settings.alerts.warnings)
        news, broken = find_news(state["broken"], sightings)
        if news:
            send(settings, news)
        state |= {"broken": broken, "seen": max([state["seen"], *(moment for _, moment in runs)])}
        context.update_cursor(json.dumps(state))
        if time.time() - state["beaten"] >= _HEARTBEAT_SECONDS:
            beat(settings)
            context.update_cursor(json.dumps(state | {"beaten": time.time()}))
        return dg.SkipReason(f"told of {len(news)}" if news else f"nothing is new, {len(broken)} broken")

    return watch


def _read(cursor: str | None) -> dict[str, Any]:
    """What was told; the first look tells nothing of what was before it."""
    return json.loads(cursor) if cursor else {"broken": {}, "seen": time.time(), "beaten": 0.0}


def _finished_runs(instance: dg.DagsterInstance, since: float) -> Iterator[tuple[dg.DagsterRun, float]]:
    """Runs that ended after a moment, and when; oldest first."""
    wanted = dg.RunsFilter(statuses=_FINISHED, updated_after=datetime.fromtimestamp(since, UTC))
    for record in instance.get_run_records(wanted, limit=_MOST_RUNS, order_by="update_timestamp", ascending=True):
        # What `gb fetch` reports was seen by who called it.
        if record.dagster_run.job_name != JOB_NAME:
            yield record.dagster_run, record.update_timestamp.timestamp()


def _look_at_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sighting:
    problem = _why_failed(instance, run) if run.status is dg.DagsterRunStatus.FAILURE else ""
    return Sighting(_name_run(run), problem, f"/runs/{run.run_id}")


def _name_run(run: dg.DagsterRun) -> str:
    """What a run is about: `sim/bars_1m` for any of its series, else the job."""
    if run.asset_selection:
        return ", ".join(sorted({"/".join(key.path[:2]) for key in run.asset_selection})[:3])
    return run.job_name


def _why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The last of a failed step's reasons, or what Dagster says of the run."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        failure = event.step_failure_data if event is not None else None
        if failure is not None and failure.error is not None:
            error = failure.error
            while error.cause is not None:
                error = error.cause
            return _one_line(error.message.partition(": ")[2] or error.message)
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE):
        return _one_line(entry.user_message or "the run failed")
    return "the run failed"


def _look_at_checks(
    instance: dg.DagsterInstance, groups: Sequence[SeriesGroup], *, warnings: bool
) -> Iterator[Sighting]:
    """The newest result of each dataset's check."""
    keys = {dg.AssetCheckKey(group.dataset_key, CHECK): group for group in groups}
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys)).items():
        evaluation = record.evaluation
        if evaluation is None:
            continue
        told = not evaluation.passed and (warnings or evaluation.severity is dg.AssetCheckSeverity.ERROR)
        problem = _one_line(evaluation.description or "the check failed") if told else ""
        path = "/".join(key.asset_key.path)
        yield Sighting(f"{path}, {CHECK}", problem, f"/assets/{path}?view=checks")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
