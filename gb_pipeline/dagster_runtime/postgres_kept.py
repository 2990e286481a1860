"""This module is Dagster's PostgreSQL storages with connections that stay open.

Dagster's own open one for each statement outside of the web page. That is a process of the server and a proof of the password each
time: 500 series cost its daemon minutes of a backfill. The third storage, the event log, is in `postgres_log`.

It is imported where a dagster.yaml names it, and needs the extra `postgres`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from dagster_postgres import PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

# What several threads need at once is opened and closed as Dagster does.
_KEPT = 1
_MOST_MORE = -1
# Firewalls forget a connection that nobody used for longer.
_RENEW_SECONDS = 600


class KeptConnections:
    """What a PostgreSQL storage of Dagster needs to keep its connection; the first of the base classes.

    A connection that the server has closed is opened again, before anything is asked of it. A child process opens its own.
    """

    postgres_url: str
    _token_provider: Any
    _engine: Engine

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """As Dagster's."""
        super().__init__(*arguments, **settings)
        self._engine = create_pg_engine(
            self.postgres_url,
            self._token_provider,
            isolation_level="AUTOCOMMIT",
            pool_size=_KEPT,
            max_overflow=_MOST_MORE,
            pool_recycle=_RENEW_SECONDS,
            pool_pre_ping=True,
        )
        _forget_in_children(self._engine)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """As Dagster makes it."""
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )

    def dispose(self) -> None:
        """Close everything."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


class PostgresRuns(KeptConnections, PostgresRunStorage):
    """Dagster's runs in PostgreSQL; for `run_storage` of dagster.yaml, with the settings of Dagster's own class."""


class PostgresTicks(KeptConnections, PostgresScheduleStorage):
    """Dagster's ticks in PostgreSQL; for `schedule_storage` of dagster.yaml, with the settings of Dagster's own class."""


def _forget_in_children(engine: Engine) -> None:
    """Two processes that talk on one connection would read each other's answers."""
    from sqlalchemy import event, exc

    @event.listens_for(engine, "connect")
    def remember(_connection: Any, record: Any) -> None:
        record.info["process"] = os.getpid()

    @event.listens_for(engine, "checkout")
    def look(_connection: Any, record: Any, proxy: Any) -> None:
        if record.info["process"] != os.getpid():
            record.dbapi_connection = proxy.dbapi_connection = None
            raise exc.DisconnectionError("the connection is that of another process")
