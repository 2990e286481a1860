"""A project with a lake, and `gb` as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gb_pipeline.cli.app import run
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import PROJECT, Gb, Result


@pytest.fixture(scope="session")
def exchange() -> Iterator[Simulation]:
    with Simulation(symbols=["BTC-USDT", "ETH-USDT", "SOL-USDT"]) as simulation:
        simulation.plant("gap", "ETH-USDT", start="2024-01-02T10:00Z", end="2024-01-02T10:12Z")
        simulation.plant("bad", "BTC-USDT", start="2024-01-03T12:00Z", values={"high": "0.01"})
        yield simulation


@pytest.fixture
def gb(capsys: pytest.CaptureFixture[str], exchange: Simulation, monkeypatch: pytest.MonkeyPatch) -> Gb:
    """Run a command in this process."""
    for name in ("GB_CONFIG", "GB_LAKE", "GB_STATE", "DAGSTER_HOME", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GB_SIM_URL", exchange.url)

    def call(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory, exchange: Simulation) -> Path:
    """A project whose lake holds three days of two symbols; tests only read it."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "gb.yaml").write_text(PROJECT, encoding="utf-8")
    environment = os.environ | {"GB_SIM_URL": exchange.url, "GB_CONFIG": str(folder)}
    environment.pop("GB_LAKE", None)
    command = [sys.executable, "-m", "gb_pipeline.cli", "fetch", "sim", "--start", "2024-01-02", "--end", "2024-01-05"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without a lake."""
    (tmp_path / "gb.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path
