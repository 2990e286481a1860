"""The catalog's table `sources`: which source is asked first, and by which calendar each trades, as gb.yaml said last."""

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
    }
)


def source_table(facts: Sequence[SourceFacts]) -> pl.DataFrame:
    """Columns of `SOURCES`, in the order in which sources are asked."""
    rows = [
        (item.name, place, item.calendar, item.extended_hours, item.alignment) for place, item in enumerate(facts, 1)
    ]
    return pl.DataFrame(rows, schema=SOURCES, orient="row")


def read_sources(connection: DuckDBPyConnection) -> tuple[SourceFacts, ...]:
    """What an open catalog says of the sources; nothing where it is one of an older release."""
    import duckdb

    query = "select source, calendar, extended_hours, alignment from sources order by priority"
    try:
        return tuple(SourceFacts(*row) for row in connection.execute(query).fetchall())
    except duckdb.Error:
        return ()


def merge_sources(given: Sequence[SourceFacts] | None, recorded: Sequence[SourceFacts]) -> tuple[SourceFacts, ...]:
    """What the settings say of the sources, and after them what a catalog knew of further ones."""
    named = {item.name for item in given or ()}
    return (*(given or ()), *(item for item in recorded if item.name not in named))
