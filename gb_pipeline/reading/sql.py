"""SQL on the catalog and, through its views, on the bars.

This module runs one query, always on the lake as it is now. `sql_guard` says what a query may be and touch, `catalog.views` what
the views are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from gb_pipeline.catalog.incidents import remembered_incidents
from gb_pipeline.catalog.projection import in_memory_catalog, open_current_catalog
from gb_pipeline.catalog.sources import read_sources
from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import GbError, LakeError, ReadError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.reading.sql_durations import with_durations
from gb_pipeline.reading.sql_guard import MEMORY, lock, require_query
from gb_pipeline.reading.sql_tables import SqlTables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_BATCH_ROWS = 100_000


def query(
    store: LakeStore,
    text: str,
    *,
    as_of: datetime | None = None,
    facts: Sequence[SourceFacts] | None = None,
    memory: int = MEMORY,
) -> pl.DataFrame:
    """Answer one SELECT (or EXPLAIN, DESCRIBE, SHOW, SUMMARIZE).

    A catalog that is missing or older than the lake is refreshed first, or built in memory where it cannot be written. The
    query reads the catalog and the lake's tables, whose files are verified as they are read, and nothing else of the machine.

    Args:
        store: the lake.
        text: the query.
        as_of: what was known at this moment, by the tables of the lake and by the catalog's of series and sessions.
        facts: what gb.yaml says of the sources; by default what the catalog remembers.
        memory: most bytes that it may use, and that its rows may take; larger sorts go to files of the lake's state.

    Returns:
        The rows; timestamps with a zone are in UTC.

    Raises:
        LakeError: a file that the query needs is damaged, or what a table holds is not known.
        ReadError: the statement is wrong, is several, would change something, reads other files, or takes too much memory; what
            DuckDB says is in the message.
    """
    import duckdb

    connection = _open_fresh_catalog(store, facts)
    tables = None
    try:
        require_query(connection, text)
        tables = SqlTables(store.tables, text, remembered_incidents(connection))
        tables.register(connection, as_of, [source.name for source in read_sources(connection)])
        lock(connection, [], spill=store.storage.state / "sql", memory=memory)
        return _in_utc(pl.DataFrame(pl.from_arrow(with_durations(_read_bounded(connection, text, memory)))))
    except duckdb.OutOfMemoryException:
        raise _too_large(memory) from None
    except duckdb.Error as error:
        damage = [] if tables is None else tables.damage_behind(error)
        if damage:
            raise damage[0] from None
        raise _explain(connection, error) from None
    except pl.exceptions.PolarsError as error:
        raise ReadError(
            f"the result is not a table: {_first_paragraph(error)}",
            fix="give every column its own name and a plain type",
        ) from None
    finally:
        connection.close()


def _open_fresh_catalog(store: LakeStore, facts: Sequence[SourceFacts] | None) -> DuckDBPyConnection:
    try:
        return open_current_catalog(store, facts)
    except (OSError, LakeError):
        # The folder cannot be written, or another program holds the catalog open for writing.
        return in_memory_catalog(store, facts)


def _read_bounded(connection: DuckDBPyConnection, text: str, max_bytes: int) -> pa.Table:
    total = 0
    batches = []
    reader = connection.sql(text).to_arrow_reader(_BATCH_ROWS)
    for batch in reader:
        total += batch.nbytes
        if total > max_bytes:
            raise _too_large(max_bytes)
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


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
        names = [row[0] for row in connection.execute("show tables").fetchall()]
        fix = f"there is {', '.join(names)}"
    elif isinstance(error, duckdb.ParserException):
        fix = "write one query, such as: select * from symbol_data"
    elif isinstance(error, duckdb.BinderException):
        fix = "`describe TABLE` lists the columns of a table, `show tables` the tables"
    elif isinstance(error, duckdb.IOException):
        fix = "a data file is missing or broken: run the query again, and restore the lake if that does not help"
    return ReadError(what, fix=fix)


def _first_paragraph(error: Exception) -> str:
    return " ".join(str(error).split("\n\nLINE", 1)[0].split())


def _in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    """DuckDB calls the zone `Etc/UTC`; everything else here calls it `UTC`."""
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    return frame.with_columns(pl.col(zoned).dt.convert_time_zone("UTC"))
