"""This module opens DuckDB for a catalog: a file, or memory. What a catalog holds is made by `projection`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.config.bucket import Address
from gb_pipeline.errors import LakeError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# A variable of DuckDB that says where the lake of a catalog is, before anything else does.
PLACE = "lake"


def open_catalog(path: Path, root: Address | None = None) -> DuckDBPyConnection:
    """A connection whose default database is the catalog, read-only, with time zone UTC. The caller closes it.

    The file is attached to a database in memory: DuckDB shares an opened file within a process, so a direct connection
    would go on showing the old catalog after a refresh for as long as any other connection is open.

    Args:
        path: of the catalog.
        root: of the lake; the folder of the catalog by default.

    Raises:
        LakeError: there is no catalog, it is no DuckDB file, or another program has it open for writing.
    """
    import duckdb

    if not path.is_file():
        raise LakeError(f"there is no catalog at {path}", fix="run `gb sql 'show tables'` or refresh the catalog asset")
    connection = connect(None, root or path.parent)
    try:
        connection.execute(f"attach {_quote(str(path))} as gb_catalog (read_only)")
        connection.execute("use gb_catalog")
    except duckdb.Error as error:
        connection.close()
        reason = str(error).split("\n", 1)[0]
        raise LakeError(
            f"{path} cannot be opened: {reason}", fix="close the program that writes to it, or delete the file"
        ) from None
    return connection


def connect(path: Path | None, root: Address) -> DuckDBPyConnection:
    """A connection to a database file, or to one in memory, for the lake at `root`."""
    import duckdb

    connection = duckdb.connect(":memory:" if path is None else path)
    # Extensions are never downloaded, and a table's name never means a variable of the calling program.
    # Cursors of the connection take over what is global.
    for setting in ("TimeZone = 'UTC'", "autoinstall_known_extensions = false", "python_enable_replacements = false"):
        connection.execute(f"set global {setting}")
    connection.execute(f"set variable {PLACE} = {_quote(str(root))}")
    return connection


def can_read_buckets(connection: DuckDBPyConnection) -> bool:
    """Whether DuckDB's extension for object stores is on this machine; it is never downloaded."""
    import duckdb

    try:
        connection.execute("load httpfs")
    except duckdb.Error:
        return False
    return True


def lake_place(root: str) -> str:
    """SQL for the folder of the lake, wherever the catalog was moved to together with it.

    The variable `lake` counts first. DuckDB has no function for the place of the opened file, but its folder for temporary
    files stands beside it, so that one is looked at. Where the catalog is attached to another database, what is left is the
    place at which it was made.
    """
    spill = "current_setting('temp_directory')"
    name = "catalog.duckdb.tmp"
    beside = (
        f"case when {spill} = '{name}' then '.'"
        f" when suffix({spill}, '/{name}') then left({spill}, length({spill}) - {len(name) + 1}) end"
    )
    return f"coalesce(getvariable('{PLACE}'), {beside}, {_quote(root)})"


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
