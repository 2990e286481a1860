"""`gb prune-events`: what it says and leaves, beside a running Dagster and without it."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.cli.app import run
from gb_pipeline.dagster_runtime.home import HOME, HomeLock, ensure_home
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline.dagster_runtime.private import EVENTS, StepMaterializationData

SERIES = dg.AssetKey(["mine", "bars_1m", "AAPL"])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs have stored the same day; the events of both are a year old."""
    source = {"provider": "csv", "options": {"files": "*.csv"}, "start": "2024-01-01", "symbols": ["AAPL"]}
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"sources": {"mine": source}}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with open_home(ensure_home(tmp_path)) as instance:
        for _ in range(2):
            made = instance.add_run(dg.DagsterRun("job", status=dg.DagsterRunStatus.SUCCESS))
            data = StepMaterializationData(dg.AssetMaterialization(SERIES, partition="2024-01-02"))
            event = dg.DagsterEvent("ASSET_MATERIALIZATION", "job", event_specific_data=data)
            instance.report_dagster_event(event, made.run_id)
        with instance.event_log_storage.index_transaction() as connection:
            year = "2023-01-01 00:00:00.000000"
            connection.exec_driver_sql("update event_logs set timestamp = ?", (year,))
    return tmp_path


def count(project: Path) -> int:
    with open_home(project / HOME) as instance, instance.event_log_storage.index_connection() as connection:
        return len(connection.execute(EVENTS.select()).all())


def materialized(project: Path) -> set[str]:
    with open_home(project / HOME) as instance:
        return set(instance.get_materialized_partitions(SERIES))


@pytest.fixture
def aged(project: Path) -> Path:
    """Runs count as recent by when they changed last, so they are old as well."""
    with open_home(project / HOME) as instance:
        for run_record in instance.get_run_records():
            with instance.run_storage.connect() as connection:
                connection.exec_driver_sql("update runs set update_timestamp = '2023-01-01 00:00:00'")
            assert run_record
    return project


def test_a_dry_run_says_what_would_go_and_removes_nothing(aged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prune-events", "--dry-run"]) == 0

    assert "would be removed, of before" in capsys.readouterr().err
    assert count(aged) == 2


def test_what_is_superseded_goes_and_the_day_stays_green(aged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prune-events", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["events"], told["dagster_running"], count(aged)) == (1, False, 1)
    assert materialized(aged) == {"2024-01-02"}
    assert run(["prune-events"]) == 0
    assert "removed, of before" in capsys.readouterr().err


def test_it_works_beside_a_running_dagster_and_says_that_files_stay_as_they_are(
    aged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = HomeLock(aged / HOME)
    lock.acquire("http://127.0.0.1:3000")
    try:
        assert run(["prune-events"]) == 0
    finally:
        lock.release()

    assert "Dagster is running" in capsys.readouterr().err
    assert count(aged) == 1


def test_without_a_history_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gb.yaml").write_text("sources: {}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert run(["prune-events"]) == 0
    assert "there is nothing to prune" in capsys.readouterr().err
