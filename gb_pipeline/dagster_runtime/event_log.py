"""This module is Dagster's SQLite event log with connections that stay open, and with many events in one transaction.

Dagster's own class opens and closes a connection for every statement, and SQLite folds its journal back into the database
whenever the last one closes: 18 commits and 22 opens for a symbol and day. What is written is the same, table by table; an
instance can go back to Dagster's class at any time.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from gb_pipeline.dagster_runtime.known_windows import remember_windows
from gb_pipeline.dagster_runtime.private import INDEX_SHARD_NAME, SqliteEventLogStorage

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

# Of waiting for others who write; as Dagster's own connections.
_PATIENCE_SECONDS = 60
# All requests of the pages wait meanwhile.
_PATIENCE_OF_PAGES_MS = 20
# Files of runs that stay open; the index does for good.
_OPEN_RUNS = 8
# Dagster's processes write what they announce of a run, an event for each of its assets and days, in transactions of so many
# instead of one by one.
BATCH_ENVIRONMENT = {"DAGSTER_EVENT_BATCH_SIZE": "1000"}


def event_log_settings(home: Path) -> dict[str, Any]:
    """What dagster.yaml says under `event_log_storage`, for an instance in a folder."""
    log = {"module": __name__, "class": KeptEventLog.__name__}
    return {**log, "config": {"base_dir": str(home / "history" / "runs")}}


@contextmanager
def together(instance: dg.DagsterInstance, run_id: str = "") -> Iterator[None]:
    """Let everything that the block adds to the event log be one transaction, where the log is one of ours (`postgres_log`).

    Other writers wait meanwhile: a hundred symbol-days at a time, and nothing slow between them. An error undoes all of them.

    Args:
        instance: whose event log.
        run_id: the run that the events belong to; none by default.

    Example:
        >>> with together(context.instance, context.run.run_id):
        ...     context.log_event(dg.AssetMaterialization("bars"))
    """
    whole = getattr(instance.event_log_storage, "together", None)
    with nullcontext() if whole is None else whole(run_id):
        yield


class KeptEventLog(SqliteEventLogStorage):
    """Dagster's event log in SQLite; for `event_log_storage` of dagster.yaml, with Dagster's `base_dir`."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        """Nothing is open yet."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._active: dict[str, Connection] = {}
        self._facts: dict[str, bool] = {}
        self._process = os.getpid()
        self._looking = threading.local()
        # Whoever opens an instance, a process of Dagster's or one of ours, comes by here.
        remember_windows()
        super().__init__(base_dir, inst_data)
        # Within a transaction the methods of the base class ask for the connection again.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> KeptEventLog:
        """As Dagster makes it."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def together(self, run_id: str) -> Iterator[None]:
        """Everything stored inside is one transaction on the file of the run, and one on the index."""
        with self._connect(INDEX_SHARD_NAME), self._connect(run_id):
            yield

    def store_event_batch(self, events: Sequence[Any]) -> None:
        """Events of one run, as one transaction."""
        with self.together(events[0].run_id):
            for event in events:
                self.store_event(event)

    def get_asset_status_cache_values(self, partitions_defs_by_key: Any, context: Any) -> Sequence[Any]:
        """What a page shows of partitions; it does not wait for runs that write in order to keep what it worked out."""
        self._looking.pages = True
        try:
            return super().get_asset_status_cache_values(partitions_defs_by_key, context)
        finally:
            self._looking.pages = False

    def update_asset_cached_status_data(self, asset_key: dg.AssetKey, cache_values: Any) -> None:
        """Keep it for the next look; a page that finds others writing leaves that to the next one."""
        from sqlalchemy.exc import OperationalError

        if not getattr(self._looking, "pages", False):
            super().update_asset_cached_status_data(asset_key, cache_values)
            return
        with self._connect(INDEX_SHARD_NAME) as connection:
            connection.exec_driver_sql(f"pragma busy_timeout={_PATIENCE_OF_PAGES_MS}")
            try:
                super().update_asset_cached_status_data(asset_key, cache_values)
            except OperationalError as error:
                if "locked" not in str(error.orig):
                    raise
            finally:
                connection.exec_driver_sql(f"pragma busy_timeout={_PATIENCE_SECONDS * 1000}")

    def has_table(self, table_name: str) -> bool:
        """A table that there is stays."""
        return self._remember(f"table {table_name}", lambda: SqliteEventLogStorage.has_table(self, table_name))

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        ask = super()._has_asset_key_col_on_connection
        return self._remember(f"column {column_name}", lambda: ask(conn, column_name))

    def has_secondary_index(self, name: str) -> bool:
        """An index that there is stays."""
        return self._remember(f"index {name}", lambda: SqliteEventLogStorage.has_secondary_index(self, name))

    def _remember(self, fact: str, ask: Any) -> bool:
        if not self._facts.get(fact):
            self._facts[fact] = bool(ask())
        return self._facts[fact]

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            if (connection := self._active.get(shard)) is not None:
                yield connection
                return
            with self._engine(shard).connect() as connection, connection.begin():
                self._active[shard] = connection
                try:
                    yield connection
                finally:
                    del self._active[shard]

    def _engine(self, shard: str) -> Engine:
        """The kept connection to a file."""
        from sqlalchemy import StaticPool, event

        from gb_pipeline.dagster_runtime.private import create_engine

        if self._process != os.getpid():
            # A connection of SQLite must not be used by a child process.
            self._engines, self._active, self._process = OrderedDict(), {}, os.getpid()
        if (engine := self._engines.get(shard)) is not None:
            self._engines.move_to_end(shard)
            return engine
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=StaticPool,
            connect_args={"timeout": _PATIENCE_SECONDS, "check_same_thread": False},
        )
        # With a journal of its own this loses at most the last commits at a power failure, and what they said is in the lake.
        event.listen(engine, "connect", lambda connection, _: connection.execute("pragma synchronous=normal"))
        self._initdb(engine)
        self._initialized_dbs.add(shard)
        self._engines[shard] = engine
        idle = [name for name in self._engines if name not in {INDEX_SHARD_NAME, shard, *self._active}]
        for name in idle[: max(0, len(idle) + 1 - _OPEN_RUNS)]:
            self._engines.pop(name).dispose()
        return engine

    def forget(self, run_id: str) -> None:
        """Close the file of a run, which is about to be removed."""
        with self._db_lock:
            if (engine := self._engines.pop(run_id, None)) is not None:
                engine.dispose()
            self._initialized_dbs.discard(run_id)

    def dispose(self) -> None:
        """Close everything."""
        with self._db_lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()
        super().dispose()
