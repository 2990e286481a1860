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
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.catalog import tables as contents
from gb_pipeline.catalog.connection import connect, open_catalog
from gb_pipeline.catalog.sources import recorded_sources, source_table
from gb_pipeline.catalog.summaries import SUMMARIES, Summaries
from gb_pipeline.catalog.views import build_statements, error_view, parquet_rows
from gb_pipeline.config.source_facts import SourceFacts, facts_of
from gb_pipeline.errors import LakeError
from gb_pipeline.lake import corporate_actions, ledger
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.fault_points import reach
from gb_pipeline.storage.snapshot import Snapshot
from gb_pipeline.storage.table import Tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from gb_pipeline.config.settings import SourceSettings
    from gb_pipeline.lake.store import LakeStore

# Raised whenever the tables below change, so that a catalog of an older release counts as stale.
FORMAT = 7
# Leftovers of a killed build are removed by a later one after this time.
_ABANDONED_SECONDS = 3600
# Delta's id of a table, which a table of the same name made anew does not share, and its version.
_State = dict[str, tuple[str, int]]
_META = pl.Schema(
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
        with closing(connect(temporary, target.parent)) as connection:
            given = facts_of(sources) if facts is None and sources else facts
            report = build(connection, store, _instruments(store.storage, sources), merge_facts(store.storage, given))
            state = _read_meta(connection, store.storage)
        reach("catalog_built")
        is_newest = not _is_newer(_read_state(target, store.storage), state)
        if is_newest:
            temporary.replace(target)
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
) -> CatalogReport:
    """Fill an empty database, in a file or in memory, with the catalog."""
    import duckdb

    tables = store.tables
    began = time.perf_counter()
    # Rows that wait for the ledger are read with it, so a folder that cannot be written does no harm.
    with suppress(LakeError):
        ledger.take_over_all(tables, clock=store.clock)
    # Versions first: what is committed while the rest is read makes the catalog stale, never wrong.
    state = _state(store)
    unreadable: dict[str, str] = {}
    frames = _summaries(connection, Summaries(tables, instruments), unreadable)
    snapshots = _snapshots(connection, tables, unreadable)
    _create(connection, "sources", source_table(facts))
    priority = [item.name for item in facts]
    views = build_statements(snapshots, parquet_rows(store.storage), skip=[*SUMMARIES, "sessions"], priority=priority)
    for name, statement in views.items():
        try:
            connection.execute(statement)
        except (duckdb.Error, UnicodeDecodeError) as error:
            # The footer of a file is read here; DuckDB's message may hold bytes of it that are no text.
            unreadable[name] = str(error).split("\n", 1)[0]
    _create(connection, "catalog_meta", _meta_rows(state, store.storage, whole=not unreadable))
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
    for dataset in tables.datasets:
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


def merge_facts(storage: Storage, given: Sequence[SourceFacts] | None) -> tuple[SourceFacts, ...]:
    """What the settings say of the sources, and after them what the previous catalog knew of further ones."""
    named = {item.name for item in given or ()}
    return (*(given or ()), *(item for item in recorded_sources(storage.catalog) if item.name not in named))


def catalog_is_stale(store: LakeStore, facts: Sequence[SourceFacts] | None = None) -> bool:
    """Whether the catalog is missing, unreadable, of another place, or older than the lake's tables.

    Only the logs' newest versions are looked at: milliseconds, however large the lake.

    Args:
        facts: what the settings say of the sources now; a catalog that says something else is stale.
    """
    built_from, state = _read_state(store.storage.catalog, store.storage), _state(store)
    # Tables that only another program declared make nothing stale.
    if built_from is None or {name: built_from[name] for name in built_from if name in store.tables.datasets} != state:
        return True
    return facts is not None and recorded_sources(store.storage.catalog)[: len(facts)] != tuple(facts)


def table_versions(store: LakeStore) -> dict[str, int]:
    """The newest Delta version of every table of the lake."""
    return {name: version for name, (_, version) in _state(store).items()}


def _state(store: LakeStore) -> _State:
    return {
        snapshot.dataset.name: (snapshot.table_id, snapshot.version) for snapshot in store.tables.existing(damaged=[])
    }


def in_memory_catalog(store: LakeStore, facts: Sequence[SourceFacts] | None = None) -> DuckDBPyConnection:
    """The catalog built in memory, for a folder that cannot be written. The caller closes it."""
    connection = connect(None, store.storage.root)
    try:
        build(connection, store, _instruments(store.storage, None), merge_facts(store.storage, facts))
    except BaseException:
        connection.close()
        raise
    return connection


def _instruments(storage: Storage, sources: Mapping[str, SourceSettings] | None) -> pl.DataFrame | None:
    """What the settings say, and for every other series what the previous catalog knew."""
    import duckdb

    configured = contents.instruments_of(sources or {})
    try:
        connection = open_catalog(storage.catalog)
    except LakeError:
        return configured
    query = "select * from symbol_data where asset_class is not null"
    try:
        symbol_data = pl.DataFrame(connection.sql(query).to_arrow_table())
    except duckdb.Error:
        return configured
    finally:
        connection.close()
    # That of an older release may know less.
    columns = (
        pl.col(name) if name in symbol_data.columns else pl.lit(None).alias(name) for name in contents.INSTRUMENTS
    )
    previous = symbol_data.select(columns).cast(contents.INSTRUMENTS)
    return pl.concat([configured, previous.join(configured, on=contents.SERIES, how="anti")])


def _read_state(path: Path, storage: Storage) -> _State | None:
    """What a catalog was made from; None when it is missing, unreadable, foreign or of another format."""
    try:
        connection = open_catalog(path)
    except LakeError:
        return None
    try:
        return _read_meta(connection, storage)
    finally:
        connection.close()


def _read_meta(connection: DuckDBPyConnection, storage: Storage) -> _State | None:
    import duckdb

    try:
        rows = connection.execute('select "table", table_id, version, root, format, whole from catalog_meta').fetchall()
    except duckdb.Error:
        return None
    if not rows or any(row[3:] != (str(storage.root), FORMAT, True) for row in rows):
        return None
    return {name: (identity, version) for name, identity, version, *_ in rows if name}


def _is_newer(existing: _State | None, built: _State | None) -> bool:
    """Whether a catalog in place knows everything that a new one knows, and more."""
    if existing is None or built is None or existing == built:
        return False
    return all(
        name in existing and existing[name][0] == table and existing[name][1] >= version
        for name, (table, version) in built.items()
    )


def _meta_rows(state: _State, storage: Storage, *, whole: bool) -> pl.DataFrame:
    build_facts = (datetime.now(UTC), str(storage.root), FORMAT, whole)
    rows = [(name, *identity, *build_facts) for name, identity in state.items()]
    # An empty lake has no table; one row without a name still says where and when.
    return pl.DataFrame(rows or [("", "", -1, *build_facts)], schema=_META, orient="row")


def _remove_abandoned(target: Path) -> None:
    for leftover in target.parent.glob(f".{target.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()
