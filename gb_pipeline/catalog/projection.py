"""This module builds, replaces and opens the DuckDB catalog: one file that describes a lake to any DuckDB client.

The catalog is a projection of the Delta logs and the small ledgers: it can be deleted at any time, and nothing is ever written
to it. It is built beside its place and put there by one atomic rename, so a reader never meets a writer. Its contents come from
`summaries` and `views`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.catalog import tables as contents
from gb_pipeline.catalog.connection import can_read_buckets, connect
from gb_pipeline.catalog.incidents import incident_table
from gb_pipeline.catalog.lost import lost_moments
from gb_pipeline.catalog.published import open_newest, publish_catalog
from gb_pipeline.catalog.sources import merge_sources, source_table
from gb_pipeline.catalog.state import (
    Previous,
    current_state,
    is_current,
    is_newer,
    lake_state,
    meta_rows,
    read_previous,
    read_state,
)
from gb_pipeline.catalog.stream_views import StreamView, describe_views
from gb_pipeline.catalog.summaries import SUMMARIES, Summaries
from gb_pipeline.catalog.views import build_statements, error_view, parquet_rows
from gb_pipeline.config.project_incidents import NO_INCIDENTS, Incidents
from gb_pipeline.config.source_facts import SourceFacts, facts_of
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import corporate_actions, ledger
from gb_pipeline.lake.datasets import STREAM_TABLES
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.lake.store import LakeStore

# Leftovers of a killed build are removed by a later one after this time.
_ABANDONED_SECONDS = 3600
_STATEMENTS = pl.Schema({"name": pl.String(), "sql": pl.String()})


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """What a refresh did.

    Attributes:
        path: the catalog's file.
        versions: Delta version of every table that it was made from.
        series, sessions, gaps, files: rows of `symbol_data`, `coverage`, `gaps` and `files`.
        rows, bytes: stored bars, and the size of their data files.
        unreadable: tables and views that are not known because of damage, with the reason; a query of one fails with it.
        replaced: False when another process had put a newer catalog in place meanwhile.
        seconds: how long it took.
    """

    path: Path
    versions: Mapping[str, int]
    series: int
    sessions: int
    gaps: int
    files: int
    rows: int
    bytes: int
    unreadable: Mapping[str, str]
    replaced: bool
    seconds: float


def refresh_catalog(
    store: LakeStore,
    sources: Mapping[str, SourceSettings] | None = None,
    *,
    facts: Sequence[SourceFacts] | None = None,
) -> CatalogReport:
    """Build the catalog anew and put it in place; any number of processes may do so at once.

    Args:
        store: the lake.
        sources: settings by name, for `exchange`, `asset_class`, priority and calendar; without them the previous catalog's are
            kept.
        facts: priority and calendars, where nothing else of the settings is at hand.

    Raises:
        LakeError, OSError: the lake's folder cannot be written.

    Example:
        >>> refresh_catalog(LakeStore.at("data")).series
        6
    """
    import duckdb

    began = time.perf_counter()
    target = store.storage.catalog
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        previous = read_previous(store.storage)
        with closing(connect(temporary, store.storage.root)) as connection:
            given = facts_of(sources) if facts is None and sources else facts
            incidents = previous.incidents if store.incidents is None else store.incidents()
            facts_of_all = merge_sources(given, previous.sources)
            report = build(connection, store, _instruments(previous, sources), facts_of_all, incidents)
            state = read_state(connection, store.storage)
        reach("catalog_built")
        is_newest = not is_newer(current_state(previous, store.storage), state)
        if is_newest:
            temporary.replace(target)
            publish_catalog(store.storage)
    except duckdb.Error as error:
        # No space, no permission.
        raise LakeError(f"no catalog can be written: {error}", fix="make room, or the lake's folder writable") from None
    finally:
        for leftover in (temporary, Path(f"{temporary}.wal")):
            # In a folder that cannot be written there is nothing to remove, and the reason is on its way.
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
    return replace(report, replaced=is_newest, seconds=time.perf_counter() - began)


def build(
    connection: DuckDBPyConnection,
    store: LakeStore,
    instruments: pl.DataFrame | None = None,
    facts: Sequence[SourceFacts] = (),
    incidents: Incidents = NO_INCIDENTS,
) -> CatalogReport:
    """Fill an empty database, in a file or in memory, with the catalog."""
    import duckdb

    tables = store.tables
    began = time.perf_counter()
    # Rows that wait for the ledger are read with it, so a folder that cannot be written does no harm.
    with suppress(LakeError):
        ledger.take_over_all(tables, clock=store.clock)
    # Versions first: what is committed while the rest is read makes the catalog stale, never wrong.
    state = lake_state(store)
    unreadable: dict[str, str] = {}
    frames = _summaries(connection, Summaries(tables, instruments, incidents), unreadable)
    snapshots = _snapshots(connection, tables, unreadable)
    _create(connection, "sources", source_table(facts))
    _create(connection, "incidents", incident_table(incidents.items))
    priority = [item.name for item in facts]
    rows, lost = parquet_rows(store.storage), lost_moments(tables, snapshots)
    streams = _stream_views(tables, unreadable)
    views = build_statements(
        snapshots, rows, skip=[*SUMMARIES, "sessions"], priority=priority, lost=lost, streams=streams
    )
    if store.storage.in_bucket and not can_read_buckets(connection):
        # Whoever opens the catalog with DuckDB and its extension for object stores runs these first.
        statements = pl.DataFrame({"name": [*views], "sql": [*views.values()]}, schema=_STATEMENTS)
        _create(connection, "view_statements", statements)
        views = {}
    for name, statement in views.items():
        try:
            connection.execute(statement)
        except (duckdb.Error, UnicodeDecodeError) as error:
            # The footer of a file is read here; DuckDB's message may hold bytes of it that are no text.
            unreadable[name] = str(error).split("\n", 1)[0]
    _create(connection, "catalog_meta", meta_rows(state, store.storage, whole=not unreadable))
    files, series = frames["files"], frames["symbol_data"]
    return CatalogReport(
        path=store.storage.catalog,
        versions={name: version for name, (_, version) in state.items()},
        series=series.height,
        sessions=frames["coverage"].height,
        gaps=frames["gaps"].height,
        files=files.height,
        rows=int(series["record_count"].sum()),
        bytes=int(files["bytes"].sum()),
        unreadable=unreadable,
        replaced=False,
        seconds=time.perf_counter() - began,
    )


def _stream_views(tables: Tables, unreadable: dict[str, str]) -> dict[str, StreamView]:
    """What views of streams have to know; without the evidence there are none."""
    try:
        return describe_views(tables)
    except LakeError as error:
        unreadable |= dict.fromkeys(STREAM_TABLES, error.what)
        return {}


def _summaries(
    connection: DuckDBPyConnection, summaries: Summaries, unreadable: dict[str, str]
) -> dict[str, pl.DataFrame]:
    """Create the catalog's own tables; one that is not known becomes a view that fails with the reason."""
    frames = {}
    for name, empty in SUMMARIES.items():
        try:
            frames[name] = summaries.make(name)
        except LakeError as error:
            unreadable[name] = error.what
            frames[name] = empty()
            connection.execute(error_view(name, frames[name].to_arrow().schema, str(error)))
            continue
        _create(connection, name, frames[name])
    if "symbol_data" not in unreadable:
        connection.execute("alter table symbol_data add primary key (source, symbol, resolution)")
    return frames


def _snapshots(connection: DuckDBPyConnection, tables: Tables, unreadable: dict[str, str]) -> list[Snapshot]:
    """The lake's tables that views are made of: those that exist, and corporate actions in any case."""
    snapshots = []
    possible = {dataset.name for dataset in tables.possible()} | {corporate_actions.TABLE}
    for dataset in (item for item in tables.datasets if item.name in possible):
        try:
            snapshot = tables.newest(dataset.name)
        except LakeError as error:
            unreadable.setdefault(dataset.name, error.what)
            if dataset.name not in {*SUMMARIES, "sessions"}:
                connection.execute(error_view(dataset.name, dataset.schema, str(error)))
            continue
        if snapshot.version >= 0 or dataset.name == corporate_actions.TABLE:
            snapshots.append(snapshot)
    return snapshots


def _create(connection: DuckDBPyConnection, name: str, frame: pl.DataFrame) -> None:
    connection.register("incoming", frame.to_arrow())
    connection.execute(f"create table {name} as select * from incoming")
    connection.unregister("incoming")


def catalog_is_stale(store: LakeStore, facts: Sequence[SourceFacts] | None = None) -> bool:
    """Whether the catalog is missing, unreadable, of another place, or older than the lake's tables.

    Args:
        facts: what the settings say of the sources now; a catalog that says something else is stale.
    """
    try:
        connection = open_newest(store.storage)
    except LakeError:
        return True
    with closing(connection):
        return not is_current(connection, store, facts)


def open_current_catalog(store: LakeStore, facts: Sequence[SourceFacts] | None = None) -> DuckDBPyConnection:
    """A connection to a catalog that is not stale, refreshed if need be. The caller closes it.

    Raises:
        LakeError, OSError: it is stale, and the lake's folder cannot be written.
    """
    with suppress(LakeError):
        connection = open_newest(store.storage)
        if is_current(connection, store, facts):
            return connection
        connection.close()
    refresh_catalog(store, facts=facts)
    return open_newest(store.storage)


def table_versions(store: LakeStore) -> dict[str, int]:
    """The newest Delta version of every table of the lake."""
    return {name: version for name, (_, version) in lake_state(store).items()}


def in_memory_catalog(store: LakeStore, facts: Sequence[SourceFacts] | None = None) -> DuckDBPyConnection:
    """The catalog built in memory, for a folder that cannot be written. The caller closes it."""
    previous = read_previous(store.storage)
    connection = connect(None, store.storage.root)
    try:
        incidents = previous.incidents if store.incidents is None else store.incidents()
        facts_of_all = merge_sources(facts, previous.sources)
        build(connection, store, _instruments(previous, None), facts_of_all, incidents)
    except BaseException:
        connection.close()
        raise
    return connection


def _instruments(previous: Previous, sources: Mapping[str, SourceSettings] | None) -> pl.DataFrame:
    """What the settings say, and for every other series what the previous catalog knew."""
    configured = contents.instruments_of(sources or {})
    return pl.concat([configured, previous.instruments.join(configured, on=contents.SERIES, how="anti")])


def _remove_abandoned(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()
