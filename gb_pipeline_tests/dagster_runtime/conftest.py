"""Instances on both kinds of database."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.dagster_runtime.home import prepare_home
from gb_pipeline.dagster_runtime.opening import open_home
from gb_pipeline_tests.postgres import Server, find_programs, serve


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real server, whose data survives no power failure: it need not."""
    if (programs := find_programs()) is None:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("GB_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{reason} (GB_REQUIRE_SERVICES=1)")
        pytest.skip(reason)
    with serve(programs, "fsync=off") as server:
        yield server


@pytest.fixture
def prepare(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """`prepare("postgres")`: a home on a database of its own, as `gb up` makes it."""

    def make(kind: str) -> Path:
        config = None
        if kind == "postgres":
            server = request.getfixturevalue("postgres")
            for name, value in server.create(f"d{uuid.uuid4().hex}").items():
                monkeypatch.setenv(name, value)
            config = tmp_path / "dagster.yaml"
            config.write_text(server.config, encoding="utf-8")
        prepare_home(tmp_path / ".dagster", config)
        return tmp_path / ".dagster"

    return make


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, prepare: Callable[[str], Path]) -> Iterator[dg.DagsterInstance]:
    with open_home(prepare(request.param)) as made:
        yield made
