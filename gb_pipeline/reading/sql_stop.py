"""`QueryStop` ends a query in SQL from another thread, such as one for whose rows nobody waits any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gb_pipeline.errors import ReadError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class QueryStop:
    """Whether one query is to end. Safe for threads.

    Example:
        >>> stop = QueryStop()
        >>> threading.Timer(1.0, stop.stop).start()
        >>> lake.sql_reader(memory=2**30, rows=100, seconds=60).query(endless, stop=stop)
        ReadError: the query was stopped
    """

    def __init__(self) -> None:
        """It may run."""
        self._lock = threading.Lock()
        self._connection: DuckDBPyConnection | None = None
        self._stopped = False

    def stop(self) -> None:
        """End the query. DuckDB forgets that between two of its steps, so it is to be said again until the query has ended."""
        with self._lock:
            self._stopped = True
            if self._connection is not None:
                self._connection.interrupt()

    @property
    def is_stopped(self) -> bool:
        """Whether it is to end."""
        return self._stopped

    @contextmanager
    def on(self, connection: DuckDBPyConnection) -> Iterator[None]:
        """Stop what runs on a connection.

        Raises:
            ReadError: it was to end before it began.
        """
        with self._lock:
            self.raise_if_stopped()
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def raise_if_stopped(self) -> None:
        """Refuse to go on.

        Raises:
            ReadError: it was stopped.
        """
        if self._stopped:
            raise ReadError("the query was stopped", fix="ask again")
