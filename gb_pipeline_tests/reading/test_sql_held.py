"""DuckDB stays open between queries: each sees the newest commit, and nothing of the one before."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gb_pipeline import LakeError, ReadError
from gb_pipeline.reading.sql import SqlReader

COUNT = "select count(*) from bars_1m"


def test_threads_see_whole_commits_and_moments_of_the_past_beside_now(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1.5"] * 10)
    stop = threading.Event()

    def ask(number: int) -> set[int]:
        seen = set()
        while not stop.is_set():
            seen.add(lake.sql(COUNT).item())
            assert lake.sql(COUNT, as_of="2000-01-01").item() == 0
        return seen

    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, number) for number in range(3)]
        for day in range(3, 9):
            write("sim", "BTC-USD", f"2024-01-0{day}", ["1.5"] * 10)
            assert lake.sql(COUNT).item() == (day - 1) * 10
        stop.set()
        assert set().union(*(future.result(60) for future in asked)) <= set(range(10, 71, 10))


@pytest.mark.parametrize("statement", [
    "create or replace temp view bars_1m as select 7 as x", "create temp macro bars(a, b) as table select 7 as x",
    "begin", "set memory_limit = '1MB'", "attach ':memory:' as other", "prepare p as select 1", "pragma disable_optimizer",
    "create temp table bars_1m as select 7 as x", "use memory",
])  # fmt: skip
def test_nothing_of_a_query_is_left_for_the_next_one_even_behind_the_guard(lake, write, monkeypatch, statement):
    write("sim", "BTC-USD", "2024-01-02", ["1.5"] * 3)
    assert lake.sql(COUNT).item() == 3
    with pytest.raises(ReadError):
        lake.sql(statement)
    # As if the guard had let it through.
    engine = lake._queries._engine
    with engine.cursor(with_catalog=False) as cursor:
        try:
            cursor.execute(statement)
        except Exception as error:
            assert type(error).__module__.endswith("duckdb")
    assert lake.sql(COUNT).item() == 3
    assert lake.sql("select count(*) from bars('BTC-USD', '1m')").item() == 3
    assert lake.sql("select count(*) from files").item() == 1


def test_after_a_query_that_takes_too_much_memory_the_next_one_works(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1.5"] * 3)
    reader = SqlReader(lake.store, memory=2**26)
    for _ in range(2):
        with pytest.raises(ReadError, match="memory"):
            reader.query("select * from range(1000000000)")
        assert reader.query(COUNT).item() == 3
    reader.close()
    assert reader.query(COUNT).item() == 3


def test_a_child_of_a_fork_opens_its_own(lake, write):
    write("sim", "BTC-USD", "2024-01-02", ["1.5"] * 3)
    lake.sql("select 1")
    program = f"""
import os, sys
from gb_pipeline import Lake
lake = Lake.open({str(lake.store.storage.root)!r})
assert lake.sql("select 1").item() == 1
child = os.fork()
if not child:
    assert lake.sql("select 2").item() == 2
    lake.close()
    # DuckDB tells there what it was not asked to close.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
assert lake.sql("select 3").item() == 3
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # And an open connection is no reason for DuckDB to complain at the end.
    assert (done.stderr, done.returncode) == ("", 0)


def test_damage_names_its_file_and_the_next_query_works(lake, write):
    for day in ("2024-01-02", "2024-02-02"):
        write("sim", "BTC-USD", day, ["1.5"] * 3)
    assert lake.sql(COUNT).item() == 6
    name = lake.store.tables.newest("bars_1m").select({"period": "2024-02"})["path"][0]
    path = Path(lake.store.storage.table("bars_1m")) / name
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(LakeError, match=path.name):
        lake.sql("select sum(close) from bars_1m")
    assert lake.sql("select count(close) from bars_1m where timestamp < '2024-02-01'").item() == 3


def test_the_same_query_gives_the_same_decimals_each_time(lake, write):
    for day in range(1, 10):
        write("sim", "BTC-USD", f"2024-0{day}-02", [f"{day}.{minute:08}" for minute in range(1, 200)])
    query = "select symbol, sum(close), avg(close), arg_max(open, timestamp) from bars_1m group by all order by all"
    answers = [lake.sql(query) for _ in range(5)]
    assert all(answer.equals(answers[0]) for answer in answers)
