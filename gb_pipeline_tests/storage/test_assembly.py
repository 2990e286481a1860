"""Columns of several files, or of stretches of them, decoded in one go: the same as each by itself, and no damage goes unseen."""

from __future__ import annotations

from pathlib import Path
from random import Random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.reading.lake import Lake
from gb_pipeline.storage import assembly, layouts, parquet
from gb_pipeline.storage.decoding import decode
from gb_pipeline_tests.bars import day, minutes

COLUMNS = ["timestamp", "open", "volume", "vwap", "known_at"]
# Of each day all rows, some within it, its last row; and of one of them all columns, which is read as a whole file.
STRETCHES = [[None, None, None], [(0, 90), (95, 212), (299, 300)], [None, (13, 14), None], [(0, 300)] * 3]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeStore:
    monkeypatch.setattr(parquet, "_PAGE_ROWS", 50)
    store = LakeStore.at(tmp_path / "lake")
    for text in ("2024-01-02", "2024-01-03", "2024-01-04"):
        store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day(text), minutes(text, 300))
    return store


def assembled(store: LakeStore, stretches: list[tuple[int, int] | None], names: list[str]) -> list[pa.Table] | None:
    snapshot = store.tables.newest("bars_1m")
    rows = snapshot.files.rows(named=True)
    parts = assembly.assemble(store.storage.files, "lake/bars_1m", rows, names, stretches, integers=True)
    if parts is None:
        return None
    return [part.table.slice(first, count) for part in parts for first, count in part.slices]


def one_by_one(store: LakeStore, stretches: list[tuple[int, int] | None], names: list[str]) -> list[pa.Table]:
    snapshot = store.tables.newest("bars_1m")
    return [
        decode(store.storage, snapshot.dataset, names, row, None, stretch, integers=True)
        for row, stretch in zip(snapshot.files.iter_rows(named=True), stretches, strict=True)
    ]


@pytest.mark.parametrize("stretches", STRETCHES)
@pytest.mark.parametrize("names", [COLUMNS, ["open"], ["withdrawn", "trade_count"]])
@pytest.mark.parametrize("at_once", [64 << 20, 0])
def test_files_that_are_decoded_together_are_what_each_is_by_itself(
    store, monkeypatch, stretches, names, at_once
) -> None:
    monkeypatch.setattr(assembly, "_AT_ONCE", at_once)
    found = assembled(store, stretches, names)
    assert found is not None
    assert [part.combine_chunks() for part in found] == [
        part.combine_chunks() for part in one_by_one(store, stretches, names)
    ]


def test_a_dictionary_may_come_first(store, monkeypatch) -> None:
    monkeypatch.setattr(parquet, "_WORTH_A_DICTIONARY", 1)
    still = minutes("2024-01-05", 300).with_columns(pl.col("open").first().alias(name) for name in PRICES)
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-05"), still)
    row = store.tables.newest("bars_1m").files.rows(named=True)[-1]
    metadata = pq.read_metadata(store.storage.root / "lake/bars_1m" / row["path"])
    assert metadata.row_group(0).column(metadata.schema.names.index("open")).has_dictionary_page
    for stretch in (None, (7, 211)):
        found = assembly.assemble(store.storage.files, "lake/bars_1m", [row], ["open"], [stretch], integers=True)
        assert found is not None
        assert set(found[0].table["open"].to_pylist()) == {still["open"].cast(pl.Decimal(18, 8)).to_physical()[0]}


@pytest.mark.parametrize("names", [COLUMNS, ["open"]])
@pytest.mark.parametrize("stretches", STRETCHES)
@pytest.mark.parametrize("seen_before", [True, False])
def test_no_bit_of_a_file_flips_unseen(store, monkeypatch, names, stretches, seen_before) -> None:
    """Whether where its pages lie is remembered from before or read from the damaged file."""
    # A file is decoded by its pages as well as as a whole.
    monkeypatch.setattr(assembly, "_MOST", 0.9 if names == ["open"] else 0.1)
    truth = one_by_one(store, stretches, names)
    path = store.storage.root / "lake/bars_1m" / store.tables.newest("bars_1m").files["path"][1]
    whole = path.read_bytes()
    refused = 0
    bits = Random(len(names)).sample(range(len(whole) * 8), 300)
    for bit in bits:
        layouts._known.clear()
        if seen_before:
            assembled(store, stretches, names)
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found = assembled(store, stretches, names)
        path.write_bytes(whole)
        refused += found is None
        assert found is None or found == truth
    # Whoever reads a few pages does not look at the others.
    assert refused > (250 if names == COLUMNS and stretches == STRETCHES[0] else 0)


def test_a_file_that_is_cut_short_or_swapped_is_named_though_it_was_read_before(store) -> None:
    lake, folder = Lake.open(store.storage.root, cache=False), store.storage.root / "lake/bars_1m"
    paths = store.tables.newest("bars_1m").files["path"].to_list()
    ask = {
        "start": "2024-01-02T01:00Z",
        "end": "2024-01-04T02:00Z",
        "as_float": True,
        "columns": ["timestamp", "close"],
    }
    truth = lake.bars("BTC-USD", "1m", **ask)
    first, second = ((folder / path).read_bytes() for path in paths[:2])
    for damaged in (first[:-200], second, b""):
        (folder / paths[0]).write_bytes(damaged)
        with pytest.raises(LakeError, match=paths[0].rsplit("/", 1)[-1]):
            lake.bars("BTC-USD", "1m", **ask)
    (folder / paths[0]).unlink()
    with pytest.raises(LakeError, match="missing"):
        lake.bars("BTC-USD", "1m", **ask)
    (folder / paths[0]).write_bytes(first)
    assert lake.bars("BTC-USD", "1m", **ask).equals(truth)


def test_many_files_are_remembered_within_bounds(store, monkeypatch) -> None:
    monkeypatch.setattr(layouts, "_MOST_KNOWN", 2)
    layouts._known.clear()
    for _ in range(3):
        assert assembled(store, [None] * 3, ["open"]) is not None
        assert len(layouts._known) <= 2
