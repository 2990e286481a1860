"""What the launcher of runs says of one that waits, and what a worker refuses to take."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dagster as dg
import pytest
import yaml
from celery.exceptions import Reject
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import pack_value

from gb_pipeline.dagster_runtime.celery_launcher import LAKE_TAG, VERSION_TAG, CeleryLauncher, describe_code
from gb_pipeline.dagster_runtime.celery_worker import RunTask, build_app
from gb_pipeline.dagster_runtime.home import prepare_home, read_template
from gb_pipeline_tests.redis_server import find_redis, running_redis

QUEUE = """
run_launcher:
  module: gb_pipeline.dagster_runtime.celery_launcher
  class: CeleryLauncher
  config: {broker: {env: GB_BROKER}}
"""
SOURCE = {"provider": "csv", "options": {"files": "*.csv"}, "start": "2024-01-01", "symbols": ["AAPL"]}
TASK_ID = "dagster-celery/task_id"


@dg.job
def nothing() -> None: ...


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    if find_redis() is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)("no redis-server is installed")
    folder = tmp_path_factory.mktemp("launcher")
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {"mine": SOURCE}}), encoding="utf-8")
    (folder / "dagster.yaml").write_text(read_template() + QUEUE, encoding="utf-8")
    with running_redis(folder) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {"GB_BROKER": url, "GB_CONFIG": str(folder), "DAGSTER_HOME": str(folder / "home")}.items():
            patch.setenv(name, value)
        prepare_home(folder / "home", folder / "dagster.yaml")
        with dg.DagsterInstance.get() as instance:
            build_app(instance)
            yield instance


def launcher_of(instance: dg.DagsterInstance) -> CeleryLauncher:
    assert isinstance(instance.run_launcher, CeleryLauncher)
    return instance.run_launcher


def new_run(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(
        nothing, status=dg.DagsterRunStatus.STARTED, tags={name.replace("__", "/"): tag for name, tag in tags.items()}
    )


def take(instance: dg.DagsterInstance, run_id: str) -> None:
    """What happens in a worker before a run begins."""
    task = launcher_of(instance).celery.tasks["execute_job"]
    assert isinstance(task, RunTask)
    arguments = ExecuteRunArgs(
        job_origin=JobPythonOrigin("nothing", RepositoryPythonOrigin("python", ModuleCodePointer("m", "f"))),
        run_id=run_id,
        instance_ref=None,
        set_exit_code_on_failure=True,
    )
    task.push_request(hostname="w@here")
    try:
        task.before_start("id", (), {"execute_job_args_packed": pack_value(arguments)})
    finally:
        task.pop_request()


def test_a_worker_takes_a_run_of_its_own_kind_and_says_which_worker_it_is(instance: dg.DagsterInstance) -> None:
    run = new_run(instance, **describe_code())
    take(instance, run.run_id)
    assert instance.get_run_by_id(run.run_id).tags["gb_pipeline/worker"] == "w@here"


@pytest.mark.parametrize(
    ("tag", "said"), [(VERSION_TAG, "gb_pipeline is 0.0.1 where the run was launched"), (LAKE_TAG, "the lake is 0.0.1")]
)
def test_a_worker_of_other_code_or_another_lake_refuses_a_run_with_the_reason(
    instance: dg.DagsterInstance, tag: str, said: str
) -> None:
    run = new_run(instance, **{**describe_code(), tag: "0.0.1"})
    with pytest.raises(Reject, match=said):
        take(instance, run.run_id)
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert said in events[0].message


def test_a_worker_whose_storage_is_another_one_says_so(instance: dg.DagsterInstance) -> None:
    with pytest.raises(Reject, match="names another storage"):
        take(instance, "nobody")


def test_a_run_that_nobody_takes_says_what_to_look_at(instance: dg.DagsterInstance) -> None:
    launcher = launcher_of(instance)
    assert "never given to a worker" in str(launcher.get_run_worker_debug_info(new_run(instance)))
    waits = new_run(instance, **{TASK_ID: "waits"})
    assert "`gb worker` on each machine" in str(launcher.get_run_worker_debug_info(waits))


def test_a_worker_that_does_not_answer_three_times_is_gone(instance: dg.DagsterInstance) -> None:
    launcher, run = launcher_of(instance), new_run(instance, **{TASK_ID: "begun"})
    launcher.celery.backend.store_result("begun", {"pid": 1, "hostname": "gone@there"}, "STARTED")
    health = [launcher.check_run_worker_health(run) for _ in range(3)]
    assert [item.status.name for item in health] == ["RUNNING", "RUNNING", "FAILED"]
    assert "gone@there does not answer" in str(health[-1].msg)


@pytest.mark.parametrize(("state", "status"), [("SUCCESS", "SUCCESS"), ("FAILURE", "FAILED"), ("PENDING", "RUNNING")])
def test_the_health_of_a_run_is_that_of_its_task(instance: dg.DagsterInstance, state: str, status: str) -> None:
    launcher, run = launcher_of(instance), new_run(instance, **{TASK_ID: f"is {state}"})
    if state != "PENDING":
        launcher.celery.backend.store_result(f"is {state}", None, state)
    assert launcher.check_run_worker_health(run).status.name == status


def test_a_run_that_has_ended_is_not_cancelled(instance: dg.DagsterInstance) -> None:
    run = new_run(instance)
    instance.report_run_failed(run)
    assert not launcher_of(instance).terminate(run.run_id)
