"""Files of an earlier release, which had fewer columns: what it did not know yet reads as null."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.ledger_notes import _DECODED, decode_rows, pending_entries
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.parquet import DamagedFile
from gb_pipeline_tests.bars import day, minutes


@pytest.fixture
def store(tmp_path: Path) -> LakeStore:
    store = LakeStore.at(tmp_path)
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", 30))
    return store


def with_column(field: pa.Field) -> Dataset:
    bars = bars_dataset(Resolution.MINUTE)
    return dataclasses.replace(bars, columns=bars.columns.append(field))


def test_a_newer_column_is_null_wherever_a_file_lacks_it(store: LakeStore) -> None:
    files = store.tables.newest("bars_1m").files
    dataset = with_column(pa.field("venue", pa.string()))
    rows = reading.read(store.storage, dataset, files)
    assert rows["venue"].null_count() == rows.height == 30
    assert rows.columns == dataset.schema.names
    assert rows.drop("venue").equals(reading.read(store.storage, bars_dataset(Resolution.MINUTE), files))
    assert reading.scan(store.storage, dataset, files, ["venue", "open"]).collect().shape == (30, 2)


def test_a_file_that_lacks_a_column_which_never_is_null_is_damaged(store: LakeStore) -> None:
    files = store.tables.newest("bars_1m").files
    with pytest.raises(DamagedFile, match="no column venue"):
        reading.read(store.storage, with_column(pa.field("venue", pa.string(), nullable=False)), files)


def test_what_an_entry_carries_for_the_ledger_may_lack_a_newer_column(store: LakeStore) -> None:
    table = store.tables["bars_1m"]
    (entry,) = pending_entries(store.tables, table)
    whole = decode_rows(store.tables, table, entry)
    del entry.info["ledger"]["rows"]["calendar"]
    del _DECODED[table]
    older = decode_rows(store.tables, table, entry)
    assert older["calendar"].to_list() == [None]
    assert older.drop("calendar").equals(whole.drop("calendar"))
