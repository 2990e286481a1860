"""What an SQL query may be, and what its connection may touch. `sql` runs the query.

This module refuses everything that is not one query of the lake, and locks DuckDB down, so that what slips through finds no
file, no network and no memory beyond its share.

Three fences stand behind each other. The kind of the statement comes from DuckDB's parser; its words are looked at because a
SELECT may hold `COPY ... TO` in a WITH clause and call functions that write logs, profiles and files; and the engine itself
reaches the folder of the tables and nothing else, links that lead out of it included, with its configuration locked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gb_pipeline.errors import ReadError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

# What a query may use at most, in bytes. One value alone (`repeat('x', 10000000000)`) is beyond DuckDB's own accounting.
MEMORY = 4 * 2**30
SPILL = 16 * 2**30

# How the names begin under which tables are registered, of which views are made; they are no names for people.
REGISTERED = "arrow_"
_INTERNAL = re.compile(rf"{REGISTERED}(\w+)_(now|ever)")

# `EXPLAIN ANALYZE COPY ... TO` would write its file: what is explained has to be a query itself.
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+|\([^)]*\)\s*)*", re.IGNORECASE)
# In a WITH clause these run inside a SELECT. A column of such a name can be quoted.
_CHANGES = frozenset({"copy", "insert", "update", "delete", "merge", "truncate"})
# Functions of DuckDB that return rows and read nothing but what they are given, or what the catalog says of itself.
# All others open files, keep logs and profiles on disk, take addresses of memory, or run a text that is a statement.
_HARMLESS = frozenset({
    "generate_series", "range", "repeat", "repeat_row", "unnest", "json_each", "json_tree", "histogram", "histogram_values",
    "summary", "duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_keywords", "duckdb_schemas", "duckdb_tables",
    "duckdb_types", "duckdb_views", "pragma_show", "pragma_table_info", "pragma_version", "icu_calendar_names",
    "pg_timezone_names",
})  # fmt: skip
# Scalar functions that do more than to compute; settings name folders of the machine.
_HARMFUL = frozenset({"write_log", "getenv", "current_setting"})
# One call of these makes a value of any size, or takes any time, and neither DuckDB's memory limit nor an interrupt ends it.
_UNBOUNDED = frozenset({
    "array_resize", "damerau_levenshtein", "editdist3", "format", "generate_series", "levenshtein", "list_resize", "lpad", "printf",
    "range", "repeat", "rpad", "sleep_ms",
})  # fmt: skip
# As tables these come row by row.
_AS_TABLE = "write it right after FROM or JOIN, as in `from bars_1d cross join range(10)`"
_ROW_BY_ROW = frozenset({"generate_series", "range"})
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def require_query(connection: DuckDBPyConnection, text: str, *, bounded: bool = False) -> None:
    """Let one SELECT, EXPLAIN, DESCRIBE, SHOW, SUMMARIZE or PIVOT through.

    Args:
        connection: whose parser counts; nothing of the text runs.
        text: whatever somebody wrote.
        bounded: refuse functions that one call of can take any memory and time, too.

    Raises:
        ReadError: it is something else, is several, changes something, or reads past the tables of the lake.
        duckdb.Error: it is not SQL.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise ReadError("the query contains half a character", fix="write it as UTF-8 text") from None
    _require_one_query(connection, text)
    forbidden = _forbidden_functions()
    words = list(_split_words(text, raw))
    before = ("", "")
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name = word.lower()
        if bounded and following.startswith("("):
            _refuse_unbounded(_unquoted(word), before)
        before = (before[1], name)
        if name in _CHANGES:
            raise ReadError(
                f"{word.upper()} is not a query: a lake is only read here",
                fix=f'use SELECT; a column of that name is written "{name}"',
            )
        if internal := _INTERNAL.fullmatch(_unquoted(word)):
            table = internal[1]
            raise ReadError(f"{_unquoted(word)} is no table of the lake", fix=f"read {table}, or see `show tables`")
        if following.startswith("(") and _unquoted(word) in forbidden:
            raise ReadError(
                f"{_unquoted(word)}() is not available here: queries read the lake's own tables",
                fix="use the views (`show tables`); open other files with DuckDB itself",
            )


def _refuse_unbounded(name: str, before: tuple[str, str]) -> None:
    """Refuse a function by its name and the two words before it."""
    is_table = before[1] == "join" or (before[1] == "from" and before[0] != "distinct")
    if name in _UNBOUNDED and not (name in _ROW_BY_ROW and is_table):
        fix = _AS_TABLE if name in _ROW_BY_ROW else "compute it from the rows that you get"
        raise ReadError(f"{name}() is not available here: one value of it can take any memory and time", fix=fix)


def _require_one_query(connection: DuckDBPyConnection, text: str) -> None:
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        raise ReadError(
            f"give one SQL statement, not {len(statements)}", fix="`select * from symbol_data`, for example"
        )
    kind = _statement_kind(statements[0])
    if kind == "EXPLAIN":
        explained = _EXPLAIN.sub("", text, count=1)
        if explained != text:
            _require_one_query(connection, explained)
            return
        kind = "EXPLAIN of something else"
    # PIVOT comes as several internal statements and is a query all the same.
    if kind != "SELECT" and not (kind == "MULTI" and text.lstrip().lower().startswith(("pivot", "from", "with"))):
        raise ReadError(
            f"{kind} is not a query: the catalog is read-only",
            fix="use SELECT; open catalog.duckdb with DuckDB itself for anything else",
        )


def _statement_kind(statement: Statement) -> str:
    try:
        return str(statement.type.name)
    except ValueError:
        # DuckDB's parser knows statements that its Python side has no name for.
        return "This statement"


def _split_words(text: str, raw: bytes) -> Iterator[str]:
    """The parts of a statement as DuckDB reads them; texts and comments are left out."""
    import duckdb

    # Places are counted in bytes.
    parts = duckdb.tokenize(text)
    ends = [start for start, _ in parts[1:]] + [len(raw)]
    for (start, kind), end in zip(parts, ends, strict=True):
        if kind.name not in {"comment", "string_const"}:
            yield raw[start:end].decode(errors="replace").strip()


def _unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] == '"':
        word = word[1:-1].replace('""', '"')
    return word.lower()


@cache
def _forbidden_functions() -> frozenset[str]:
    """Names that nobody may call: all functions of DuckDB's own that return rows, but for the harmless ones.

    To list them takes longer than most questions, and no connection here loads more than DuckDB brings along.
    """
    import duckdb

    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            "select distinct lower(function_name) from duckdb_functions() "
            "where function_type in ('table', 'table_macro') and internal"
        ).fetchall()
    return (frozenset(name for (name,) in rows) | _HARMFUL) - _HARMLESS


def lock(
    connection: DuckDBPyConnection, folders: Sequence[Path | str], *, spill: Path | None, memory: int = MEMORY
) -> None:
    """Take everything from a connection but the reading of some folders; it cannot be given back.

    What is attached or registered already stays readable, and Python may register more. From here on no extension is loaded,
    nothing is downloaded, no other file is opened, and no setting changes; so it is for every cursor of the connection.

    Args:
        connection: with everything in place that a query needs.
        folders: absolute; their files may be read, also by views. Links that lead out of them are not followed.
        spill: where sorts and joins that outgrow their memory may put files, which nobody else can read; nowhere where it is
            None or cannot be made.
        memory: most bytes of one query; less where the machine has less.
    """
    available = _parse_bytes(connection.execute("select current_setting('memory_limit')").fetchone())
    spill_folder = _make_private(spill)
    allowed = ", ".join(_quote(f"{Path(folder).resolve()}/") for folder in folders)
    settings = {
        "memory_limit": f"'{min(memory, available)} bytes'",
        "temp_directory": _quote("" if spill_folder is None else str(spill_folder)),
        "python_enable_replacements": "false",
        "python_scan_all_frames": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "allow_persistent_secrets": "false",
        "enable_logging": "false",
        "allowed_directories": f"[{allowed}]",
        "enable_external_access": "false",
        "lock_configuration": "true",
    }
    if spill_folder is not None:
        connection.execute(f"set max_temp_directory_size = '{SPILL} bytes'")
    for name, value in settings.items():
        connection.execute(f"set {name} = {value}")


def _make_private(folder: Path | None) -> Path | None:
    """The folder, made for its owner alone; None where it cannot be."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _parse_bytes(row: tuple[str, ...] | None) -> int:
    """`18.8 GiB` as a number."""
    number, _, unit = (row[0] if row else "").partition(" ")
    return int(float(number) * _UNITS[unit]) if unit in _UNITS else MEMORY


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
