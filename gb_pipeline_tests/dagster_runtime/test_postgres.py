"""An instance whose history is in PostgreSQL, and what is said when it cannot be opened."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from gb_pipeline.dagster_runtime import postgres_kept, postgres_log
from gb_pipeline.dagster_runtime.client import DagsterError
from gb_pipeline.dagster_runtime.home import POSTGRES_CONFIG, read_template
from gb_pipeline.dagster_runtime.instance import Stack, find_free_port
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.dagster_runtime.postgres_kept import PostgresRuns, PostgresTicks
from gb_pipeline.dagster_runtime.postgres_log import PostgresEventLog
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.dagster_runtime import runs_at_once
from gb_pipeline_tests.postgres import PASSWORD, Server

STORAGES = {"run_storage", "event_log_storage", "schedule_storage"}


def test_all_but_the_database_is_as_without_it() -> None:
    with_it, without = yaml.safe_load(read_template(POSTGRES_CONFIG)), yaml.safe_load(read_template())
    assert {name: value for name, value in with_it.items() if name not in STORAGES} == without
    assert set(with_it) == {*without, *STORAGES}


def test_nothing_is_kept_in_files(prepare) -> None:
    home = prepare("postgres")
    with open_home(home) as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLog)
        instance.report_runless_asset_event(dg.AssetMaterialization("mine", partition="a"))
    with open_home(home) as again:
        assert again.get_materialized_partitions(dg.AssetKey("mine")) == {"a"}
    assert not list(home.rglob("*.db"))


def test_the_variables_may_stand_beside_gb_yaml(prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    home = prepare("postgres")
    monkeypatch.delenv("DAGSTER_POSTGRES_PASSWORD")
    with pytest.raises(ConfigError, match="DAGSTER_POSTGRES_PASSWORD, which is not set") as caught, open_home(home):
        pass
    assert ".env" in caught.value.fix
    (home.parent / ".env").write_text(f"DAGSTER_POSTGRES_PASSWORD='{PASSWORD}'\n", encoding="utf-8")
    (home.parent / ".env").chmod(0o600)
    with open_home(home) as instance:
        assert instance.get_runs_count() == 0


@pytest.mark.parametrize("fault", ["password", "server"])
def test_a_database_that_does_not_answer_is_a_sentence(
    prepare, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    home = prepare("postgres")
    if fault == "password":
        monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "another-secret")
    else:
        config = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
        for storage in STORAGES:
            config[storage]["config"]["postgres_db"]["port"] = find_free_port()
        (home / "dagster.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(DagsterError) as caught, open_home(home):
        pass
    said = f"{caught.value.what} {caught.value.fix} {caplog.text}"
    assert {"password": "authentication failed", "server": "Connection refused"}[fault] in said
    assert "another-secret" not in said
    assert PASSWORD not in said


@pytest.mark.parametrize(
    ("package", "fix"),
    [("dagster_postgres", 'pip install "gb_pipeline[postgres]"'), ("dagster_mysql", "install it beside gb_pipeline")],
)
def test_a_package_that_is_missing_is_named(prepare, package: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home = prepare("postgres")
    if package == "dagster_mysql":
        config = (home / "dagster.yaml").read_text(encoding="utf-8").replace(postgres_kept.__name__, package)
        (home / "dagster.yaml").write_text(config, encoding="utf-8")
    # As if it were not there, and nothing had been imported that needs it.
    monkeypatch.setitem(sys.modules, package, None)
    for module in (postgres_kept, postgres_log):
        monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(ConfigError, match=f"names {package}, which is not installed") as caught, open_home(home):
        pass
    assert caught.value.fix == fix


def ask_process(storage: Any) -> int:
    """Which process of the server answers a storage."""
    connect = storage.index_connection if isinstance(storage, PostgresEventLog) else storage.connect
    with connect() as connection:
        return connection.exec_driver_sql("select pg_backend_pid()").scalar()


def test_connections_stay_open_until_the_server_closes_them(prepare, postgres: Server) -> None:
    """A connection for each statement cost the daemon minutes of a backfill of five hundred series."""
    with open_home(prepare("postgres")) as instance:
        runs, ticks = instance.run_storage, instance.schedule_storage
        assert isinstance(runs, PostgresRuns)
        assert isinstance(ticks, PostgresTicks)
        storages = (instance.event_log_storage, runs, ticks)
        first = [ask_process(storage) for storage in storages]
        assert instance.get_runs() == []
        assert instance.all_asset_keys() == []
        assert [ask_process(storage) for storage in storages] == first
        ended = postgres.connect()
        ended.autocommit = True
        with ended.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid = any(%s)", (first,))
        ended.close()
        # As after a restart of the server: nobody notices.
        instance.report_runless_asset_event(dg.AssetMaterialization("mine", partition="a"))
        assert instance.get_materialized_partitions(dg.AssetKey("mine")) == {"a"}
        assert not {ask_process(storage) for storage in storages} & set(first)


def test_a_child_process_opens_connections_of_its_own(prepare) -> None:
    with open_home(prepare("postgres")) as instance:
        log = instance.event_log_storage
        own = ask_process(log)
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=lambda: answers.put(ask_process(log)))
        child.start()
        assert answers.get(timeout=60) != own
        child.join(60)
        assert child.exitcode == 0
        assert ask_process(log) == own


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_eight_runs_at_once_lose_nothing(prepare, kind: str) -> None:
    home = prepare(kind)
    program = [sys.executable, "-m", runs_at_once.__name__, str(home)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "lock" not in done.stderr
    with open_home(home) as instance:
        runs = instance.get_runs()
        assert Counter(run.status for run in runs) == {dg.DagsterRunStatus.SUCCESS: runs_at_once.RUNS}
        days = runs_at_once.DAYS.get_partition_keys()
        for run in runs:
            logged = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            assert len(logged) == len(runs_at_once.KEYS) * len(days)
        for key in runs_at_once.KEYS:
            every = instance.fetch_materializations(key, limit=1000).records
            assert Counter(record.partition_key for record in every) == dict.fromkeys(days, runs_at_once.RUNS)
            statuses = instance.get_status_by_partition(key, days, runs_at_once.DAYS)
            assert {status and status.value for status in statuses.values()} == {"MATERIALIZED"}


@pytest.mark.e2e
def test_a_backfill_through_the_daemon(tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three days of two series, one of them bad: the page shows what is stored, and what is not."""
    (tmp_path / "files").mkdir()
    days = ["2024-01-02", "2024-01-03", "2024-01-04"]
    good = [f"{day},10,11,9,10,100" for day in days]
    bad = [good[0], "2024-01-03,10,1,9,10,100", good[2]]
    for symbol, rows in (("GOOD", good), ("BAD", bad)):
        text = "\n".join(["date,open,high,low,close,volume", *rows])
        (tmp_path / "files" / f"{symbol}.csv").write_text(text, encoding="utf-8")
    source = {
        "provider": "csv", "options": {"path": "files/{symbol}.csv"}, "asset_class": "equity", "calendar": "XNYS",
        "start": "2024-01-01", "end": "2024-02-01", "symbols": ["GOOD", "BAD"], "resolutions": ["1d"], "grain": "day",
        "max_bad_fraction": 0,
    }  # fmt: skip
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"mine": source}}), encoding="utf-8")
    (tmp_path / "dagster.yaml").write_text(postgres.config, encoding="utf-8")
    variables = postgres.create("through-the-daemon")
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()), "utf-8")
    (tmp_path / ".env").chmod(0o600)
    for name in variables:
        monkeypatch.setenv(name, "")
    stack = Stack(tmp_path)
    stack.start(daemon=False)
    try:
        backfill = stack.client.launch_backfill([["mine", "bars_1d", "GOOD"], ["mine", "bars_1d", "BAD"]], days)
        stack.start_daemon()
        done = stack.wait_backfill(backfill, timeout=240)
        assert (done.materialized, done.failed) == (5, 1), stack.tail()
        assert stack.client.partition_statuses(["mine", "bars_1d", "BAD"])[days[1]] == "FAILED"
        assert set(stack.client.partition_statuses(["mine", "bars_1d", "GOOD"]).values()) == {"MATERIALIZED"}
        assert not list((tmp_path / ".dagster").rglob("*.db"))
        assert PASSWORD not in stack.log.read_text(encoding="utf-8")
    finally:
        stack.stop()
