"""`gb override` and `gb overrides`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, day, minutes
from gb_pipeline_tests.cli.console import Gb

BAR = ("sim:BTC-USD", "2024-01-02T00:05Z")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    store = LakeStore.at(tmp_path, clock=SetClock(datetime(2024, 2, 1, tzinfo=UTC)))
    store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02"))
    return tmp_path


def test_a_bar_is_corrected_listed_explained_and_taken_back(gb: Gb, lake: Path) -> None:
    assert gb("override", *BAR, "--close", "105.5", "--reason", "a bad tick", "--lake", lake).code == 0
    told = gb("overrides", "--lake", lake)
    assert "105.5" in told.out
    assert all(len(line) <= 80 for line in told.out.splitlines())
    explained = gb("explain", *BAR, "--lake", lake).out
    assert "instead of the vendor's 105.75" in explained
    assert "restated" not in explained, "the vendor changed nothing"
    assert gb("explain", *BAR, "--json", "--lake", lake).code == 0
    [row] = gb("overrides", "sim", "--json", "--lake", lake).json
    assert (row["corrected_close"], row["vendor_close"], row["reason"]) == ("105.5", "105.75", "a bad tick")
    [change] = [row for row in gb("changes", "--since=-1d", "--json", "--lake", lake).json if row["kind"] != "added"]
    assert (change["kind"], change["old_close"], change["new_close"]) == ("corrected", "105.75", "105.5")
    assert gb("override", *BAR, "--withdraw", "--reason", "mended", "--lake", lake).code == 0
    assert "instead of" not in gb("explain", *BAR, "--lake", lake).out
    assert "taken back" in gb("overrides", "--lake", lake).out


def test_other_clients_of_the_catalog_read_the_corrected_bar(gb: Gb, lake: Path) -> None:
    def close() -> str:
        with duckdb.connect(lake / "catalog.duckdb", read_only=True) as catalog:
            catalog.execute("set timezone = 'UTC'")
            return str(
                catalog.sql("select close::varchar from bars_1m where timestamp = '2024-01-02 00:05:00+00'").fetchall()
            )

    # What names a table of the catalog refreshes its file.
    gb("sql", "select count(*) from symbol_data", "--lake", lake)
    assert "105.75" in close()
    gb("override", *BAR, "--close", "105.5", "--reason", "a bad tick", "--lake", lake)
    assert "105.5" in close() and "105.75" not in close()
    gb("override", *BAR, "--withdraw", "--reason", "mended", "--lake", lake)
    assert "105.75" in close()


def test_what_cannot_be_corrected_is_said(gb: Gb, lake: Path) -> None:
    told = gb("override", *BAR, "--close", "1000", "--reason", "x", "--lake", lake)
    assert (told.code, "would be refused" in told.err) == (2, True)
    assert gb("override", *BAR, "--reason", "x", "--lake", lake).code == 2
    for reason in (" ", "\x1b[31mred"):
        assert gb("override", *BAR, "--close", "105.5", "--reason", reason, "--lake", lake).code == 2
    assert gb("override", *BAR, "--withdraw", "--reason", "x", "--lake", lake).code == 2
    assert gb("override", *BAR, "--withdraw", "--close", "1", "--reason", "x", "--lake", lake).code == 2
    assert gb("override", "sim:BTC-USD", "2024-01-03", "--close", "1", "--reason", "x", "--lake", lake).code == 1
    assert "no bar is corrected" in gb("overrides", "--lake", lake).err
