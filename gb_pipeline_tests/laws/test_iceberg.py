"""Iceberg tables hold exactly the bars of now, whatever happened to them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from gb_pipeline.errors import NoDataInRange, UnknownSeries
from gb_pipeline.iceberg.refresh import refresh_iceberg
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import Precision, bar_schema, polars_schema
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.iceberg.engines import COLUMNS, KEY, by_pyiceberg
from gb_pipeline_tests.laws.answers import SLOTS
from gb_pipeline_tests.laws.law import law
from gb_pipeline_tests.laws.model import SOURCE
from gb_pipeline_tests.laws.test_as_of import STEPS
from gb_pipeline_tests.laws.world import Step, World

WIDE = polars_schema(bar_schema(Precision.WIDE))
BAR = {name: WIDE[name] for name in COLUMNS}


@law(st.lists(STEPS, min_size=6, max_size=16), few=6, many=150)
def test_the_tables_of_both_precisions_together_have_each_bar_once(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for number, step in enumerate(steps):
            world.take(step)
            if number % 3 == 2 or step is steps[-1]:
                expect_the_same(world.store)


def expect_the_same(store: LakeStore) -> None:
    names = {report.table: report.rows - report.hidden for report in refresh_iceberg(store)}
    for kind in SLOTS:
        own = [name for name in names if name in {f"bars_{kind}", f"bars_{kind}_wide"}]
        found = pl.concat([pl.DataFrame(schema=BAR), *(by_pyiceberg(store, name).cast(BAR) for name in own)]).sort(KEY)
        assert found.equals(bars(store, kind))
        assert sum(names[name] for name in own) == found.height


def bars(store: LakeStore, kind: str) -> pl.DataFrame:
    try:
        return Lake(store).bars(None, kind, source=SOURCE, columns=COLUMNS).cast(BAR).sort(KEY)
    except (NoDataInRange, UnknownSeries):
        return pl.DataFrame(schema=BAR)
