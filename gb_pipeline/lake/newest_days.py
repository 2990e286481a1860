"""This module finds where the newest days of a source begin, by the ledger: for whoever looks at a year of a long history."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage.table import Tables


def find_start(tables: Tables, source: str | None, resolution: Resolution | None, days: int) -> date | None:
    """The first of so many days until the newest session that the ledger has of a source; None where it has nothing."""
    rows = ledger.scan(tables, source, resolution, columns=["session"])
    newest = rows.select(pl.col("session").max()).collect().item()
    return None if newest is None else newest - timedelta(days=days - 1)
