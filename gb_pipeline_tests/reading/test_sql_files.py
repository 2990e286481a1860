"""What a query in SQL opens: the files that may hold what it is after, and of them the columns that it names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from gb_pipeline import BarRules, Lake, Precision
from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.errors import ReadError
from gb_pipeline.reading.sql_plan import SCANS
from gb_pipeline.storage.arrow_datasets import VerifiedFiles

MONTHS = ("2024-01-03", "2024-02-03", "2024-03-03")
WIDE = BarRules(precision=Precision.WIDE)
# What was known before the second month was restated, and after it.
BEFORE, AFTER = datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)


@pytest.fixture
def months(lake, write) -> Lake:
    """Three months of three symbols from one source, a file each, and one month of one symbol from another source."""
    for symbol in ("BTC-USD", "ETH-USD", "XRP-USD"):
        for month in MONTHS:
            write("kraken", symbol, month, ["1.5", "1.6", "1.7"], now=BEFORE)
    write("coinbase", "ETH-USD", MONTHS[0], ["2.5"], now=BEFORE)
    return lake


@contextmanager
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The data files that are opened meanwhile, each time that one is."""
    paths: list[str] = []
    open_file: Callable[..., object] = VerifiedFiles.open_input_file

    def count(self: VerifiedFiles, path: str) -> object:
        paths.append(path)
        return open_file(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(VerifiedFiles, "open_input_file", count)
        yield paths


TIME = "timestamp >= '2024-02-01' and timestamp < '2024-03-01'"
COUNTS = [
    ("select count(close) from bars_1m", 10, 28),
    ("select count(close) from bars_1m where symbol = 'BTC-USD'", 3, 9),
    (f"select count(close) from bars_1m where {TIME}", 3, 9),
    (f"select count(close) from bars_1m where symbol = 'BTC-USD' and {TIME}", 1, 3),
    ("select count(close) from bars_1m where date_trunc('month', timestamp) = '2024-02-01' and symbol = 'BTC-USD'", 1, 3),
    (f"select count(close) from bars_1m where symbol in ('BTC-USD', 'XRP-USD') and {TIME}", 2, 6),
    ("select count(close) from bars_1m where symbol = 'BTC-USD' and timestamp < '2024-02-01' or symbol = 'XRP-USD'", 4, 12),
    ("select count(close) from bars_1m where source = 'coinbase'", 1, 1),
    ("select count(close) from bars_1m where symbol = 'none'", 0, 0),
    (f"with b as (from bars_1m) select count(close) from b where symbol = 'BTC-USD' and {TIME}", 1, 3),
    (f"select count(close) from bars_1m_history where symbol = 'BTC-USD' and {TIME}", 1, 3),
    (f"select count(close) from bars_1m_as_of(timestamptz '2024-06-02') where symbol = 'BTC-USD' and {TIME}", 1, 3),
    ("select count(close) from bars_1m_as_of(timestamptz '2024-05-01') where symbol = 'BTC-USD'", 0, 0),
    ("select count(close) from bars('BTC-USD', '1m', '2024-02-01', '2024-03-01')", 1, 3),
    ("select count(close) from bars_as_of('BTC-USD', '1m', '2024-02-01', '2024-03-01', '2024-06-02')", 1, 3),
    ("select count(close) from best_bars_1m where symbol = 'BTC-USD'", 3, 9),
    ("select count(close) from best_bars_1m where symbol = 'ETH-USD'", 4, 7),
    # Which source answers on a day, all bars of the symbol say; the macro `bars` looks only at the days that it is asked for.
    (f"select count(close) from best_bars_1m where symbol = 'BTC-USD' and {TIME}", 3, 3),
    (f"select count(a.close) from bars_1m a asof join bars_1m b on a.symbol = b.symbol and a.timestamp >= b.timestamp"
     f" where a.symbol = 'BTC-USD' and a.{TIME.replace('and ', 'and a.')}", 3, 3),
]  # fmt: skip


def test_only_files_that_may_hold_what_is_asked_for_are_opened(months, monkeypatch):
    everything = months.store.tables.newest("bars_1m").files
    for query, files, rows in COUNTS:
        planned = months.explain_sql(query).scans
        with opened(monkeypatch) as paths:
            assert months.sql(query).item() == rows, query
        # The plan has said so.
        assert (len(set(paths)), planned["files"].max(), planned.schema) == (files, files, SCANS), query
        assert set(planned["of_files"]) == {everything.height} and set(planned["of_bytes"]) == {
            everything["size"].sum()
        }
        assert planned["rows"].max() >= rows / planned.height


def test_a_plan_opens_no_file_and_says_bytes_rows_and_columns(months, monkeypatch):
    query = "select max(close) from bars_1m where symbol = 'BTC-USD' and volume > 0"
    with opened(monkeypatch) as paths:
        plan = months.explain_sql(query)
    assert paths == []
    files = months.store.tables.newest("bars_1m").select({"symbol": "BTC-USD"})
    assert plan.scans.row(0) == (
        "bars_1m",
        3,
        10,
        files["size"].sum(),
        plan.scans["of_bytes"].item(),
        9,
        ["close"],
    )
    assert "Filters" in plan.steps and plan.to_dict()["plan"]


def test_only_columns_that_are_named_are_decoded(months):
    columns = (
        months.explain_sql("select close from bars_1m where timestamp > '2024-01-01' limit 1").scans["columns"].item()
    )
    assert set(columns) <= {"close", "timestamp"}


def test_a_moment_of_the_past_leaves_out_files_that_came_later(months, write, monkeypatch):
    write("kraken", "BTC-USD", "2024-02-03", ["1.5", "1.9", "1.7"], now=AFTER)
    query = "select sum(close) from bars_1m where symbol = 'BTC-USD' and timestamp >= '2024-02-01' and timestamp < '2024-03-01'"
    for moment, total in (("2024-06-15", 4.8), ("2024-07-15", 5.1)):
        with opened(monkeypatch) as paths:
            assert float(months.sql(query, as_of=moment).item()) == total
            assert float(months.sql(query.replace("bars_1m", f"bars_1m_as_of(timestamptz '{moment}')")).item()) == total
        assert {path.split("/")[2] for path in paths} == {"period=2024-02"}
    # What ended before a moment is not looked at.
    assert not any("is_current=false" in path for path in paths)
    with opened(monkeypatch) as paths:
        months.sql(query.replace("bars_1m", "bars_1m_as_of(timestamptz '2024-06-15')"))
        months.sql("select count(close) from bars_1m")
    assert len(paths) == 2 + 10


def test_filters_reach_both_precisions(months, write, monkeypatch):
    write("kraken", "BTC-USD", "2024-02-03", ["1.123456789", "1.6", "1.7"], rules=WIDE)
    write("kraken", "ETH-USD", "2024-02-03", ["1.123456789", "1.6", "1.7"], rules=WIDE)
    query = f"select count(close) from {{}} where symbol = 'BTC-USD' and {TIME}"
    tables = ("bars_1m", "bars_1m_history", "bars_1m_as_of(timestamptz '2100-01-01')")
    for table in tables:
        with opened(monkeypatch) as paths:
            assert months.sql(query.format(table)).item() == (4 if "history" in table else 3)
        assert {tuple(path.split("/")[1:3]) for path in paths} == {("symbol=BTC-USD", "period=2024-02")}, table


def test_a_wrong_name_is_answered_with_each_name_that_there_is_once(months):
    with pytest.raises(ReadError) as caught:
        months.sql("select * from bars_1m join bars_7m using (symbol)")
    names = caught.value.fix.removeprefix("there is ").split(", ")
    assert names == sorted(set(names)) and "bars_1m" in names and not any("arrow" in name for name in names)


def test_names_like_internal_ones_are_free_to_use(months):
    rows = months.sql("with arrow_x as (select 'arrow_bars_1m_now' as name from bars_1m limit 1) select * from arrow_x")
    assert rows["name"].to_list() == ["arrow_bars_1m_now"]


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("select * from bars_1m where symbol = ?", "has parameters", "write the values into the query"),
        ("select * from gb_catalog.main.bars_1m", "opens no file by itself", "such as bars_1m"),
        ("select * from arrow_bars_1m_now", "arrow_bars_1m_now is no table of the lake", "read bars_1m"),
        ('select * from temp."ARROW_bars_1m_ever"', "arrow_bars_1m_ever is no table of the lake", "read bars_1m"),
    ],
)
def test_what_cannot_be_asked_says_what_to_write_instead(months, text, what, fix):
    with pytest.raises(ReadError) as caught:
        months.sql(text)
    assert what in caught.value.what and fix in caught.value.fix
    assert str(months.store.storage.root) not in str(caught.value)


def test_the_macros_are_in_the_catalog_for_any_client_in_any_time_zone(months, tmp_path):
    refresh_catalog(months.store)
    shutil.move(months.store.storage.root, tmp_path / "moved")
    queries = [
        ("select count(*) from bars('ETH-USD', '1m', '2024-01-03 00:01', '2024-02-04')", 3),
        ("select count(*) from bars('ETH-USD', '1m', date '2024-01-03', timestamptz '2024-01-03 00:01:00+00')", 1),
        ("select count(*) from bars('ETH-USD', '1m', \"end\" := timestamp '2024-02-03 00:02')", 3),
        ("select count(*) from bars('ETH-USD', '1m')", 7),
        ("select count(*) from bars_as_of('ETH-USD', '1m', null, '2024-02-01', '2024-06-02T00:00Z')", 1),
        ("select count(*) from bars_as_of('ETH-USD', '1m', null, null, '2024-05-01')", 0),
    ]  # fmt: skip
    with duckdb.connect(tmp_path / "moved" / "catalog.duckdb", read_only=True) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        for query, rows in queries:
            assert connection.execute(query).fetchall() == [(rows,)], query
        with pytest.raises(duckdb.Error, match="no bars of resolution 2m: there is 1m"):
            connection.execute("from bars('ETH-USD', '2m')").fetchall()
    moved = Lake.open(Path(tmp_path / "moved"))
    for query, rows in queries:
        assert moved.sql(query).item() == rows, query
