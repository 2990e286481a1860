"""The ledger of sessions: what the lake knows about every series in every trading day.

Belongs here: reading the valid row of a session and appending what changed. The table is append-only, so writers never
conflict over it; of several rows of one session the one with the highest (precision, table_version, recorded_at) holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from gb_pipeline.lake.files import ledger_rows
from gb_pipeline.lake.specs import spec_of
from gb_pipeline.lake.tables import Tables
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SESSIONS, Precision, polars_schema

KEYS = ("source", "symbol", "resolution", "session")
# What may differ although nothing happened.
_ABOUT_THE_ROW = {"known_at", "recorded_at", "table_version"}
SAID = tuple(name for name in SESSIONS.names if name not in {*KEYS, *_ABOUT_THE_ROW})


def valid(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Of all rows of the ledger, the valid one of every session."""
    wide = pl.col("precision") == Precision.WIDE.value
    return rows.sort(*KEYS, wide, "table_version", "recorded_at").unique(KEYS, keep="last", maintain_order=True)


def current(
    tables: Tables,
    source: str | None = None,
    resolution: Resolution | None = None,
    symbols: Sequence[str] | None = None,
    between: tuple[date, date] | None = None,
) -> pl.DataFrame:
    """The valid rows of the ledger for a series, a range of sessions, or everything.

    Args:
        between: half-open range of sessions.

    Returns:
        Columns of `market.schema.SESSIONS`, sorted by key.
    """
    rows = ledger_rows(tables, "sessions", source=source, symbols=symbols, between=between, key="session")
    if resolution is not None:
        rows = rows.filter(pl.col("resolution") == resolution.value)
    return valid(rows).collect()


def append_changed(tables: Tables, rows: pl.DataFrame) -> pl.DataFrame:
    """Append the rows that say something else than the ledger does; no commit when there are none.

    Args:
        rows: columns of `market.schema.SESSIONS`, one source and resolution.

    Returns:
        The rows that were appended.
    """
    if rows.is_empty():
        return rows
    types = polars_schema(SESSIONS)
    rows = rows.select(types.names()).cast(types)
    first, last = rows["session"].min(), rows["session"].max()
    known = current(
        tables,
        rows["source"][0],
        Resolution(rows["resolution"][0]),
        rows["symbol"].unique().to_list(),
        (first, date.fromordinal(last.toordinal() + 1)),  # type: ignore[union-attr,arg-type]
    )
    changed = rows if known.is_empty() else _differing(rows, known)
    if not changed.is_empty():
        tables.append(spec_of("sessions"), changed)
    return changed


def _differing(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    # A struct compares every column, lists of gaps included, and null with null.
    here = rows.with_columns(pl.struct(SAID).alias("said"))
    there = known.select(*KEYS, pl.struct(SAID).alias("known"))
    joined = here.join(there, on=KEYS, how="left", maintain_order="left")
    return joined.filter(pl.col("said").ne_missing(pl.col("known"))).drop("said", "known")
