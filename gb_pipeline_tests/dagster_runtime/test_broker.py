"""A worker that cannot work says why, at once, before it takes a run away from one that can."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from gb_pipeline.cli.app import app
from gb_pipeline.dagster_runtime.broker import prepare_worker_home, require_broker
from gb_pipeline.dagster_runtime.home import HOME, prepare_home, read_template
from gb_pipeline.dagster_runtime.instance import find_free_port
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.redis_server import PASSWORD, find_redis, running_redis
from gb_pipeline_tests.s3.store import Store, running_store

QUEUE = {"module": "gb_pipeline.dagster_runtime.celery_launcher", "class": "CeleryLauncher"}
SOURCE = {"provider": "csv", "options": {"files": "*.csv"}, "start": "2024-01-01", "symbols": ["AAPL"]}
# Of a machine that has other things to do as well.
BOUND_SECONDS = 60


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a queue, whose Dagster was started once."""
    monkeypatch.delenv("GB_CONFIG", raising=False)
    monkeypatch.setenv("GB_BROKER", f"redis://:{PASSWORD}@127.0.0.1:{find_free_port()}/0")
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"mine": SOURCE}}), encoding="utf-8")
    write_queue(tmp_path, {"broker": {"env": "GB_BROKER"}})
    (tmp_path / HOME).mkdir()
    (tmp_path / HOME / "dagster.yaml").touch()
    return tmp_path


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if find_redis() is None:
        (pytest.fail if os.environ.get("GB_REQUIRE_SERVICES") == "1" else pytest.skip)("no redis-server is installed")
    with running_redis(tmp_path_factory.mktemp("queue")) as url:
        yield url


@pytest.fixture
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


def write_queue(project: Path, config: dict[str, object]) -> None:
    launcher = yaml.safe_dump({"run_launcher": {**QUEUE, "config": config}})
    (project / "dagster.yaml").write_text(read_template() + launcher, encoding="utf-8")


def refused(project: Path) -> str:
    """What `gb worker` says, which is never the password, and within a minute."""
    began = time.monotonic()
    told = CliRunner().invoke(app, ["worker", "--config", str(project)])
    assert time.monotonic() - began < BOUND_SECONDS
    assert isinstance(told.exception, ConfigError)
    assert PASSWORD not in str(told.exception)
    assert told.exception.fix
    return told.exception.what


def test_no_gb_yaml(tmp_path: Path) -> None:
    assert "there is no" in refused(tmp_path)


def test_no_queue(project: Path) -> None:
    (project / "dagster.yaml").unlink()
    assert "dagster.yaml cannot be read" in refused(project)
    (project / "dagster.yaml").write_text(read_template(), encoding="utf-8")
    assert "names no queue" in refused(project)


def test_another_launcher(project: Path) -> None:
    other = yaml.safe_dump({"run_launcher": {"module": "dagster", "class": "DefaultRunLauncher"}})
    (project / "dagster.yaml").write_text(read_template() + other, encoding="utf-8")
    assert "launches runs by DefaultRunLauncher" in refused(project)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"broker": {"env": "GB_TEST_UNSET"}}, "the environment variable GB_TEST_UNSET, which is not set"),
        ({}, "names no broker"),
        ({"broker": "amqp://127.0.0.1"}, "keeps no results"),
        ({"brokr": "redis://127.0.0.1"}, "brokr"),
    ],
)
def test_a_queue_that_is_not_described(project: Path, config: dict[str, object], said: str) -> None:
    write_queue(project, config)
    assert said in refused(project)


def test_a_broker_that_nobody_is(project: Path) -> None:
    assert "the queue at redis://127.0.0.1:" in (said := refused(project))
    assert "does not answer" in said


def test_a_broker_that_never_answers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("GB_BROKER", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        assert "does not answer" in refused(project)


def test_a_wrong_password(project: Path, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GB_BROKER", queue.replace(PASSWORD, "another"))
    assert "does not answer" in refused(project)


def test_a_history_that_other_machines_cannot_see(project: Path) -> None:
    (project / HOME / "dagster.yaml").unlink()
    assert "Dagster's history lies in" in refused(project)


def test_a_bucket_that_this_machine_may_not_use(project: Path, server: Store) -> None:
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    server.says = lambda _: ("403 Forbidden", denied, len(denied))
    settings = {"lake": "s3://bars/lake", "s3": server.access, "sources": {"mine": SOURCE}}
    (project / "gb.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert "this worker cannot use the lake" in refused(project)


def test_a_queue_that_answers_is_shown_without_its_password(
    project: Path, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GB_BROKER", queue)
    assert require_broker(prepare_worker_home(project)) == queue.replace(f":{PASSWORD}@", "")


def test_a_start_of_dagster_calls_no_run_failed_that_goes_on_elsewhere(project: Path) -> None:
    @dg.job
    def nothing() -> None: ...

    prepare_home(project / HOME, project / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(project / HOME)) as instance:
        run = instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED)
    prepare_home(project / HOME, project / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(project / HOME)) as instance:
        assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED
