"""This module knows what a catalog was made from, and whether that is what the lake holds now.

Opening DuckDB takes longer than asking it, so everything that is wanted of a catalog is read through one connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.catalog import tables as contents
from gb_pipeline.catalog.incidents import read_catalog_incidents, remembered_incidents
from gb_pipeline.catalog.published import open_newest
from gb_pipeline.catalog.sources import merge_sources, read_sources
from gb_pipeline.config.project_incidents import NO_INCIDENTS, Incidents
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import LakeError
from gb_pipeline.storage.address import Storage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from gb_pipeline.lake.store import LakeStore

# Raised whenever the catalog's tables change, so that a catalog of an older release counts as stale.
FORMAT = 9
# Delta's id of a table, which a table of the same name made anew does not share, and its version.
State = dict[str, tuple[str, int]]
META = pl.Schema(
    {
        "table": pl.String(),
        "table_id": pl.String(),
        "version": pl.Int64(),
        "made_at": pl.Datetime("us", "UTC"),
        "root": pl.String(),
        "format": pl.Int64(),
        # Whether everything could be read: if not, the next reader builds it again.
        "whole": pl.Boolean(),
    }
)


@dataclass(frozen=True, slots=True)
class Previous:
    """What the catalog in place says, and what tells whether it is still the same one.

    Attributes:
        state: what it was made from; None when it is missing, unreadable, foreign or of another format.
        sources: what it says of the sources, in the order in which they are asked.
        instruments: columns of `tables.INSTRUMENTS`, of every series whose asset class it knows.
        incidents: what explained gaps in it.
        file: inode and time of change of its file; None where there was none.
    """

    state: State | None
    sources: tuple[SourceFacts, ...]
    instruments: pl.DataFrame
    incidents: Incidents
    file: tuple[int, int] | None


def read_previous(storage: Storage) -> Previous:
    """What the catalog in place says; nothing where there is none."""
    file = catalog_file(storage)
    try:
        connection = open_newest(storage)
    except LakeError:
        return Previous(None, (), pl.DataFrame(schema=contents.INSTRUMENTS), NO_INCIDENTS, file)
    with closing(connection):
        return Previous(
            read_state(connection, storage),
            read_sources(connection),
            _instruments(connection),
            remembered_incidents(connection),
            file,
        )


def known_sources(storage: Storage, given: Sequence[SourceFacts] | None) -> tuple[SourceFacts, ...]:
    """What the settings say of the sources, and after them what the catalog in place knows of further ones."""
    try:
        connection = open_newest(storage)
    except LakeError:
        return merge_sources(given, ())
    with closing(connection):
        return merge_sources(given, read_sources(connection))


def current_state(previous: Previous, storage: Storage) -> State | None:
    """What the catalog in place was made from; it is opened again only if somebody has replaced it meanwhile."""
    if catalog_file(storage) == previous.file:
        return previous.state
    try:
        connection = open_newest(storage)
    except LakeError:
        return None
    with closing(connection):
        return read_state(connection, storage)


def is_current(connection: DuckDBPyConnection, store: LakeStore, facts: Sequence[SourceFacts] | None) -> bool:
    """Whether an open catalog was made from the newest versions of the lake's tables, and from these facts and incidents.

    Only the logs' newest versions are looked at: milliseconds, however large the lake.
    """
    built_from = read_state(connection, store.storage)
    # Tables that only another program declared make nothing stale.
    if built_from is None or {
        name: built_from[name] for name in built_from if name in store.tables.datasets
    } != lake_state(store):
        return False
    if store.incidents is not None and read_catalog_incidents(connection) != store.incidents().items:
        return False
    return facts is None or read_sources(connection)[: len(facts)] == tuple(facts)


def lake_state(store: LakeStore) -> State:
    """What a catalog that is made now is made from."""
    return {
        snapshot.dataset.name: (snapshot.table_id, snapshot.version) for snapshot in store.tables.existing(damaged=[])
    }


def read_state(connection: DuckDBPyConnection, storage: Storage) -> State | None:
    """What an open catalog was made from; None where it does not say so, or is of another place or format."""
    import duckdb

    try:
        rows = connection.execute('select "table", table_id, version, root, format, whole from catalog_meta').fetchall()
    except duckdb.Error:
        return None
    if not rows or any(row[3:] != (str(storage.root), FORMAT, True) for row in rows):
        return None
    return {name: (identity, version) for name, identity, version, *_ in rows if name}


def is_newer(existing: State | None, built: State | None) -> bool:
    """Whether a catalog in place knows everything that a new one knows, and more."""
    if existing is None or built is None or existing == built:
        return False
    return all(
        name in existing and existing[name][0] == table and existing[name][1] >= version
        for name, (table, version) in built.items()
    )


def meta_rows(state: State, storage: Storage, *, whole: bool) -> pl.DataFrame:
    """The catalog's table `catalog_meta`."""
    build_facts = (datetime.now(UTC), str(storage.root), FORMAT, whole)
    rows = [(name, *identity, *build_facts) for name, identity in state.items()]
    # An empty lake has no table; one row without a name still says where and when.
    return pl.DataFrame(rows or [("", "", -1, *build_facts)], schema=META, orient="row")


def catalog_file(storage: Storage) -> tuple[int, int] | None:
    """What tells the catalog's file on this machine from another one: inode and time of change; None where there is none."""
    with suppress(OSError):
        found = storage.catalog.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def _instruments(connection: DuckDBPyConnection) -> pl.DataFrame:
    import duckdb

    try:
        query = "select * from symbol_data where asset_class is not null"
        symbol_data = pl.DataFrame(connection.sql(query).to_arrow_table())
    except duckdb.Error:
        return pl.DataFrame(schema=contents.INSTRUMENTS)
    # That of an older release may know less.
    columns = (
        pl.col(name) if name in symbol_data.columns else pl.lit(None).alias(name) for name in contents.INSTRUMENTS
    )
    return symbol_data.select(columns).cast(contents.INSTRUMENTS)
