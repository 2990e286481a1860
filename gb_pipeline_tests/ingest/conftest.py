"""A fresh lake, and the module's own `exchange` as it was when it began; both stand still at `NOW` of a module that has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import SetClock


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> SetClock:
    """The present of the lake, for tests that move it."""
    return SetClock(request.module.NOW)


@pytest.fixture
def sim(request: pytest.FixtureRequest, exchange: Simulation) -> Simulation:
    exchange.reset()
    if stands_still(request):
        exchange.set_now(request.module.NOW)
    return exchange


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LakeStore:
    if stands_still(request):
        return LakeStore.at(tmp_path, clock=request.getfixturevalue("clock"))
    return LakeStore.at(tmp_path)


def stands_still(request: pytest.FixtureRequest) -> bool:
    return hasattr(request.module, "NOW")
