"""A column that is declared later: no file is rewritten, other engines see it, and whoever does not know it may not write."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from gb_pipeline.catalog.projection import refresh_catalog
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import ALL
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.lake.verification import verify
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import reading
from gb_pipeline.storage.append import append
from gb_pipeline.storage.dataset import TIMESTAMP, Dataset, Period
from gb_pipeline_tests.bars import at, day, minutes

NOTES = Dataset(
    name="notes",
    columns=pa.schema([("source", pa.string()), ("at", TIMESTAMP), ("text", pa.string())]),
    key=("source", "at"),
    partition_by=("source",),
    order=("at",),
    statistics=("at",),
    time="at",
    period=Period.YEAR,
)


def with_field(field: pa.Field, dataset: Dataset = NOTES) -> Dataset:
    return dataclasses.replace(dataset, columns=dataset.columns.append(field))


WITH_AUTHOR = with_field(pa.field("author", pa.string()))


def note(moment: str, **more: Any) -> pl.DataFrame:
    row = {"source": "me", "at": at(moment), "text": "the halving is near", **more}
    return pl.DataFrame([row], schema_overrides={"at": pl.Datetime("us", "UTC")})


@pytest.fixture
def older(tmp_path: Path) -> LakeStore:
    """A lake of the older declaration, with a note."""
    store = LakeStore.at(tmp_path, datasets=[NOTES])
    append(store.tables["notes"], note("2024-01-02"))
    return store


@pytest.fixture
def newer(older: LakeStore) -> LakeStore:
    """The same lake, opened with the newer declaration."""
    return LakeStore(older.storage, datasets=[WITH_AUTHOR])


def rows_of(store: LakeStore) -> pl.DataFrame:
    newest = store.tables.newest("notes")
    return reading.read(store.storage, newest.dataset, newest.files).sort("at")


def test_an_older_lake_is_read_before_anything_is_written(newer: LakeStore) -> None:
    assert rows_of(newer)["author"].to_list() == [None]
    assert Lake(newer).sql("select author from notes").to_series().to_list() == [None]
    refresh_catalog(newer)
    with duckdb.connect(str(newer.storage.catalog), read_only=True) as catalog:
        assert catalog.sql("select author, text from notes").fetchall() == [(None, "the halving is near")]


def test_the_next_commit_says_it_to_other_engines_and_rewrites_nothing(newer: LakeStore) -> None:
    before = set(newer.tables.newest("notes").files["path"])
    append(newer.tables["notes"], note("2024-01-03", author="Ann"))
    assert before < set(newer.tables.newest("notes").files["path"])
    assert rows_of(newer)["author"].to_list() == [None, "Ann"]
    address = newer.storage.table("notes")
    assert pl.scan_delta(address).sort("at").collect()["author"].to_list() == [None, "Ann"]
    table = DeltaTable(address)
    assert [field.name for field in table.schema().fields][-1] == "author"
    assert table.metadata().id == newer.tables.newest("notes").table_id
    assert sorted(Lake(newer).sql("select coalesce(author, '?') as author from notes")["author"]) == ["?", "Ann"]
    refresh_catalog(newer)
    with duckdb.connect(str(newer.storage.catalog), read_only=True) as catalog:
        assert catalog.sql('select author from notes order by "at"').fetchall() == [(None,), ("Ann",)]


def test_it_is_said_once_and_survives_a_checkpoint_and_compaction(newer: LakeStore) -> None:
    append(newer.tables["notes"], note("2024-01-03", author="Ann"))
    newer.tables["notes"].checkpoint()
    again = LakeStore(newer.storage, datasets=[WITH_AUTHOR])
    append(again.tables["notes"], note("2024-01-04", author="Bob"))
    assert [entry.metadata is not None for entry in again.tables["notes"].entries(0, 2)] == [True, True, False]
    for partition in again.compaction_candidates(min_files=2):
        again.compact(partition)
    assert again.tables.newest("notes").files.height == 1
    assert rows_of(again)["author"].to_list() == [None, "Ann", "Bob"]
    assert verify(again).ok


def test_a_second_column_is_added_to_the_first(newer: LakeStore) -> None:
    append(newer.tables["notes"], note("2024-01-03", author="Ann"))
    newer.tables["notes"].checkpoint()
    third = LakeStore(newer.storage, datasets=[with_field(pa.field("mood", pa.int64()), WITH_AUTHOR)])
    append(third.tables["notes"], note("2024-01-04", author="Bob", mood=7))
    assert rows_of(third).select("author", "mood").rows() == [(None, None), ("Ann", None), ("Bob", 7)]
    assert pl.scan_delta(third.storage.table("notes")).sort("at").collect()["mood"].to_list() == [None, None, 7]


def test_whoever_does_not_know_a_column_reads_on_and_may_not_write(older: LakeStore, newer: LakeStore) -> None:
    append(newer.tables["notes"], note("2024-01-03", author="Ann"))
    append(newer.tables["notes"], note("2024-01-04", author="Bob"))
    assert rows_of(older)["text"].to_list() == ["the halving is near"] * 3
    with pytest.raises(LakeError, match=r"column author that this gb_pipeline does not know(.|\n)*upgrade gb_pipeline"):
        append(older.tables["notes"], note("2024-01-05"))
    (candidate,) = older.compaction_candidates(min_files=2)
    with pytest.raises(LakeError, match="column author"):
        older.compact(candidate)
    assert rows_of(newer)["author"].to_list() == [None, "Ann", "Bob"]


@pytest.mark.parametrize(
    ("dataset", "refusal"),
    [
        (with_field(pa.field("author", pa.string(), nullable=False)), "rows without column author"),
        (
            dataclasses.replace(NOTES, columns=NOTES.columns.set(2, pa.field("text", pa.int64()))),
            "column text of table notes is stored as string, not as long",
        ),
        (dataclasses.replace(NOTES, period=None), "partitioned by source, period, not by source"),
    ],
    ids=["required", "type", "partitions"],
)
def test_what_is_no_optional_column_is_refused(older: LakeStore, dataset: Dataset, refusal: str) -> None:
    before = sorted(path for path in older.storage.root.rglob("*"))  # type: ignore[union-attr]
    other = LakeStore(older.storage, datasets=[dataset])
    columns = [name for name in other.tables.newest("notes").dataset.columns.names if name != "author"]
    with pytest.raises(LakeError, match=refusal):
        append(other.tables["notes"], note("2024-01-05").select(columns))
    assert sorted(path for path in older.storage.root.rglob("*")) == before  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["bars_1m", "sessions"])
def test_a_column_of_bars_and_of_their_ledger_is_added_too(tmp_path: Path, name: str) -> None:
    LakeStore.at(tmp_path).write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 30))
    before = Lake.open(tmp_path).fingerprint().whole
    store = LakeStore.at(tmp_path, datasets=[with_field(pa.field("venue", pa.string()), ALL[name])])
    store.compact(*store.compaction_candidates(min_files=1))
    assert Lake(store).fingerprint().whole == before
    assert verify(store).ok
