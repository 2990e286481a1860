"""The catalog's table `incidents`: what explained gaps when it was made, for a lake that is opened without its project."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import date, datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.catalog.published import open_newest
from gb_pipeline.catalog.sources import read_sources
from gb_pipeline.config.incident_times import Bound
from gb_pipeline.config.incidents import Incident
from gb_pipeline.config.project_incidents import NO_INCIDENTS, Incidents
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What an incident concerns, as lists; an empty one means all.
_SCOPE = ("sources", "symbols", "resolutions", "calendars", "exchanges")
INCIDENTS = pl.Schema(
    {
        # Its number in incidents.yaml.
        "incident": pl.Int64(),
        # Instants in UTC, or dates, which mean whole sessions.
        "starts": pl.String(),
        "ends": pl.String(),
        "kind": pl.String(),
        "reason": pl.String(),
        "evidence": pl.String(),
        **dict.fromkeys(_SCOPE, pl.List(pl.String())),
    }
)


def incident_table(incidents: Sequence[Incident]) -> pl.DataFrame:
    """Columns of `INCIDENTS`, in the order of the file."""
    rows = [
        (
            item.entry,
            item.start.isoformat(),
            item.end.isoformat(),
            item.kind,
            item.reason,
            item.evidence,
            *(list(getattr(item, name)) for name in _SCOPE),
        )
        for item in incidents
    ]
    return pl.DataFrame(rows, schema=INCIDENTS, orient="row")


def read_catalog_incidents(connection: DuckDBPyConnection) -> tuple[Incident, ...]:
    """What an open catalog says explained gaps; nothing in one of an older release."""
    import duckdb

    try:
        rows = pl.DataFrame(connection.sql("select * from incidents order by incident").to_arrow_table())
    except duckdb.Error:
        return ()
    return tuple(
        Incident(
            entry=row["incident"],
            start=_bound(row["starts"]),
            end=_bound(row["ends"]),
            kind=row["kind"],
            reason=row["reason"],
            evidence=row["evidence"],
            sources=tuple(row["sources"]),
            symbols=tuple(row["symbols"]),
            resolutions=tuple(row["resolutions"]),
            calendars=tuple(row["calendars"]),
            exchanges=tuple(row["exchanges"]),
        )
        for row in rows.iter_rows(named=True)
    )


def known_incidents(store: LakeStore) -> Incidents:
    """What the project's incidents.yaml says now; of a lake without a project, what the catalog in place remembers.

    Raises:
        ConfigError: incidents.yaml cannot be used.
    """
    if store.incidents is not None:
        return store.incidents()
    try:
        connection = open_newest(store.storage)
    except LakeError:
        return NO_INCIDENTS
    with closing(connection):
        return remembered_incidents(connection)


def remembered_incidents(connection: DuckDBPyConnection) -> Incidents:
    """The incidents of an open catalog, with what it knows of the sources."""
    items = read_catalog_incidents(connection)
    if not items:
        return NO_INCIDENTS
    exchanges = {}
    if any(item.exchanges for item in items):
        listed = connection.execute("select distinct source, symbol, exchange from symbol_data").fetchall()
        exchanges = {(source, symbol): exchange for source, symbol, exchange in listed}
    return Incidents(items, {facts.name: facts for facts in read_sources(connection)}, exchanges)


def _bound(text: str) -> Bound:
    return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
