"""Fixtures of everything that asks vendors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.matrix import NOW, hasty
from gb_pipeline_tests.providers.set_clock import SetClock, install
from gb_pipeline_tests.providers.vendors import PAIRS, SHARES


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """The pace follows a clock that only moves when somebody waits."""
    return install(monkeypatch)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    """All vendors of the fault matrix, with repeats that come at once."""
    with hasty(), Simulation(seed=7, symbols=PAIRS, stocks=SHARES) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    """The same, without what the test before did to it."""
    running.reset()
    running.set_now(NOW)
    return running
