"""Lakes for pipelines: an empty one, and one of real equities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline_tests.bars import SetClock, at

EQUITIES = ("AAPL", "IBM", "KO", "MSFT")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake, in the year after its bars."""
    lake = Lake.open(tmp_path / "data", create=True)
    lake.store.clock = SetClock(at("2025-01-01"))
    return lake


@pytest.fixture(scope="module")
def equities(tmp_path_factory: pytest.TempPathFactory, market_data: Callable[[str], Path]) -> Lake:
    """The daily bars of four real equities, as their vendor adjusted them."""
    folder = market_data("equities-daily/zipline-csvdir")
    lake = Lake.open(tmp_path_factory.mktemp("equities") / "data", create=True)
    for symbol in EQUITIES:
        frame = pl.read_csv(folder / f"{symbol}.csv.gz", try_parse_dates=True)
        lake.put(
            frame.select("date", "open", "high", "low", "close", "volume", vwap=pl.col("close")),
            source="zipline", resolution="1d", symbol=symbol, calendar="XNYS", decimals=6,
        )  # fmt: skip
    return lake
