"""A fresh lake, and the module's own `exchange` as it was when it began; a module that stops the clock has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation


@pytest.fixture
def sim(exchange: Simulation) -> Simulation:
    exchange.reset()
    return exchange


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    return LakeStore.at(tmp_path)
