"""`python -m gb_pipeline.dagster_runtime.celery_worker NAME RUNS`: take runs from the queue until told to stop.

The command `gb worker` looks whether everything is in place and then becomes this process. Each run has a process of its own, which
is made from one that has loaded nothing yet: libraries with threads do not survive a fork.
"""

from __future__ import annotations

import sys
from typing import Any, cast

import dagster as dg
from celery import Celery, Task
from celery.exceptions import Reject
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from gb_pipeline.dagster_runtime.celery_launcher import WORKER_TAG, CeleryLauncher, find_difference
from gb_pipeline.dagster_runtime.private import unpack_value


class RunTask(Task):  # type: ignore[misc]
    """A run, which is refused before it begins where it was launched by other code, or for another lake."""

    def before_start(self, _task_id: str, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compare."""
        run_id = str(cast("Any", unpack_value(next(iter(kwargs.values())))).run_id)
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_id)
            if run is None:
                raise Reject(
                    f"Dagster's storage has no run {run_id}: this worker's dagster.yaml names another storage than that"
                    " of the process that launched it",
                )
            if difference := find_difference(run.tags):
                said = (
                    f"The worker {self.request.hostname} refused this run: {difference}. Give every machine the same."
                )
                instance.report_run_failed(run, said)
                raise Reject(said)
            instance.add_run_tags(run.run_id, {WORKER_TAG: self.request.hostname})


def build_app(instance: dg.DagsterInstance) -> Celery:
    """The launcher's own Celery, with the tasks that it sends.

    Args:
        instance: whose launcher is a `CeleryLauncher`.
    """
    launcher = instance.run_launcher
    assert isinstance(launcher, CeleryLauncher), "`gb worker` has looked"
    for create in (create_execute_job_task, create_resume_job_task):
        create(launcher.celery, base=RunTask)  # type: ignore[arg-type] # its annotation is of one value, not of all
    return launcher.celery


def main() -> None:
    """Take runs until SIGTERM, which lets those that are under way finish."""
    name, runs = sys.argv[1:]
    with dg.DagsterInstance.get() as instance:
        app = build_app(instance)
    queue = app.conf.task_default_queue
    # A new process for each run: it finds the code and gb.yaml as they are now, and gives its memory back.
    arguments = ["--concurrency", runs, "--max-tasks-per-child", "1", "--queues", queue, "--hostname", f"{name}@%h"]
    app.worker_main(
        ["worker", "--pool", "prefork", "--loglevel", "INFO", "--without-gossip", "--without-mingle", *arguments]
    )


if __name__ == "__main__":
    main()
