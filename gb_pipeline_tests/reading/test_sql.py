"""SQL on the catalog and its views."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from gb_pipeline import Lake, ReadError
from gb_pipeline.catalog.projection import catalog_is_stale


def test_sql_sees_every_commit_at_once(lake, write):
    assert lake.sql("select * from symbol_data").is_empty()
    for day in (2, 3):
        write("sim", "BTC-USD", f"2024-01-0{day}", ["1.5", "2.5"])
        assert lake.sql("select count(*) as bars from bars_1m where symbol = 'BTC-USD'").item() == 2 * (day - 1)
        assert lake.sql("select record_count from symbol_data").item() == 2 * (day - 1)
        assert not catalog_is_stale(lake.store)


def test_a_view_says_what_a_read_says(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["42000.01", "0.00000001"])
    rows = lake.sql("select * from bars_1m order by timestamp")
    bars = lake.bars("BTC-USD", "1m")
    assert rows.select(bars.columns).equals(bars)
    assert set(rows.columns) - set(bars.columns) == {"withdrawn", "fetched_at", "superseded_at"}


def test_times_are_utc_whatever_the_machine_says(lake, write, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    row = lake.sql(
        "select timestamp, timestamp >= '2024-01-02' as today, cast(timestamp as varchar) as text from bars_1m"
    )
    assert row.schema["timestamp"] == pl.Datetime("us", "UTC")
    assert row["today"].item() is True
    assert row["text"].item().startswith("2024-01-02 00:00:00")


@pytest.mark.parametrize(
    "question",
    ["show tables", "describe coverage", "summarize gaps", "explain select 1", "from files", "values (1)",
     "with a as (select 1 as x) select * from a", "pivot coverage on status using count(*) group by symbol"],
)  # fmt: skip
def test_every_kind_of_question_is_answered(lake, write, question):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    assert lake.sql(question).width


@pytest.mark.parametrize(
    "statement",
    ["drop table files", "delete from coverage", "insert into files select * from files", "create table x (a int)",
     "copy (select 1) to '{out}'", "explain analyze copy (select 1) to '{out}'", "/* */ explain analyze copy (select 1) to '{out}'",
     "explain (analyze) copy (select 1) to '{out}'", "attach '{out}'", "set timezone = 'Asia/Tokyo'", "install httpfs",
     "export database '{out}'", "select 1; drop table files", "", "-- nothing", "checkpoint"],
)  # fmt: skip
def test_nothing_but_a_question_is_let_through(lake, write, tmp_path, statement):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    out = tmp_path / "out"
    with pytest.raises(ReadError):
        lake.sql(statement.format(out=out))
    assert not out.exists()
    assert lake.sql("select count(*) from files").item() == 1


def test_mistakes_are_explained_without_a_stack(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    with pytest.raises(ReadError, match="syntax error") as caught:
        lake.sql("selec 1")
    assert "select * from" in caught.value.fix
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    with pytest.raises(ReadError, match="bars_2m does not exist") as caught:
        lake.sql("select * from bars_2m")
    assert "bars_1m" in caught.value.fix
    with pytest.raises(ReadError, match="more than once"):
        lake.sql("select 1 as a, 2 as a")


def test_intervals_are_durations_and_those_with_months_are_text(lake):
    row = lake.sql("select interval 90 minute as gap, interval '2 months 3 days' as far, null::interval as none").row(0)
    assert row == (timedelta(minutes=90), "P2M3D", None)
    assert lake.sql("select interval 1 day as a where false").schema["a"] == pl.Duration("us")


def test_a_table_name_never_means_a_variable_of_the_program(lake):
    secret = pl.DataFrame({"a": [1]})
    assert secret.height
    with pytest.raises(ReadError, match="secret does not exist"):
        lake.sql("select * from secret")


def test_a_folder_that_cannot_take_a_catalog_is_answered_from_memory(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    # A folder in the catalog's place: nothing can be renamed over it, not even by root.
    lake.store.storage.catalog.mkdir()
    (lake.store.storage.catalog / "x").touch()
    assert lake.sql("select count(*) from bars_1m").item() == 1
    assert [path.name for path in lake.store.storage.root.iterdir() if path.name.startswith(".catalog")] == []


def test_a_broken_catalog_is_replaced(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1"])
    lake.store.storage.catalog.write_bytes(b"this is no database" * 100)
    assert Lake.open(lake.store.storage.root).sql("select count(*) from bars_1m").item() == 1
