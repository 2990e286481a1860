"""SQL on the catalog and, through its views, on the bars.

Belongs here: running one question read-only, always on the lake as it is now. Does not belong here: what the catalog says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import LakeError, ReadError
from gb_pipeline.lake.catalog import catalog_is_stale, in_memory_catalog, open_catalog, refresh_catalog
from gb_pipeline.lake.store import LakeStore

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# `EXPLAIN ANALYZE COPY ... TO` would write its file: what is explained has to be a question itself.
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+|\([^)]*\)\s*)*", re.IGNORECASE)


def query(store: LakeStore, text: str) -> pl.DataFrame:
    """Answer one SELECT (or EXPLAIN, DESCRIBE, SHOW, SUMMARIZE).

    A catalog that is missing or older than the lake is refreshed first, or built in memory where it cannot be written.

    Returns:
        The rows; timestamps with a zone are in UTC.

    Raises:
        ReadError: the statement is wrong, is several, or would change something; the message is DuckDB's own.
    """
    import duckdb

    connection = _fresh(store)
    try:
        _refuse_all_but_one_question(connection, text)
        relation = connection.sql(text)
        return _in_utc(pl.DataFrame(pl.from_arrow(relation.to_arrow_table())))
    except duckdb.Error as error:
        raise _explained(connection, error) from None
    except pl.exceptions.PolarsError as error:
        raise ReadError(
            f"the result is no table: {_first_paragraph(error)}", fix="give every column its own name and a plain type"
        ) from None
    finally:
        connection.close()


def _fresh(store: LakeStore) -> DuckDBPyConnection:
    try:
        if catalog_is_stale(store):
            refresh_catalog(store)
        return open_catalog(store.storage.catalog)
    except (OSError, LakeError):
        # The folder cannot be written, or another program holds the catalog open for writing.
        return in_memory_catalog(store)


def _refuse_all_but_one_question(connection: DuckDBPyConnection, text: str) -> None:
    # `COPY ... TO` would write files, `SET` and `ATTACH` would change the rules.
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        raise ReadError(
            f"give one SQL statement, not {len(statements)}", fix="`select * from symbol_data`, for example"
        )
    kind = statements[0].type.name
    if kind == "EXPLAIN":
        explained = _EXPLAIN.sub("", text, count=1)
        if explained != text:
            _refuse_all_but_one_question(connection, explained)
            return
        kind = "EXPLAIN of something else"
    # PIVOT comes as several internal statements and is a question all the same.
    if kind != "SELECT" and not (kind == "MULTI" and text.lstrip().lower().startswith(("pivot", "from", "with"))):
        raise ReadError(
            f"{kind} is not a question: the catalog is read-only",
            fix="use SELECT; open catalog.duckdb with DuckDB itself for anything else",
        )


def _explained(connection: DuckDBPyConnection, error: Exception) -> ReadError:
    import duckdb

    what, fix = _first_paragraph(error), ""
    if isinstance(error, duckdb.CatalogException):
        # It guesses names of its own system tables.
        what = what.split(" Did you mean", 1)[0]
        names = [row[0] for row in connection.execute("show tables").fetchall()]
        fix = f"there is {', '.join(names)}"
    elif isinstance(error, duckdb.IOException):
        fix = "a data file is missing or broken: run the query again, and restore the lake if that does not help"
    return ReadError(what, fix=fix)


def _first_paragraph(error: Exception) -> str:
    return " ".join(str(error).split("\n\nLINE", 1)[0].split())


def _in_utc(frame: pl.DataFrame) -> pl.DataFrame:
    """DuckDB calls the zone `Etc/UTC`; everything else here calls it `UTC`."""
    zoned = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone]
    return frame.with_columns(pl.col(zoned).dt.convert_time_zone("UTC"))
