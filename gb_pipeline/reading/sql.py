"""SQL on the catalog and, through its views, on the bars.

This module runs queries, always on the lake as it is now. `sql_guard` says what a query may be and touch, `sql_engine` holds
DuckDB, `sql_tables` puts in the tables, and `catalog.views` says what the views are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import polars as pl
import pyarrow as pa

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import GbError, LakeError, ReadError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.sql_durations import with_durations
from gb_pipeline.reading.sql_engine import SourcePriority, SqlEngine
from gb_pipeline.reading.sql_guard import MEMORY, REGISTERED, require_query
from gb_pipeline.reading.sql_plan import SqlPlan, make_plan
from gb_pipeline.reading.sql_stop import QueryStop
from gb_pipeline.reading.sql_tables import Pruners, SqlTables, needs_catalog

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_BATCH_ROWS = 100_000
T = TypeVar("T")


class SqlReader:
    """SQL on one lake, always as it is now, through a held connection. Safe to share between threads."""

    def __init__(
        self,
        store: LakeStore,
        facts: Sequence[SourceFacts] | None = None,
        *,
        memory: int = MEMORY,
        rows: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Nothing is opened before the first query.

        Args:
            store: the lake.
            facts: what gb.yaml says of the sources; by default what the catalog remembers.
            memory: most bytes that queries may use at a time, and that the rows of one may take; larger sorts go to files of the
                lake's state.
            rows: most rows of an answer; None for any number.
            seconds: how long one query may run; None for as long as it takes.
        """
        self._store, self._facts, self._memory = store, facts, memory
        self._most_rows, self._seconds = rows, seconds
        self._engine = SqlEngine(store, facts, memory)
        self._pruners = Pruners()
        self._priority = SourcePriority(store.storage, facts)

    def close(self) -> None:
        """Let go of DuckDB; the next query opens it again."""
        self._engine.close()

    def query(self, text: str, *, as_of: datetime | None = None, stop: QueryStop | None = None) -> pl.DataFrame:
        """Answer one SELECT (or EXPLAIN, DESCRIBE, SHOW, SUMMARIZE).

        The query reads the catalog and the lake's tables, whose files are verified as they are read, and nothing else of the
        machine. A catalog whose tables it names is refreshed first where it is missing or older than the lake.

        Args:
            text: the query.
            as_of: what was known at this moment, by the tables of the lake and by the catalog's of series and sessions.
            stop: ends the query from another thread.

        Returns:
            The rows; timestamps with a zone are in UTC.

        Raises:
            LakeError: a file that the query needs is damaged, or what a table holds is not known.
            ReadError: the statement is wrong, is several, would change something, reads other files, or takes too much memory or
                time; what DuckDB says is in the message.
        """
        return self._on_tables(text, as_of, lambda connection, _: self._rows(connection, text), stop=stop)

    def explain(self, text: str, *, as_of: datetime | None = None, stop: QueryStop | None = None) -> SqlPlan:
        """Which files a query would open, and how DuckDB would run it; no file of bars is opened.

        Raises:
            LakeError, ReadError: as `query`.
        """
        return self._on_tables(
            text, as_of, lambda connection, tables: make_plan(connection, text, tables), asked=True, stop=stop
        )

    def _rows(self, connection: DuckDBPyConnection, text: str) -> pl.DataFrame:
        return _in_utc(
            pl.DataFrame(pl.from_arrow(with_durations(_read_bounded(connection, text, self._memory, self._most_rows))))
        )

    def _on_tables(
        self,
        text: str,
        as_of: datetime | None,
        run: Callable[[DuckDBPyConnection, SqlTables], T],
        *,
        asked: bool = False,
        stop: QueryStop | None = None,
    ) -> T:
        """Run something on a connection that has the tables of a query."""
        import duckdb

        with_catalog = needs_catalog(text)
        stop = stop or QueryStop()
        while True:
            with self._engine.cursor(with_catalog=with_catalog) as connection, stop.on(connection):
                tables = None
                try:
                    require_query(connection, text, bounded=self._seconds is not None)
                    tables = SqlTables(self._store, text, self._pruners, only_asked=asked)
                    tables.register(connection, as_of, self._priority.names() if "bars" in text.lower() else ())
                    connection.execute("begin transaction read only")
                    with _interrupted_after(connection, self._seconds):
                        return run(connection, tables)
                except duckdb.InterruptException:
                    stop.raise_if_stopped()
                    raise ReadError(
                        f"the query ran longer than {self._seconds:g} s",
                        fix="ask for less at a time: fewer symbols, a shorter range, or an aggregate",
                    ) from None
                except duckdb.OutOfMemoryException:
                    raise _too_large(self._memory) from None
                except duckdb.CatalogException as error:
                    if with_catalog:
                        raise _explain(connection, error) from None
                    # The catalog may have what is not among the tables that the query names.
                    with_catalog = True
                except duckdb.Error as error:
                    damage = [] if tables is None else tables.damage_behind(error)
                    if damage:
                        raise damage[0] from None
                    raise _explain(connection, error) from None
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowInvalid) as error:
                    raise ReadError(
                        f"the result is not a table: {_first_paragraph(error)}",
                        fix="give every column its own name and a plain type",
                    ) from None


@contextmanager
def _interrupted_after(connection: DuckDBPyConnection, seconds: float | None) -> Iterator[None]:
    """Let a query end with an error once it has run for so long."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_bounded(connection: DuckDBPyConnection, text: str, max_bytes: int, most_rows: int | None) -> pa.Table:
    total = rows = 0
    batches = []
    relation = connection.sql(text)
    large = _refuse_too_wide(relation)
    reader = relation.to_arrow_reader(_BATCH_ROWS)
    for batch in reader:
        if large:
            try:
                batch.validate(full=True)
            except pa.ArrowInvalid:
                raise _too_wide(large[0]) from None
        total += batch.nbytes
        rows += batch.num_rows
        if total > max_bytes:
            raise _too_large(max_bytes)
        if most_rows is not None and rows > most_rows:
            raise ReadError(f"the answer has more than {most_rows:,} rows", fix="add a `limit`, or aggregate")
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _refuse_too_wide(relation: DuckDBPyRelation) -> list[str]:
    """The columns of HUGEINT, which Arrow has as decimals of 38 digits: of 39 they would be wrong, so each value is looked at.

    Raises:
        ReadError: a column of UHUGEINT, of which DuckDB gives other numbers.
    """
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=False))
    for name, kind in kinds.items():
        if "UHUGEINT" in kind:
            raise _too_wide(name)
    return [name for name, kind in kinds.items() if "HUGEINT" in kind]


def _too_wide(name: str) -> ReadError:
    return ReadError(
        f"column {name[:60]!r} has integers of more than 38 digits, which a table cannot hold",
        fix="cast them: to varchar for every digit, or to double for the nearest number",
    )


def _too_large(max_bytes: int) -> ReadError:
    return ReadError(
        f"the query takes more than {max_bytes / 2**30:.3g} GB of memory",
        fix="ask for fewer rows or columns, aggregate, or read bars with `lake.bars`",
    )


def _explain(connection: DuckDBPyConnection, error: Exception) -> GbError:
    import duckdb

    what, fix = _first_paragraph(error), ""
    damage, _, repair = what.partition(" -> ")
    if isinstance(error, duckdb.InvalidInputException) and ("gb verify" in repair or "restore the lake" in repair):
        # A table of the catalog that could not be made says why in the words of the lake.
        return LakeError(damage.removeprefix("Invalid Input Error: "), fix=repair)
    if isinstance(error, duckdb.CatalogException):
        # It guesses names of its own system tables.
        what = what.split(" Did you mean", 1)[0]
        with suppress(duckdb.Error):
            connection.rollback()
        shown = {name for (name,) in connection.execute("show tables").fetchall()}
        # A view of this query may have the name of one of the catalog, and is made of what has no name for people.
        fix = f"there is {', '.join(sorted(name for name in shown if not name.startswith(REGISTERED)))}"
    elif isinstance(error, duckdb.ParserException):
        fix = "write one query, such as: select * from symbol_data"
    elif isinstance(error, duckdb.BinderException):
        fix = "`describe TABLE` lists the columns of a table, `show tables` the tables"
    elif isinstance(error, duckdb.PermissionException):
        # The path in its message is of no use, as files are opened for a query and never by it.
        what = "a query reads the tables of the lake, and opens no file by itself"
        fix = "name a table without its database, such as bars_1m: `show tables` lists them"
    elif isinstance(error, duckdb.InvalidInputException) and "Values were not provided" in what:
        what, fix = (
            "the query has parameters, ? or $1, and nobody gives their values",
            "write the values into the query",
        )
    elif isinstance(error, duckdb.IOException):
        fix = "a data file is missing or broken: run the query again, and restore the lake if that does not help"
    return ReadError(what, fix=fix)


def _first_paragraph(error: Exception) -> str:
    return " ".join(str(error).split("\n\nLINE", 1)[0].split())


def _in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    """DuckDB calls the zone `Etc/UTC`; everything else here calls it `UTC`."""
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    return frame.with_columns(pl.col(zoned).dt.convert_time_zone("UTC"))
