"""A question in SQL reads the lake's own tables: no other file, no network, no variable, and it changes nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake, ReadError
from gb_pipeline.reading import sql_guard
from gb_pipeline.reading.sql import SqlReader
from gb_pipeline_tests.bars import day, minutes

SECRET = "the-words-of-somebody-else"


class Yard:
    """A lake, and files beside it that are nobody's business."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "lake"
        self.lake = Lake.open(self.folder, create=True)
        self.lake.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02T00:00", 60))
        self.tables = Path(self.lake.store.storage.table("x")).parent
        self.outside = root / "outside"
        self.outside.mkdir()
        (self.outside / "secret.txt").write_text(f"{SECRET}\n{SECRET}\n")
        (self.outside / "secret.json").write_text(f'{{"a": "{SECRET}"}}')
        pl.DataFrame({"a": [SECRET]}).write_parquet(self.outside / "secret.parquet")
        with duckdb.connect(self.outside / "secret.duckdb") as other:
            other.execute(f"create table t as select '{SECRET}' as a")
        (self.tables / "link.parquet").symlink_to(self.outside / "secret.parquet")
        (self.tables / "linked").symlink_to(self.outside)

    def filled(self, text: str) -> str:
        return text.format(out=self.outside, tables=self.tables, lake=self.folder)

    def files(self) -> dict[str, bytes]:
        """Everything on disk but what belongs to the catalog and to running processes."""
        return {
            str(path): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and "catalog" not in path.name and "state" not in path.relative_to(self.root).parts
        }


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = Yard(tmp_path_factory.mktemp("yard"))
    made.lake.sql("from files")  # the catalog is there from now on
    return made


# What the engine itself refuses once it is locked, whatever the words are.
FILES = [
    "from read_text('{out}/secret.txt')", "from read_blob('{out}/secret.txt')", "from read_csv('{out}/secret.txt')",
    "from read_csv_auto('{out}/secret.txt')", "from sniff_csv('{out}/secret.txt')", "from read_json('{out}/secret.json')",
    "from read_json_objects('{out}/secret.json')", "from read_ndjson('{out}/secret.json')",
    "from read_parquet('{out}/secret.parquet')", "from parquet_scan('{out}/secret.parquet')",
    "from parquet_metadata('{out}/secret.parquet')", "from parquet_schema('{out}/secret.parquet')",
    "from parquet_kv_metadata('{out}/secret.parquet')", "from read_duckdb('{out}/secret.duckdb', table_name = 't')",
    "from '{out}/secret.txt'", "from '{out}/secret.parquet'", 'from "{out}/secret.parquet"', "from '{out}/secret.json'",
    "from '{out}/*.parquet'", "from glob('{out}/*')", "from glob('/*')", "from glob('*')", "from glob('~/*')",
    "from read_text('~/.bashrc')", "from read_text('/etc/passwd')", "from '/proc/self/environ'", "from read_blob('/dev/zero')",
    "from read_text('{tables}/../../outside/secret.txt')", "from read_text('{tables}/x/../../../outside/secret.txt')",
    "from read_text('{lake}/../outside/secret.txt')", "from '{tables}/../../outside/secret.parquet'",
    "from '{tables}/link.parquet'", "from '{tables}/linked/secret.parquet'", "from read_text('{tables}/linked/secret.txt')",
    "from read_parquet(['{tables}/link.parquet'])", "from glob('{tables}/linked/*.txt')",
    "from read_text('file://{out}/secret.txt')", "from read_parquet('file:{out}/secret.parquet')",
    "from 'https://127.0.0.1:9/x.parquet'", "from read_csv('http://127.0.0.1:9/x.csv')", "from 's3://bucket/x.parquet'",
    "from read_text(['/etc/hostname', '{out}/secret.txt'])", "from query('from read_text(''{out}/secret.txt'')')",
]  # fmt: skip
# What only the words give away, in any spelling and at any place.
WORDS = [
    "select * from bars_1m where symbol in (select content from READ_TEXT('{out}/secret.txt'))",
    "select (select content from read_text('{out}/secret.txt'))",
    "with a as materialized (from read_text('{out}/secret.txt')) from a",
    "select 1 union all select size from read_blob('{out}/secret.txt')",
    "from \"Read_Text\" /* a comment */ ('{out}/secret.txt')", "from system.main.read_text('{out}/secret.txt')",
    "from bars_1m positional join read_text('{out}/secret.txt')", "describe from read_text('{out}/secret.txt')",
    "summarize from read_text('{out}/secret.txt')", "explain analyze from read_text('{out}/secret.txt')",
    "pivot (from read_text('{out}/secret.txt')) on filename using count(*)", "select 'é', (from glob('{out}/*'))",
    "from bars_1m, lateral (from read_text('{out}/secret.txt'))", "from read_text('{tables}/bars_1m/_delta_log/0.json')",
    "from query('select 1')", "from query_table('files')", "from duckdb_secrets()", "from duckdb_settings()",
    "from duckdb_logs()", "from duckdb_extensions()", "from which_secret('s3://x', 's3')", "from duckdb_variables()",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))", "from arrow_scan(1, 2, 3)", "from pandas_scan(1)",
    "from seq_scan()", "from python_map_function(1)", "select getenv('HOME')", "select write_log('x')",
    "select current_setting('allowed_directories')", "select Current_Setting ('temp_directory')",
    "from create_external_resource('a', map {{}})", "from duckdb_temporary_files()",
]  # fmt: skip
WRITES = [
    "with a as (copy (select 1) to '{out}/new.csv') select 1", "with a as (copy (select 1) to '{tables}/new.csv') from a",
    "with a as not materialized (COPY (select 1) to '{tables}/new.parquet') select 1",
    "with a as (copy (select 1) to '{tables}/new.csv'), b as (pivot files on \"table\" using count(*)) from b",
    "with a as (insert into files select * from files returning *) from a",
    "with a as (delete from files returning *) from a", "with a as (update files set bytes = 0 returning *) from a",
    "explain analyze with a as (copy (select 1) to '{tables}/new.csv') from a",
    "from enable_profiling(save_location = '{out}/profile.txt')", "from enable_profiling(save_location = '{tables}/p.txt')",
    "from enable_logging('QueryLog', storage = 'file', storage_path = '{out}')", "from truncate_duckdb_logs()",
    "from enable_logging('QueryLog', storage = 'file', storage_path = '{tables}/logs')", "from checkpoint()",
    "from force_checkpoint()", "from disable_logging()",
    "copy (select 1) to '{tables}/new.csv'", "copy files from '{out}/secret.txt'", "copy from database gb_catalog to memory",
    "export database '{tables}/new'", "import database '{out}'", "attach '{out}/secret.duckdb'", "attach ':memory:' as m",
    "attach '{out}/secret.duckdb' as x (read_only)", "detach gb_catalog", "use memory", "install httpfs", "load httpfs",
    "load '{out}/x.duckdb_extension'", "force install httpfs", "update extensions", "set memory_limit = '100GB'",
    "set lock_configuration = false", "set global enable_external_access = true", "reset allowed_directories",
    "set variable x = 1", "pragma memory_limit = '100GB'", "pragma enable_profiling", "pragma database_list",
    "call pragma_version()", "call enable_logging()", "create macro f() as 1", "create temp macro f() as 1",
    "create or replace temp view bars_1m as select 1", "create temp table x as select 1", "create table memory.x (a int)",
    "create schema s", "create sequence s", "create type t as enum ('a')", "create index i on files (path)",
    "create secret s (type s3)", "drop view bars_1m", "alter table files rename to f", "alter database gb_catalog rename to x",
    "insert into files select * from files", "delete from files", "update files set bytes = 0", "truncate files",
    "merge into files using files as f on true when matched then delete", "vacuum", "analyze", "checkpoint",
    "force checkpoint", "begin", "commit", "rollback", "prepare p as select 1", "execute p", "deallocate p",
    "comment on table files is 'x'", "explain drop table files", "select 1; select 2", ";",
]  # fmt: skip


def refused(yard: Yard, statement: str) -> ReadError:
    before = yard.files()
    with pytest.raises(ReadError) as caught:
        yard.lake.sql(yard.filled(statement))
    assert SECRET not in str(caught.value)
    assert yard.files() == before
    assert yard.lake.sql("select count(*) from bars_1m").item() == 60
    return caught.value


@pytest.mark.parametrize("statement", [*FILES, *WORDS])
def test_no_question_reads_past_the_lakes_tables(yard: Yard, statement: str) -> None:
    refused(yard, statement)


@pytest.mark.parametrize("statement", WRITES)
def test_no_statement_changes_anything_anywhere(yard: Yard, statement: str) -> None:
    refused(yard, statement)


@pytest.mark.parametrize("statement", FILES)
def test_the_engine_refuses_other_files_whatever_the_words_are(yard: Yard, statement: str) -> None:
    # Behind the words stands a second fence, for what they do not give away.
    with duckdb.connect() as connection:
        sql_guard.lock(connection, [yard.tables], spill=None)
        with pytest.raises((duckdb.PermissionException, duckdb.CatalogException)):
            connection.sql(yard.filled(statement)).fetchall()


@pytest.mark.parametrize("statement", WORDS)
def test_the_words_are_refused_before_anything_is_opened(yard: Yard, statement: str) -> None:
    with duckdb.connect() as connection, pytest.raises(ReadError):
        sql_guard.require_query(connection, yard.filled(statement))


def test_what_is_locked_cannot_be_unlocked(yard: Yard) -> None:
    with duckdb.connect() as connection:
        sql_guard.lock(connection, [yard.tables], spill=None, memory=2**28)
        for name, value in (
            ("memory_limit", "'9GB'"), ("enable_external_access", "true"), ("lock_configuration", "false"),
            ("allowed_directories", "['/']"), ("python_enable_replacements", "true"), ("temp_directory", "'/tmp'"),
            ("autoload_known_extensions", "true"), ("autoinstall_known_extensions", "true"),
        ):  # fmt: skip
            with pytest.raises(duckdb.Error, match="locked"):
                connection.execute(f"set {name} = {value}")
            with contextlib.suppress(duckdb.Error):
                connection.rollback()
        assert connection.sql("select current_setting('memory_limit')").fetchall() == [("256.0 MiB",)]


def test_views_over_the_lakes_files_still_work(yard: Yard) -> None:
    rows = yard.lake.sql("select * from bars_1m order by timestamp")
    assert rows["close"].equals(yard.lake.bars("BTC-USD", "1m")["close"])
    with duckdb.connect() as connection:
        file = next(path for path in yard.tables.rglob("*.parquet") if not path.is_symlink())
        connection.execute(f"create view v as select * from read_parquet('{file}')")
        connection.execute(f"create macro m(n) as table select * from read_parquet('{file}') limit n")
        sql_guard.lock(connection, [yard.tables], spill=None)
        for question, rows_there in (("from v", 60), ("from m(7)", 7)):
            sql_guard.require_query(connection, question)
            assert len(connection.sql(question).fetchall()) == rows_there


@pytest.mark.parametrize(("question", "answer"), [
    ("select count(*) from range(5)", 5), ("select unnest([7])", 7), ("select version() is not null", True),
    ("select repeat('ab', 2)", "abab"), ("select 'copy (select 1) to ''x'''", "copy (select 1) to 'x'"),
    ("select 1 /* insert into x */ -- delete", 1), ('select 3 as "update"', 3), ("select $$read_text('x')$$", "read_text('x')"),
    ("select list_sum(list_transform([1, 2], lambda x: x + 1))", 5),
    ("with recursive a as (select 1 as n union all select n + 1 from a where n < 4) select max(n) from a", 4),
    ("select count(*) from duckdb_tables() where table_name = 'files'", 1),
    ("select \"read_text\" from (select 8 as read_text)", 8),
])  # fmt: skip
def test_what_only_looks_dangerous_is_answered(yard: Yard, question: str, answer: object) -> None:
    assert yard.lake.sql(question).item() == answer


LARGE = "select sum(r) from (select r from range(6000000) as t(r) order by hash(r) limit 5900000)"


def test_more_memory_than_a_question_may_use_is_an_error_of_ours(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReadError, match=r"more than 0\.0625 GB of memory") as caught:
        SqlReader(yard.lake.store, memory=2**26).query("select * from range(1000000000)")
    assert "aggregate" in caught.value.fix
    monkeypatch.setattr(sql_guard, "SPILL", 2**22)
    with pytest.raises(ReadError, match=r"more than 0\.0625 GB of memory"):
        SqlReader(yard.lake.store, memory=2**26).query(LARGE)


def test_what_outgrows_its_memory_goes_to_the_lakes_state_which_nobody_else_reads(yard: Yard) -> None:
    place = yard.lake.store.storage.state / "sql"
    assert SqlReader(yard.lake.store, memory=2**26).query(LARGE).item() > 0
    assert place.stat().st_mode & 0o777 == 0o700
    assert list(place.iterdir()) == []
    with duckdb.connect() as connection:
        sql_guard.lock(connection, [yard.tables], spill=None, memory=2**26)
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.sql(LARGE).fetchall()


PARTS = [
    "select",
    "from",
    "(",
    ")",
    "'",
    '"',
    "$$",
    "/*",
    "*/",
    "--",
    "\n",
    ";",
    "\x00",
    "\ud800",
    "é",
    "copy",
    "files",
    "with",
    "as",
    "1",
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PARTS), max_size=12).map(" ".join)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_question_or_an_error_of_ours(yard: Yard, text: str) -> None:
    try:
        assert yard.lake.sql(text).width
    except ReadError as error:
        assert error.what


PIECES = st.sampled_from([
    "read_text('a')", "\"READ_TEXT\"('a')", "read_text /* ) */ ('a')", "glob\n-- (\n('a')", "main.glob('a')", "range(3)",
    "t", "\"a\"\"b\"", "(select 'read_text(' as x)", "(select $$glob($$ as y)", "(select $q$ ' $q$ as z)", "(select E'\\'' as w)",
    "(select 'é' as v)", "(values ('it''s', 1))", "(select /* /* nested */ glob( */ 1 as u)", "(from (from glob('b')))",
    "read_csv('x') as \"(\"",
])  # fmt: skip


@given(st.lists(PIECES, min_size=1, max_size=4), st.sampled_from([", ", " cross join ", " positional join "]))
def test_the_words_name_every_function_that_the_parser_sees(pieces: list[str], between: str) -> None:
    text = "select * from " + between.join(pieces)
    with duckdb.connect() as connection:
        parsed = json.loads(connection.execute("select json_serialize_sql(?::varchar)", [text]).fetchone()[0])
        called = set() if parsed["error"] else _table_functions(parsed)
        harmful = called & sql_guard._forbidden_functions()
        try:
            sql_guard.require_query(connection, text)
        except (ReadError, duckdb.Error):
            return
        assert not harmful


def _table_functions(node: object) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_table_functions, node))
    if not isinstance(node, dict):
        return set()
    own = {node["function"]["function_name"].lower()} if node.get("type") == "TABLE_FUNCTION" else set()
    return own.union(*map(_table_functions, node.values()))
