"""The catalog's table `sources`: which one is asked first, its calendar, and when its bars settle, as gb.yaml said last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SOURCES = pl.Schema(
    {
        "source": pl.String(),
        # 1 is asked first.
        "priority": pl.Int64(),
        "calendar": pl.String(),
        "extended_hours": pl.Boolean(),
        "alignment": pl.String(),
        "settle_days": pl.Int64(),
    }
)


def source_table(facts: Sequence[SourceFacts]) -> pl.DataFrame:
    """Columns of `SOURCES`, in the order in which sources are asked."""
    rows = [
        (item.name, place, item.calendar, item.extended_hours, item.alignment, item.settle_days)
        for place, item in enumerate(facts, 1)
    ]
    return pl.DataFrame(rows, schema=SOURCES, orient="row")


def read_sources(connection: DuckDBPyConnection) -> tuple[SourceFacts, ...]:
    """What an open catalog says of the sources; what an older release did not write has its default."""
    import duckdb

    try:
        rows = connection.execute("select * exclude (priority) from sources order by priority")
        names = ["name" if column[0] == "source" else column[0] for column in rows.description or ()]
        return tuple(SourceFacts(**dict(zip(names, row, strict=True))) for row in rows.fetchall())
    except duckdb.Error:
        return ()


def merge_sources(given: Sequence[SourceFacts] | None, recorded: Sequence[SourceFacts]) -> tuple[SourceFacts, ...]:
    """What the settings say of the sources, and after them what a catalog knew of further ones."""
    named = {item.name for item in given or ()}
    return (*(given or ()), *(item for item in recorded if item.name not in named))
