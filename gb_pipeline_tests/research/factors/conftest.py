"""An empty lake, in the year after its bars."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline_tests.bars import SetClock, at


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake, in the year after its bars."""
    lake = Lake.open(tmp_path / "data", create=True)
    lake.store.clock = SetClock(at("2025-01-01"))
    return lake
