"""A lake that was moved: a plain DuckDB finds its files, from whatever working directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from gb_pipeline import Lake
from gb_pipeline.catalog.projection import catalog_is_stale, refresh_catalog
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import day, minutes

QUERY = "select count(*) from {}bars_1m"


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A lake that was made elsewhere; a quote in its path is a character like any other."""
    old, new = tmp_path / "old", tmp_path / "it's new"
    store = LakeStore.at(old)
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    refresh_catalog(store)
    shutil.move(old, new)
    return new


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("here", ["..", ".", "lake", "/"])
def test_the_views_find_the_files_beside_the_catalog(moved, monkeypatch, here, read_only):
    """By an absolute path; and by one that is relative to the working directory, where it lies above or in the lake."""
    monkeypatch.chdir(moved / here)
    paths = [moved / "catalog.duckdb"]
    if here != "/":
        paths.append({"..": Path(moved.name), ".": Path(), "lake": Path("..")}[here] / "catalog.duckdb")
    for path in paths:
        with duckdb.connect(path, read_only=read_only) as connection:
            for table in (
                "bars_1m",
                "bars_1m_history",
                "best_bars_1m",
                "bars_1m_as_of(now())",
                "best_bars_1m_as_of(now())",
            ):
                assert connection.execute(f"select count(*) from {table}").fetchall() == [(1440,)]


def test_attached_to_another_database_one_statement_says_where_it_is(moved, tmp_path):
    with duckdb.connect(tmp_path / "mine.duckdb") as connection:
        connection.execute("attach ? as market (read_only)", [str(moved / "catalog.duckdb")])
        with pytest.raises(duckdb.IOException, match="old"):
            connection.execute(QUERY.format("market."))
        connection.execute("set variable lake = ?", [str(moved)])
        assert connection.execute(QUERY.format("market.")).fetchall() == [(1440,)]


def test_the_next_question_makes_a_catalog_that_knows_the_place(moved, tmp_path):
    assert catalog_is_stale(LakeStore.at(moved))
    lake = Lake.open(moved)
    assert lake.sql(QUERY.format("")).item() == lake.sql("select record_count from symbol_data").item() == 1440
    assert not catalog_is_stale(LakeStore.at(moved))
    with duckdb.connect(tmp_path / "mine.duckdb") as connection:
        connection.execute("attach ? as market (read_only)", [str(moved / "catalog.duckdb")])
        assert connection.execute(QUERY.format("market.")).fetchall() == [(1440,)]
