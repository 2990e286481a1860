"""Hostile queries end themselves and nothing else: the server stays small, says why, and answers the next one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from starlette.testclient import TestClient

from gb_pipeline.api import sql_pool
from gb_pipeline.api.app import build_app
from gb_pipeline.api.options import ServeOptions
from gb_pipeline.api.problems import Problem
from gb_pipeline.api.sql_pool import SqlPool
from gb_pipeline.errors import ReadError
from gb_pipeline.reading.lake import Lake
from gb_pipeline.reading.sql_stop import QueryStop
from gb_pipeline_tests.serving import children_of, minutes

MEMORY = 1 << 27
LONG = "select count(*) from range(100000000) a cross join range(100000) b where a.range * b.range % 7 = 3"
A = "a" * 1000
HOSTILE = {
    "replace": f"select length(replace(replace(replace(replace('aaaa', 'a', '{A}'), 'a', '{A}'), 'a', '{A}'), 'a', '{A}'))",
    "a list in a list": "select list_transform(a, lambda x: list_transform(a, lambda y: a))"
    " from (select list(range) a from range(3000))",
    "string_agg": "select length(string_agg(md5(range::varchar), '')) from range(100000000)",
    "doubled text": "with recursive t(s) as (select 'x' union all select s || s from t where length(s) < 1e10)"
    " select max(length(s)) from t",
}  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    lake = Lake.open(tmp_path_factory.mktemp("pool") / "data", create=True)
    lake.put(minutes("2024-01-02", 1440), source="sim", resolution="1m", symbol="BTC-USD")
    yield lake
    lake.close()


@pytest.fixture(scope="module")
def pool(lake: Lake) -> Iterator[SqlPool]:
    pool = SqlPool(lake, memory=MEMORY, rows=200_000, seconds=20, processes=1)
    yield pool
    pool.close()


def ask(pool: SqlPool, query: str, stop: QueryStop | None = None) -> pl.DataFrame:
    return pl.concat(list(pool.query(query, stop=stop or QueryStop())))


def held_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def process_of(pool: SqlPool) -> int:
    """The one that is idle; other pools of this process of tests have children of their own."""
    [child] = pool._idle
    return child._process.pid


def test_a_pool_answers_as_the_lake_does(pool: SqlPool, lake: Lake) -> None:
    for query in (
        "select * from bars_1m order by timestamp",
        "select 1 as one where false",
        "select interval 90 minute as gap",
    ):
        assert ask(pool, query).equals(lake.sql(query)), query
    plan, local = (
        pool.explain("select close from bars_1m", stop=QueryStop()),
        lake.explain_sql("select close from bars_1m"),
    )
    assert plan.scans.equals(local.scans) and plan.steps == local.steps
    with pytest.raises(ReadError, match="more than 200,000 rows"):
        ask(pool, "select * from range(300000)")


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_query_is_refused_and_the_server_stays_as_it_was(pool: SqlPool, query: str) -> None:
    assert ask(pool, "select 1 as one")["one"].item() == 1
    before = held_bytes()
    with pytest.raises(ReadError, match=r"takes more than 0\.125 GB of memory|ran longer than 20 s"):
        ask(pool, query)
    assert held_bytes() - before < 64 << 20
    assert ask(pool, "select count(*) as n from bars_1m")["n"].item() == 1440


def test_rows_are_taken_as_they_are_wanted(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    # With so much memory that no process is worn by what it answered before.
    pool = SqlPool(lake, memory=1 << 30, rows=200_000, seconds=60, processes=1)
    try:
        for most in (sql_pool._LEFT_BATCHES, 1):
            monkeypatch.setattr(sql_pool, "_LEFT_BATCHES", most)
            ask(pool, "select 1")
            before = process_of(pool)
            rows = pool.query("select range, md5(range::varchar) as text from range(200000)", stop=QueryStop())
            first = next(rows)
            # Whoever goes away in the middle ends the process where much is left, and the next query has another one.
            rows.close()  # type: ignore[attr-defined]

            assert 0 < first.height < 200_000
            assert ask(pool, "select 2 as two")["two"].item() == 2
            assert (before == process_of(pool)) is (most > 1)
    finally:
        pool.close()


def test_a_process_that_is_killed_is_said_and_replaced(pool: SqlPool) -> None:
    ask(pool, "select 1")
    killer = threading.Timer(0.2, os.kill, (process_of(pool), signal.SIGKILL))
    killer.start()
    with pytest.raises(ReadError, match="was killed, by the system for its memory or by a person"):
        ask(pool, LONG)
    killer.join()
    # One that dies while nobody asks is not noticed at all.
    ask(pool, "select 1")
    os.kill(process_of(pool), signal.SIGKILL)
    os.waitid(os.P_PID, process_of(pool), os.WEXITED | os.WNOWAIT)
    assert ask(pool, "select 3 as three")["three"].item() == 3


def test_a_query_ends_when_nobody_waits(pool: SqlPool) -> None:
    stop = QueryStop()
    threading.Timer(0.1, stop.stop).start()
    with pytest.raises(ReadError, match="was stopped"):
        ask(pool, LONG, stop)


def test_a_query_ends_at_its_time_and_others_wait_for_their_turn(lake: Lake) -> None:
    pool = SqlPool(lake, memory=MEMORY, rows=1000, seconds=0.5, processes=1)
    try:
        with pytest.raises(ReadError, match=r"ran longer than 0\.5 s"):
            ask(pool, LONG)
        rows = pool.query("select 1 as one", stop=QueryStop())
        next(rows)
        with pytest.raises(Problem) as busy:
            ask(pool, "select 2")
        assert (busy.value.status, busy.value.what) == (503, "all 1 processes for queries in SQL are busy")
        assert list(rows) == []
        assert ask(pool, "select 2 as two")["two"].item() == 2
    finally:
        pool.close()


def test_more_queries_at_once_than_threads_and_processes_are_all_answered(lake: Lake) -> None:
    options = ServeOptions(sql_processes=1, threads=2)
    query = {"query": "select * from bars_1m", "format": "arrow"}
    app = build_app(lake, options)
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 5)) as client, ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: client.post("/v1/sql", json=query), range(12)))
    assert [answer.status_code for answer in answers] == [200] * 12


def test_a_killed_query_leaves_no_file(lake: Lake) -> None:
    folder = lake.store.storage.state / "sql"
    pool = SqlPool(lake, memory=MEMORY, rows=1000, seconds=60, processes=1)
    numbered = "select md5(range::varchar) as a, row_number() over (order by a) as n from range(4000000)"
    try:
        pool.warm()
        killer = threading.Thread(target=kill_once, args=[process_of(pool), lambda: any(folder.glob("*.tmp"))])
        killer.start()
        with pytest.raises(ReadError, match="was killed"):
            ask(pool, f"select max(a), max(n) from ({numbered})")
        killer.join()
        assert list(folder.iterdir()) == []
    finally:
        pool.close()


def kill_once(pid: int, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def test_a_mistake_of_the_code_is_not_called_a_lack_of_memory(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = SqlPool(lake, memory=MEMORY, rows=1000, seconds=5, processes=1)
    try:
        pool.warm()
        with pytest.raises(ReadError, match="in a way that nobody foresaw"):
            pool._ask(pool._idle[0], "query", 5, None, QueryStop())  # type: ignore[arg-type]
    finally:
        pool.close()


def test_an_answer_that_no_table_can_hold_is_refused_in_words(lake: Lake) -> None:
    with pytest.raises(ReadError, match="the result is not a table"):
        lake.sql(f"select {'[' * 80}1{']' * 80}")


def test_processes_end_with_their_pool_and_with_their_server(lake: Lake) -> None:
    pool = SqlPool(lake, memory=MEMORY, rows=1000, seconds=5, processes=2)
    pool.warm()
    pool.warm()
    pid = process_of(pool)
    assert pid in children_of(os.getpid())
    pool.close()
    pool.warm()
    assert not pool._idle and pid not in children_of(os.getpid())


@pytest.mark.parametrize(
    "query",
    ["select 170141183460469231731687303715884105727::hugeint as n",
     "select [100000000000000000000000000000000000000::hugeint] as n",
     "select 340282366920938463463374607431768211455::uhugeint as n", "select 1::uhugeint as n"],
)  # fmt: skip
def test_integers_of_more_than_38_digits_are_refused_by_name(lake: Lake, query: str) -> None:
    with pytest.raises(ReadError, match="'n' has integers of more than 38 digits") as refused:
        lake.sql(query)
    assert "varchar" in refused.value.fix
    assert lake.sql(f"select n::varchar as n from ({query})").height == 1


def test_integers_of_38_digits_are_whole(lake: Lake) -> None:
    digits = "9" * 38
    found = lake.sql(f"select {digits}::hugeint as n, sum(1) as total")
    assert (str(found["n"].item()), found["total"].item()) == (digits, 1)
