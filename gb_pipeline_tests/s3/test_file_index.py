"""The index of a table in a bucket: it lies on each machine by itself, and saves the requests of opening."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Window
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.schema import PRICES
from gb_pipeline.storage import file_index
from gb_pipeline_tests.s3.conftest import Machine
from gb_pipeline_tests.s3.store import Store

TABLE, START, COMMITS = "bars_1m", datetime(2024, 1, 1, tzinfo=UTC), 5


def write(store: LakeStore, number: int) -> None:
    day = START + timedelta(days=number)
    frame = pl.DataFrame({"timestamp": [day], **{name: ["1.5"] for name in (*PRICES, "volume")}})
    store.write_bars("mine", "A", "1m", Window(day, day + timedelta(hours=1)), frame)


def test_a_table_in_a_bucket_is_the_same_from_an_index_with_fewer_requests(
    machine: Machine, server: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(file_index, "WORTH_AN_INDEX", 1)
    writer = machine("writer")
    for number in range(COMMITS):
        write(writer, number)

    def opened(name: str) -> tuple[pl.DataFrame, int, int]:
        server.requests.clear()
        snapshot = machine(name).tables.newest(TABLE)
        return snapshot.files.sort("path"), snapshot.version, len(server.requests)

    first, second = opened("reader"), opened("reader")
    assert first[0].equals(second[0]) and first[1] == second[1] == COMMITS - 1
    assert second[2] <= first[2] - (COMMITS - 2), "the entries up to the index are not asked for"
    assert list((tmp_path / "reader" / "index" / TABLE).glob("*.arrow"))

    write(writer, COMMITS)
    newest, stranger = opened("reader"), opened("stranger")
    assert newest[0].equals(stranger[0]) and newest[1] == stranger[1] == COMMITS
