"""An empty lake whose present is set by the test, and one way to write to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake.report import WriteReport
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.window import Window
from gb_pipeline_tests.bars import SetClock, at, day

FIRST = at("2024-02-01T00:00")
Write = Callable[..., WriteReport]


@pytest.fixture
def lake_at() -> Callable[[Path], LakeStore]:
    """`lake_at(folder)`: an empty lake in the year 2024."""
    return lambda root: LakeStore.at(root, clock=SetClock(FIRST))


@pytest.fixture
def store(tmp_path: Path, lake_at: Callable[[Path], LakeStore]) -> LakeStore:
    return lake_at(tmp_path)


@pytest.fixture
def write() -> Write:
    """`write(store, frame, day("2024-01-02"), now=moment)`: minutes of BTC-USD, asked for and stored at that moment."""

    def store_at(
        store: LakeStore, frame: pl.DataFrame, window: Window | None = None, *, now: datetime = FIRST, **how: object
    ) -> WriteReport:
        store.clock.now = now
        how = {"source": "sim", "symbols": "BTC-USD", "resolution": "1m"} | how
        return store.write_bars(window=window or day("2024-01-02"), frame=frame, **how)

    return store_at
