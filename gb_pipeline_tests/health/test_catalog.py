"""The catalog beside the logs: one that another program holds, that is no database, or that is of a bucket."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.config.settings import Settings
from gb_pipeline.health.checkup import CHECKS, examine
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import HealthResult, State
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import day, minutes

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def state(tmp_path: Path) -> ProjectState:
    source = {"name": "sim", "provider": "ccxt", "start": "2024-01-02", "end": "2024-01-03", "symbols": ["BTC-USD"]}
    settings = Settings.model_validate(
        {
            "path": tmp_path / "gb.yaml",
            "lake": tmp_path / "data",
            "state": tmp_path / "state",
            "sources": {"sim": source},
        }
    )
    store = LakeStore.at(settings.lake, state=settings.state)
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    refresh_catalog(store, settings.sources)
    return ProjectState(settings, store)


def look(state: ProjectState) -> HealthResult:
    [found] = examine(state, ["catalog"])
    return found


def test_a_catalog_that_another_program_writes_to_is_named_and_replaced(state: ProjectState) -> None:
    assert look(state).state is State.OK
    command = [sys.executable, "-c", HOLD, str(state.store.storage.catalog)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        found = look(state)
        assert (found.state, "cannot be opened" in found.sentence) == (State.WARN, True)
        refresh_catalog(state.store, state.settings.sources)
        assert look(state).state is State.OK
        holder.stdin.close()


def test_a_catalog_that_is_no_database_is_named(state: ProjectState) -> None:
    state.store.storage.catalog.write_bytes(b"no database" * 1000)
    assert look(state).state is State.WARN


def test_a_catalog_that_says_it_is_current_and_lists_other_files_is_a_failure(state: ProjectState) -> None:
    import duckdb

    with duckdb.connect(state.store.storage.catalog) as connection:
        connection.execute("delete from files")
    found = look(state)
    assert (found.state, found.sample.rows()) == (State.FAIL, [("bars_1m", 1, 0)])
    state.store.storage.catalog.unlink()
    refresh_catalog(state.store, state.settings.sources)
    assert look(state).state is State.OK


def test_every_check_holds_at_any_hour(state: ProjectState) -> None:
    now: datetime = state.store.clock()
    for hours in range(0, 72, 7):
        state.store.clock = lambda moment=now + timedelta(hours=hours): moment
        results = list(examine(ProjectState(state.settings, state.store)))
        assert [result.name for result in results] == list(CHECKS)
        assert {result.name for result in results if not result.healthy} == {"verification"}
