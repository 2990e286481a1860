"""Decimals read as floats and as whole numbers: whatever lies in which file, they are what the decimals say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, Precision
from gb_pipeline.storage import footers, layouts, numbers, parquet, reading
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline.storage.numbers import Numbers, converted
from gb_pipeline.storage.pieces import single_piece
from gb_pipeline.storage.snapshot import index_files
from gb_pipeline_tests.bars import day, minutes

START = datetime(2024, 1, 2, tzinfo=UTC)
ORDINARY = st.integers(-(10**12), 10**12)
# Beyond 53 bits a float is not the integer any more.
HUGE = st.integers(10**18 - 50, 10**18 - 1) | st.integers(2**53 - 3, 2**53 + 3).map(lambda units: -units)


def made(store: LakeStore, dataset: Dataset, rows: pl.DataFrame, number: int) -> dict[str, Any]:
    """A file of some rows: what the log would say of it."""
    piece = single_piece(dataset, {}, rows)
    encoded = parquet.encode(dataset, piece.table(dataset))
    name = f"{number}/{encoded.name}"
    store.storage.files.write(f"{store.storage.table_name(dataset.name)}/{name}", encoded.data)
    partitions = {"source": "mine", "symbol": f"S{number}", "period": "2024-01", "is_current": "true"}
    return {"path": name, "size": len(encoded.data), "partitionValues": partitions, "stats": _json(piece.statistics)}


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def frame(
    dataset: Dataset, minutes: list[int], units: list[int], vwap: list[int | None], precision: Precision
) -> pl.DataFrame:
    stamps = pl.Series([START + timedelta(minutes=minute) for minute in minutes], dtype=pl.Datetime("us", "UTC"))
    numbers = pl.Series([Decimal(unit).scaleb(-8) for unit in units], dtype=precision.decimal)
    prices = pl.Series([None if unit is None else Decimal(unit).scaleb(-8) for unit in vwap], dtype=precision.decimal)
    columns = {"timestamp": stamps, **dict.fromkeys((*PRICES, "volume"), numbers), "vwap": prices}
    columns |= {"fetched_at": stamps, "known_at": stamps}
    types = dataset.polars
    return pl.DataFrame(
        [
            columns.get(name, pl.Series([None] * len(minutes), dtype=types[name])).alias(name)
            for name in dataset.file_schema.names
        ]
    )


FILE = st.lists(
    st.tuples(st.integers(0, 300), ORDINARY | HUGE | ORDINARY | ORDINARY, st.none() | ORDINARY | HUGE),
    min_size=1,
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(FILE, min_size=1, max_size=5),
    in_order=st.booleans(),
    plain=st.booleans(),
    edges=st.tuples(st.integers(-5, 305), st.integers(-5, 305)),
    precision=st.sampled_from([Precision.STANDARD] * 4 + [Precision.WIDE]),
    large=st.sampled_from([0, 8_192]),
)
def test_numbers_are_what_the_decimals_say(
    tmp_path_factory, monkeypatch, contents, in_order, plain, edges, precision, large
):
    """Of any files, in order of time or not, some of which a range cuts, with nulls and with numbers of more than 53 bits."""
    monkeypatch.setattr(numbers, "_LARGE", large)
    monkeypatch.setattr(layouts, "_STEP", 3)
    monkeypatch.setattr(parquet, "_PAGE_ROWS", 2)
    store = LakeStore.at(tmp_path_factory.mktemp("lake"))
    dataset = bars_dataset(Resolution.MINUTE, precision)
    adds = []
    for number, rows in enumerate(contents):
        times, units, vwap = zip(*(sorted(rows, key=lambda row: row[0]) if in_order else rows), strict=True)
        vwap = [7 * unit % 10**10 for unit in units] if plain else list(vwap)
        adds.append(made(store, dataset, frame(dataset, list(times), list(units), vwap, precision), number))
    files = index_files(dataset, adds)
    between = "timestamp", *(START + timedelta(minutes=edge) for edge in sorted(edges))

    for columns in (["symbol", "timestamp", "open", "vwap", "trade_count", "withdrawn"], ["close"], ["source"]):
        read = [reading.read(store.storage, dataset, files, columns, between=between, numbers=form) for form in Numbers]
        assert dict(zip(Numbers, read, strict=True))[Numbers.DECIMALS].columns == columns
        decimals, floats, units = (dict(zip(Numbers, read, strict=True))[form] for form in Numbers)
        standard = precision is Precision.STANDARD
        exact = pl.Decimal(18, 8)
        assert floats.equals(decimals.with_columns(pl.col(pl.Decimal).cast(pl.Float64)))
        assert units.equals(decimals.with_columns(pl.col(exact).to_physical().cast(pl.Int64)) if standard else decimals)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(FILE, min_size=1, max_size=4),
    shares=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=4),
    rows_of_a_group=st.sampled_from([3, 64]),
    rows_of_a_page=st.sampled_from([1, 2, 4_096]),
    edges=st.none() | st.tuples(st.integers(-5, 305), st.integers(-5, 305)),
)
def test_a_stretch_of_a_file_is_those_of_its_rows(
    tmp_path_factory, contents, shares, rows_of_a_group, rows_of_a_page, edges
):
    store = LakeStore.at(tmp_path_factory.mktemp("lake"))
    dataset = bars_dataset(Resolution.MINUTE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parquet, "ROW_GROUP_ROWS", rows_of_a_group)
        patched.setattr(parquet, "_PAGE_ROWS", rows_of_a_page)
        adds = [
            made(store, dataset, frame(dataset, *map(list, zip(*rows, strict=True)), Precision.STANDARD), number)
            for number, rows in enumerate(contents)
        ]
    files = index_files(dataset, adds)
    stretches = [
        (int(min(share) * len(rows)), int(max(share) * len(rows)))
        for share, rows in zip(shares, contents, strict=False)
    ]
    columns = ["timestamp", "open", "vwap"]
    whole = [reading.read(store.storage, dataset, file, columns) for file in files.iter_slices(1)]
    expected = pl.concat([rows.slice(first, end - first) for rows, (first, end) in zip(whole, stretches, strict=True)])
    between = None
    if edges is not None:
        between = "timestamp", *(START + timedelta(minutes=edge) for edge in sorted(edges))
        expected = expected.filter((pl.col("timestamp") >= between[1]) & (pl.col("timestamp") < between[2]))
    for form in Numbers:
        read = reading.read(store.storage, dataset, files, columns, between=between, numbers=form, stretches=stretches)
        assert read.equals(converted(expected, form))


def test_a_float_is_the_nearest_one_to_the_decimal(tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    dataset = bars_dataset(Resolution.MINUTE)
    units = [7, 10**8 + 1, 123_456_789_012_345, 2**53 - 1, -(2**53) + 1] * 60
    rows = frame(dataset, list(range(300)), units, [None] * 300, Precision.STANDARD)
    files = index_files(dataset, [made(store, dataset, rows, 0)])
    read = reading.read(store.storage, dataset, files, ["open"], numbers=Numbers.FLOATS)["open"]
    assert read.to_list() == [float(Decimal(unit).scaleb(-8)) for unit in units]


def test_the_footer_that_is_read_says_all_that_the_files_own_does_but_that_integers_are_decimals(
    tmp_path: Path,
) -> None:
    store = LakeStore.at(tmp_path)
    store.write_bars("sim", "BTC-USD", Resolution.MINUTE, day("2024-01-02"), minutes("2024-01-02", 300))
    (path,) = (tmp_path / "lake" / "bars_1m").rglob("*.parquet")
    data = path.read_bytes()
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") : -8]
    whole, read = pq.read_metadata(path), footers.integers_for_decimals(footer)
    assert read is not None
    narrow = [
        field.with_type(pa.int64()) if pa.types.is_decimal(field.type) else field
        for field in whole.schema.to_arrow_schema()
    ]
    assert read.schema.to_arrow_schema() == pa.schema(narrow)
    told = [{**item.to_dict(), "columns": None} for item in (whole, read)]
    assert {**told[0], "serialized_size": 0} == {**told[1], "serialized_size": 0}
    for group in range(whole.num_row_groups):
        for column in range(whole.num_columns):
            parts = [item.row_group(group).column(column) for item in (whole, read)]
            facts = [
                (part.data_page_offset, part.total_compressed_size, part.encodings, part.num_values) for part in parts
            ]
            assert facts[0] == facts[1]


@pytest.mark.parametrize(
    "footer", [b"", b"\x15\x04", b"\x15\x04\x19\xfc", b"\xff" * 50, b"\x15\x04\x19\x2c" + b"\xff" * 30]
)
def test_a_footer_that_is_laid_out_otherwise_is_left_to_arrow(footer: bytes) -> None:
    assert footers.integers_for_decimals(footer) is None
