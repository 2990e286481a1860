"""This module holds DuckDB open for the queries of one lake, locked down, beside the catalog or without it.

To open DuckDB takes longer than most queries. Each query has a cursor of its own: what one leaves behind, such as a view or an open
transaction, is gone with it. What a query may be is for `sql_guard` to say, and `sql_tables` puts the lake's tables in.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.catalog.connection import connect
from gb_pipeline.catalog.projection import in_memory_catalog, open_current_catalog
from gb_pipeline.catalog.published import fetch_catalog
from gb_pipeline.catalog.state import catalog_file, is_current, known_sources
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.sql_guard import lock
from gb_pipeline.storage.address import Storage

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class SqlEngine:
    """DuckDB for one lake. Safe to share between threads; after a fork the child opens its own."""

    def __init__(self, store: LakeStore, facts: Sequence[SourceFacts] | None, memory: int) -> None:
        """Nothing is opened before the first query."""
        self._store, self._facts, self._memory = store, facts, memory
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._guard = threading.Lock()
        self._held: _Held | None = None

    @contextmanager
    def cursor(self, *, with_catalog: bool) -> Iterator[DuckDBPyConnection]:
        """A connection for one query, in which nothing of an earlier query is.

        Args:
            with_catalog: whether the catalog's tables have to be there, as new as the lake. A catalog that is missing or older is
                refreshed first, or built in memory where it cannot be written.
        """
        if self._process != os.getpid():
            if self._held is not None:
                self._held.abandon()
            self._reset()
        with self._guard:
            cursor = self._open(with_catalog=with_catalog)
        try:
            yield cursor
        finally:
            cursor.close()

    def close(self) -> None:
        """Let go of DuckDB; the next query opens it again. Queries that run go on."""
        with self._guard:
            if self._held is not None and self._process == os.getpid():
                self._held.close()
            self._held = None

    def _open(self, *, with_catalog: bool) -> DuckDBPyConnection:
        held = self._held
        if held is not None:
            cursor = held.cursor()
            if not with_catalog or (held.has_catalog and is_current(cursor, self._store, self._facts)):
                return cursor
            cursor.close()
            held.close()
        self._held = self._make(with_catalog=with_catalog)
        return self._held.cursor()

    def _make(self, *, with_catalog: bool) -> _Held:
        attached = False
        if not with_catalog:
            connection = connect(None, self._store.storage.root)
        else:
            try:
                connection = open_current_catalog(self._store, self._facts)
                attached = True
            except (OSError, LakeError):
                # The folder cannot be written, or another program holds the catalog open for writing.
                connection = in_memory_catalog(self._store, self._facts)
        lock(connection, [], spill=_spill_folder(self._store.storage), memory=self._memory)
        return _Held(connection, has_catalog=with_catalog, attached=attached)


class _Held:
    """One locked database, and the connection that keeps it open."""

    def __init__(self, connection: DuckDBPyConnection, *, has_catalog: bool, attached: bool) -> None:
        self._connection, self.has_catalog, self._attached = connection, has_catalog, attached
        # At the end of the process too: an open connection then makes DuckDB complain.
        self.close = weakref.finalize(self, _close, connection, os.getpid())

    def abandon(self) -> None:
        """Leave a connection that came along with a fork, at the end of the process too: its threads are not in this one."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))

    def cursor(self) -> DuckDBPyConnection:
        cursor = self._connection.cursor()
        if self._attached:
            cursor.execute("use gb_catalog")
        return cursor


def _close(connection: DuckDBPyConnection, process: int) -> None:
    if process == os.getpid():
        connection.close()


def remove_spilled(storage: Storage, process: int) -> None:
    """Delete what queries of a process that was killed had put into files, which DuckDB does only when it next needs some."""
    for file in _spill_folder(storage).glob(f"duckdb_temp_{process}_*"):
        file.unlink(missing_ok=True)


def _spill_folder(storage: Storage) -> Path:
    return storage.state / "sql"


class SourcePriority:
    """Which source answers first, as the settings and the catalog in place say. Safe to share between threads."""

    def __init__(self, storage: Storage, facts: Sequence[SourceFacts] | None) -> None:
        """Nothing is opened."""
        self._storage, self._facts = storage, facts
        self._known: tuple[object, tuple[str, ...]] | None = None

    def names(self) -> tuple[str, ...]:
        """Names of sources, the first to answer at the beginning; the catalog is opened only when it is another one."""
        with suppress(LakeError):
            fetch_catalog(self._storage)
        file = catalog_file(self._storage)
        if self._known is None or self._known[0] != file:
            self._known = file, tuple(item.name for item in known_sources(self._storage, self._facts))
        return self._known[1]
