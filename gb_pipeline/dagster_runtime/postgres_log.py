"""This module is Dagster's PostgreSQL event log with many events in one transaction, as `event_log` has it for SQLite, and with a
connection that stays open.

It is imported where a dagster.yaml names it, and needs the extra `postgres`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from dagster_postgres import PostgresEventLogStorage

from gb_pipeline.dagster_runtime.known_windows import remember_windows
from gb_pipeline.dagster_runtime.postgres_kept import KeptConnections

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

# Any number that nobody else takes: the letters "gb" and the year.
_LOCK = 0x6762_2026


class PostgresEventLog(KeptConnections, PostgresEventLogStorage):
    """Dagster's event log in PostgreSQL; for `event_log_storage` of dagster.yaml, with the settings of Dagster's own class.

    Who writes asset events waits for who does: numbers of events then become visible in their order. Dagster's pages remember the
    newest number that they have seen of an asset; an event with a lower one that is committed later would never be shown.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """As Dagster's."""
        self._own = threading.local()
        remember_windows()
        super().__init__(*arguments, **settings)

    @contextmanager
    def together(self, _run_id: str = "") -> Iterator[None]:
        """Everything that this thread stores inside is one transaction, whichever run it is of."""
        if self._active is not None:
            yield
            return
        from sqlalchemy import text

        with super()._connect() as opened:
            connection = opened.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                self._own.connection = connection
                try:
                    yield
                finally:
                    self._own.connection = None

    def store_event(self, event: Any) -> None:
        """An event with its tags and the row of its asset; together."""
        of_asset = event.is_dagster_event and event.dagster_event.event_type_value.startswith("ASSET_")
        with self.together() if of_asset else nullcontext():
            super().store_event(event)

    def store_event_batch(self, events: Sequence[Any]) -> None:
        """Events as one transaction. Dagster's own writes no row for any asset of a batch but the last one's."""
        with self.together():
            for event in events:
                self.store_event(event)

    @property
    def _active(self) -> Connection | None:
        return getattr(self._own, "connection", None)

    def _connect(self) -> AbstractContextManager[Connection]:
        active = self._active
        return super()._connect() if active is None else nullcontext(active)
