"""A lake that has only bars of `precision: wide` answers SQL under the same names as any other."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Precision
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.bars import day, minutes

COUNTS = {"bars_1m": 30, "bars_1m_history": 60, "bars_1m_as_of(now())": 30, "best_bars_1m": 30, "restatements": 30}


def test_views_of_bars_are_there_although_no_standard_bar_is(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    rules = BarRules(resolution=Resolution.MINUTE, precision=Precision.WIDE)
    for volume in ("1.5", "1.000000000000000001"):
        frame = minutes("2024-01-02", 30).with_columns(volume=pl.lit(volume))
        store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), frame, rules=rules)
    lake = Lake(store)
    assert {name: lake.sql(f"select count(*) from {name}").item() for name in COUNTS} == COUNTS
    assert str(lake.sql("select max(volume) from bars_1m").item()) == "1.000000000000000001"
    refresh_catalog(store)
    with duckdb.connect(str(store.storage.catalog), read_only=True) as catalog:
        assert {name: catalog.sql(f"select count(*) from {name}").fetchall()[0][0] for name in COUNTS} == COUNTS
