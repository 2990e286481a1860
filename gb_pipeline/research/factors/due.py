"""Which months of a factor set have to be computed: those that never were, and those that other bars or another text would change.

The ledger of sessions and the corporate actions say when something became known about the days that a month looks back on. No bar
is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from gb_pipeline.lake import corporate_actions, factors, ledger
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.lake import Lake
from gb_pipeline.research.factors.sets import FactorSet, Month


def find_due_months(lake: Lake, chosen: FactorSet, until: date) -> list[Month]:
    """The months of a set, up to that of a day, whose stored values may not be what they should be.

    A month is due if it was never computed, or of another description; or if a session or a split that it looks back on became
    known after the moment that it was computed at.
    """
    tables = lake.store.tables
    runs = {row["start"]: row for row in factors.newest_runs(tables, chosen.name).to_dicts()}
    told = _told(lake, chosen)
    return [month for month in chosen.months(until) if _is_due(month, runs.get(month.start), chosen.definition, told)]


def _is_due(month: Month, run: dict[str, Any] | None, definition: str, told: pl.DataFrame) -> bool:
    if run is None or run["definition"] != definition or run["end"] != month.end:
        return True
    behind = told.filter(
        pl.col("session").is_between(run["data_start"], month.end, closed="left"),
        pl.col("known_at") > run["data_as_of"],
    )
    return behind.height > 0


def _told(lake: Lake, chosen: FactorSet) -> pl.DataFrame:
    """`session, known_at`: when something became known about each day for the last time."""
    own, tables = chosen.settings, lake.store.tables
    symbols: Sequence[str] | None = None if chosen.universe is None else sorted(chosen.universe)
    resolution = Resolution.parse(own.resolution)
    recorded = ledger.scan(tables, own.source, resolution, symbols, columns=["session", "symbol", "known_at"])
    days = [recorded.group_by("session").agg(pl.col("known_at").max()).collect(engine="in-memory")]
    if own.adjustment != "none":
        actions = corporate_actions.read(tables, own.source, symbols, withdrawn=True)
        days.append(actions.select(pl.col("ex_date").alias("session"), "known_at").drop_nulls())
    return pl.concat(days)
