"""The run launcher that hands runs to Celery: Dagster's own, with what it lacks for workers on other machines.

A `dagster.yaml` names it; the process that takes runs is `celery_worker`. Dagster's launcher believes in a worker whose machine is
gone, does not say that a run was cancelled, and lets a worker with other code, or with another lake, take a run.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from celery.exceptions import DuplicateTaskNameWarning
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG as TASK_ID

from gb_pipeline.config.places import lake_address
from gb_pipeline.dagster_runtime.private import CheckRunHealthResult, WorkerStatus
from gb_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import dagster as dg
    from celery.result import AsyncResult

    from gb_pipeline.dagster_runtime.private import ConfigurableClassData, LaunchRunContext

VERSION_TAG = "gb_pipeline/version"
LAKE_TAG = "gb_pipeline/lake"
WORKER_TAG = "gb_pipeline/worker"
# Dagster's default answers the process alone that launched the run, and then every run looks lost.
_NO_BACKEND = "rpc://"
_CONNECT_SECONDS = 5.0
# A worker waits for the next run in questions of ten seconds.
_SILENT_SECONDS = 30.0
_ANSWER_SECONDS = 3.0
_MOST_UNANSWERED = 3
_CANCEL_SECONDS = 10.0
# Longer than any run: what a worker has not confirmed for so long is given to another one.
_UNCONFIRMED_SECONDS = 86_400
_SETTINGS: dict[str, Any] = {
    # A worker has no more runs than it works on: the others stay where any worker can take them.
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    "broker_connection_timeout": _CONNECT_SECONDS,
    # A worker that finds no broker ends, and whoever started it learns of it.
    "broker_connection_retry_on_startup": False,
    "broker_transport_options": {
        "max_retries": 3,
        "interval_start": 0,
        "interval_step": 0.2,
        "interval_max": 0.5,
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _SILENT_SECONDS,
        "visibility_timeout": _UNCONFIRMED_SECONDS,
    },
    "redis_socket_connect_timeout": _CONNECT_SECONDS,
    "redis_socket_timeout": _SILENT_SECONDS,
    "result_backend_transport_options": {"retry_policy": {"timeout": _CONNECT_SECONDS, "max_retries": 3}},
}


class CeleryLauncher(CeleryRunLauncher):
    """Runs as tasks of Celery: whole runs, on whichever worker is free.

    Example:
        In `dagster.yaml`, where the variable holds an address such as `redis://:password@queue.example:6379/0`:

        run_launcher:
          module: gb_pipeline.dagster_runtime.celery_launcher
          class: CeleryLauncher
          config:
            broker: {env: GB_BROKER}
    """

    def __init__(
        self,
        default_queue: str,
        broker: str | None = None,
        backend: str | None = None,
        include: list[str] | None = None,
        config_source: dict[str, Any] | None = None,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        """Connect to nothing yet.

        Raises:
            ConfigError: no broker is named, or none that can also keep results.
        """
        if not broker:
            raise ConfigError(
                "run_launcher of dagster.yaml names no broker", fix="write `broker: {env: GB_BROKER}` and set GB_BROKER"
            )
        if backend in {None, "", _NO_BACKEND}:
            if not broker.startswith(("redis://", "rediss://")):
                raise ConfigError(
                    "run_launcher of dagster.yaml has a broker that keeps no results, and no backend",
                    fix="use Redis as the broker, or name a `backend` that keeps results, such as Redis or a database",
                )
            backend = broker
        super().__init__(
            default_queue=default_queue,
            broker=broker,
            backend=backend,
            include=include,
            config_source={**_SETTINGS, **(config_source or {})},
            inst_data=inst_data,
        )
        self._unanswered: Counter[str] = Counter()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Hand a run to whichever worker is free, with what a worker has to have in common with this process."""
        self._instance.add_run_tags(context.dagster_run.run_id, describe_code())
        with warnings.catch_warnings():
            # Dagster declares its task with every run, and Celery says so each time.
            warnings.simplefilter("ignore", DuplicateTaskNameWarning)
            super().launch_run(context)

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether a run that was begun goes on: its worker is asked, and is given up after three questions without an answer."""
        result = self._result_of(run)
        state = "" if result is None else str(result.state)
        if state == "SUCCESS":
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        if state in {"FAILURE", "REVOKED"}:
            return CheckRunHealthResult(WorkerStatus.FAILED, f"its task ended as {state}")
        # The broker was emptied, or Celery is between two states: the run's own events say what becomes of it.
        if result is None or state != "STARTED":
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        worker = (result.info or {}).get("hostname")
        if worker is None or self.celery.control.ping(destination=[worker], timeout=_ANSWER_SECONDS):
            self._unanswered.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        self._unanswered[run.run_id] += 1
        if self._unanswered[run.run_id] < _MOST_UNANSWERED:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._unanswered[run.run_id]
        return CheckRunHealthResult(WorkerStatus.FAILED, f"the worker {worker} does not answer any more")

    def terminate(self, run_id: str) -> bool:
        """Stop a run where it is; one whose worker does not answer is called cancelled by Dagster's monitoring later."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if (result := self._result_of(run)) is None:
            return True
        result.revoke(terminate=True)
        until = time.monotonic() + _CANCEL_SECONDS
        while time.monotonic() < until:
            if result.state in {"REVOKED", "FAILURE", "SUCCESS"}:
                if (now := self._instance.get_run_by_id(run_id)) is not None and not now.is_finished:
                    self._instance.report_run_canceled(now)
                break
            time.sleep(0.1)
        return True

    def get_run_worker_debug_info(
        self,
        run: dg.DagsterRun,
        include_container_logs: bool | None = True,  # noqa: ARG002 - Dagster's signature
    ) -> str | None:
        """For the message of a run that did not start: where it waits."""
        result = self._result_of(run)
        if result is None:
            return "It was never given to a worker."
        if result.state == "PENDING":
            return "No worker took it: look at `gb worker` on each machine, and whether all of them are busy."
        return f"Its task in Celery is {result.state}: {result.info}"

    def _result_of(self, run: dg.DagsterRun) -> AsyncResult | None:
        task_id = run.tags.get(TASK_ID)
        return None if task_id is None else self.celery.AsyncResult(task_id)


def describe_code() -> dict[str, str]:
    """What all processes that work for one lake have in common, as tags of a run."""
    return {VERSION_TAG: version("gb_pipeline"), LAKE_TAG: str(lake_address())}


def find_difference(tags: Mapping[str, str]) -> str:
    """Why this process must not execute a run that was launched with these tags; empty where it may."""
    here = describe_code()
    names = {VERSION_TAG: "gb_pipeline", LAKE_TAG: "the lake"}
    differences = [
        f"{names[tag]} is {tags[tag]} where the run was launched and {here[tag]} here"
        for tag in here
        if tags.get(tag, here[tag]) != here[tag]
    ]
    return "; ".join(differences)
