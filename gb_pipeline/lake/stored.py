"""Bars as they are stored now.

Belongs here: reading the rows of a window from a series' table and its wide sibling, as the writer compares against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.files import files, scan
from gb_pipeline.lake.specs import bar_spec
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import CONTENT, Precision, bar_schema, polars_schema
from gb_pipeline.market.window import Window

if TYPE_CHECKING:
    from deltalake import DeltaTable

COLUMNS = ("symbol", "timestamp", *CONTENT, "known_at")


def read_window(
    tables: Tables,
    table: DeltaTable,
    source: str,
    resolution: Resolution,
    precision: Precision,
    symbols: Sequence[str],
    window: Window,
) -> pl.DataFrame:
    """Stored rows of some symbols in a window.

    Args:
        table: the opened table of this resolution and precision.

    Returns:
        `COLUMNS` in the types of the precision, sorted by symbol and timestamp. Rows of the standard table are included
        when the precision is wide, unless a wide row has taken their place.
    """
    types = polars_schema(bar_schema(precision))
    rows = _rows(tables, table, source, resolution, precision, symbols, window)
    if precision is Precision.WIDE:
        sibling = bar_spec(resolution, Precision.STANDARD)
        with tables.open(sibling.name) as standard:
            if standard is not None:
                older = _rows(tables, standard, source, resolution, Precision.STANDARD, symbols, window)
                older = older.cast({name: types[name] for name in COLUMNS})
                rows = pl.concat([rows, older.join(rows, on=["symbol", "timestamp"], how="anti")])
    return rows.sort("symbol", "timestamp")


def refuse_narrower(tables: Tables, source: str, resolution: Resolution, symbols: Sequence[str]) -> None:
    """A series that went wide stays wide: its standard rows would be hidden behind the wide ones.

    Raises:
        LakeError: one of the symbols has rows in the wide table.
    """
    wide = bar_spec(resolution, Precision.WIDE)
    with tables.open(wide.name) as table:
        if table is None:
            return
        found = files(table, source=source, symbols=symbols)
    if not found.is_empty():
        raise LakeError(
            f"{source} {resolution} bars are stored with wide precision",
            fix=f"set `precision: wide` for source {source}",
        )


def _rows(
    tables: Tables,
    table: DeltaTable,
    source: str,
    resolution: Resolution,
    precision: Precision,
    symbols: Sequence[str],
    window: Window,
) -> pl.DataFrame:
    spec = bar_spec(resolution, precision)
    found = files(table, source=source, symbols=symbols, between=(window.start, window.end))
    if found.is_empty():
        types = polars_schema(spec.schema)
        return pl.DataFrame(schema={name: types[name] for name in COLUMNS})
    return (
        scan(tables.storage, spec, found["path"].to_list())
        .filter(
            pl.col("symbol").is_in(list(symbols)),
            pl.col("timestamp") >= window.start,
            pl.col("timestamp") < window.end,
            pl.col("source") == source,
        )
        .select(COLUMNS)
        .collect()
    )
