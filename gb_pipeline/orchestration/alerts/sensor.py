"""This module watches Dagster for what fails and what works again: runs, checks of datasets, and standing checks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.runs import why_failed
from gb_pipeline.orchestration.alerts.send import AlertError, beat, deliver, name_places
from gb_pipeline.orchestration.alerts.state import WARNING, News, Sighting, find_news
from gb_pipeline.orchestration.events.dataset_check import CHECK
from gb_pipeline.orchestration.events.project_events import JOB_NAME
from gb_pipeline.orchestration.health import assets as health
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.orchestration.streams.checks import check_keys
from gb_pipeline.orchestration.streams.feeds import Feed
from gb_pipeline.orchestration.streams.tie_out import tie_out_keys

_SECONDS = 30
_FINISHED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
# Runs that are looked at in one tick; the next one goes on.
_MOST_RUNS = 200
# Of what an address does not take, the newest.
_MOST_WAITING = 50


def build_alert_sensor(
    settings: Settings, groups: Sequence[SeriesGroup], feeds: Sequence[Feed] = ()
) -> dg.SensorDefinition:
    """Tell the addresses of `alerts` in gb.yaml what fails first, and when it works again."""
    stream_keys = [*check_keys(feeds), *tie_out_keys(settings, feeds)]

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells who is named under `alerts` in gb.yaml of the first failure of a run or check, and when it works"
        " again; calls the heartbeat. What could not be delivered is told at the next tick, and the heartbeat waits for it.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        state = _read(context.cursor)
        runs = list(_finished_runs(context.instance, state["seen"]))
        sightings = [_look_at_run(context.instance, run) for run, _ in runs]
        sightings += _look_at_checks(context.instance, groups, stream_keys, warnings=settings.alerts.warnings)
        news, broken = find_news(state["broken"], sightings)
        waiting = _tell(settings, news, state["waiting"])
        state |= {"broken": broken, "waiting": {place: list(map(asdict, items)) for place, items in waiting.items()}}
        state["seen"] = max([state["seen"], *(moment for _, moment in runs)])
        context.update_cursor(json.dumps(state))
        if waiting:
            problem = f"no message could be delivered to {name_places(waiting)}; the heartbeat waits for it"
            context.log.error(problem)
            return dg.SkipReason(problem)
        if time.time() - state["beaten"] >= settings.alerts.heartbeat_every.total_seconds():
            beat(settings)
            context.update_cursor(json.dumps(state | {"beaten": time.time()}))
        return dg.SkipReason(f"told of {len(news)}" if news else f"nothing is new, {len(broken)} broken")

    return watch


def _read(cursor: str | None) -> dict[str, Any]:
    """What was told; the first look tells nothing of what was before it."""
    now = time.time()
    state = {"broken": {}, "seen": now, "beaten": 0.0, "waiting": {}} | (json.loads(cursor) if cursor else {})
    # A clock that was set back would keep it silent for as long as it was ahead.
    return state | {name: min(state[name], now) for name in ("seen", "beaten")}


def _tell(
    settings: Settings, news: Sequence[News], before: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[int, list[News]]:
    """Tell every address what is new, and what it did not take before; what some of them do not take now.

    Args:
        before: what waits, by the address's place in gb.yaml.

    Raises:
        AlertError: of several or one, no address takes a message, so that the whole tick is repeated.
    """
    places = range(1, len(settings.alerts.to) + 1)
    waiting = {place: [*(News(**item) for item in before.get(str(place), ())), *news] for place in places}
    waiting = {place: items[-_MOST_WAITING:] for place, items in waiting.items() if items}
    refused = deliver(settings, waiting)
    if news and len(refused) == len(places):
        raise AlertError(
            f"no message could be delivered to {name_places(refused)}",
            fix="check them with `gb alerts --test`; it is tried again with every tick",
        )
    return {place: waiting[place] for place in refused}


def _finished_runs(instance: dg.DagsterInstance, since: float) -> Iterator[tuple[dg.DagsterRun, float]]:
    """Runs that ended after a moment, and when; oldest first."""
    wanted = dg.RunsFilter(statuses=_FINISHED, updated_after=datetime.fromtimestamp(since, UTC))
    for record in instance.get_run_records(wanted, limit=_MOST_RUNS, order_by="update_timestamp", ascending=True):
        # What `gb fetch` reports was seen by who called it.
        if record.dagster_run.job_name != JOB_NAME:
            yield record.dagster_run, record.update_timestamp.timestamp()


def _look_at_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Sighting:
    problem = why_failed(instance, run) if run.status is dg.DagsterRunStatus.FAILURE else ""
    return Sighting(_name_run(run), problem, f"/runs/{run.run_id}")


def _name_run(run: dg.DagsterRun) -> str:
    """What a run is about: `sim/bars_1m` for any of its series, `health` for any of its checks, else the job."""
    if run.asset_selection and all(key.path[0] == health.GROUP for key in run.asset_selection):
        return health.GROUP
    if run.asset_selection:
        return ", ".join(sorted({"/".join(key.path[:2]) for key in run.asset_selection})[:3])
    return run.job_name


def _look_at_checks(
    instance: dg.DagsterInstance,
    groups: Sequence[SeriesGroup],
    stream_keys: Sequence[dg.AssetCheckKey],
    *,
    warnings: bool,
) -> Iterator[Sighting]:
    """The newest result of each dataset's and feed's checks, and of each standing check, with the command that repairs it."""
    keys = [dg.AssetCheckKey(group.dataset_key, CHECK) for group in groups]
    keys += stream_keys
    keys += [dg.AssetCheckKey(health.key_of(name), health.CHECK) for name in health.MEANINGS]
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(keys).items():
        evaluation = record.evaluation
        if evaluation is None:
            continue
        path = "/".join(key.asset_key.path)
        subject = path if key.name == health.CHECK else f"{path}, {key.name}"
        yield Sighting(subject, _describe_problem(evaluation, warnings=warnings), f"/assets/{path}?view=checks")


def _describe_problem(evaluation: dg.AssetCheckEvaluation, *, warnings: bool) -> str:
    warns = evaluation.severity is not dg.AssetCheckSeverity.ERROR
    if evaluation.passed or (warns and not warnings):
        return ""
    return (WARNING if warns else "") + _one_line(evaluation.description or "the check failed")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]
