"""Files that are chosen by an expression of Arrow: never one too few, and of large tables hardly one too many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import and_, or_

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline import Resolution
from gb_pipeline.lake.datasets import bars_dataset
from gb_pipeline.storage import file_pruning
from gb_pipeline.storage.file_pruning import FilePruner

MINUTES, DAYS = bars_dataset(Resolution.MINUTE), bars_dataset(Resolution.DAY)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
SYMBOLS = ["A", "B'; drop", 'C"', "D\\", "É", "BTC-USD"]
MOMENTS = [FIRST + timedelta(hours=hour) for hour in range(6)]

moments, symbols = st.sampled_from(MOMENTS), st.sampled_from(SYMBOLS)
rows = st.tuples(symbols, moments, st.sampled_from(MOMENTS[:3]))
# A file, and whether its rows hold now.
files = st.lists(st.tuples(st.lists(rows, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=8)


def scalar(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", "UTC"))


def compared(name: str, value: pa.Scalar, how: str) -> ds.Expression:
    field = ds.field(name)
    return {"==": field == value, "!=": field != value, "<": field < value, ">=": field >= value}[how]


comparisons = st.one_of(
    st.builds(compared, st.just("symbol"), symbols.map(pa.scalar), st.sampled_from(["==", "!=", "<", ">="])),
    st.builds(compared, st.sampled_from(["timestamp", "known_at", "superseded_at"]), moments.map(scalar),
              st.sampled_from(["==", "!=", "<", ">="])),
    st.lists(symbols, max_size=3).map(lambda names: ds.field("symbol").isin(pa.array(names, pa.string()))),
    # As DuckDB writes `in`.
    st.lists(symbols, min_size=1, max_size=3).map(
        lambda names: pc.if_else(ds.field("symbol").is_valid(), ds.field("symbol").isin(names), pa.scalar(None, pa.bool_()))),
    st.sampled_from(["superseded_at", "timestamp", "close"]).map(lambda name: ds.field(name).is_null()),
    st.booleans().map(lambda value: ds.field("is_current") == value),
    st.just(ds.field("close") > pa.scalar(3, pa.decimal128(18, 8))),
)  # fmt: skip
conditions = st.recursive(
    comparisons,
    lambda parts: st.one_of(st.builds(and_, parts, parts), st.builds(or_, parts, parts), parts.map(lambda part: ~part)),
    max_leaves=6,
)


def tables(dataset, contents) -> list[pa.Table]:
    """The rows of each file."""
    made = []
    for drawn, is_current in contents:
        one = "symbol" in dataset.partitions
        rows = [(drawn[0][0] if one else symbol, *moments) for symbol, *moments in drawn]
        frame = pl.DataFrame(rows, schema=["symbol", "timestamp", "known_at"], orient="row").with_columns(
            superseded_at=None if is_current else pl.col("known_at") + pl.duration(hours=1),
            is_current=is_current, source=pl.lit("sim"), period=pl.lit("2024-01"), close=pl.lit(None),
        )  # fmt: skip
        columns = [pa.array(frame[name].to_list(), dataset.schema.field(name).type) if name in frame.columns
                   else pa.nulls(frame.height, dataset.schema.field(name).type) for name in dataset.schema.names]  # fmt: skip
        made.append(pa.Table.from_arrays(columns, schema=pa.schema([f.with_nullable(True) for f in dataset.schema])))
    return made


def listed(dataset, made: list[pa.Table], unknown: int) -> pl.DataFrame:
    """What a log says of them; nothing of the first few."""
    lines = []
    for number, table in enumerate(made):
        frame = pl.DataFrame(table)
        line = {"path": str(number), "size": 1, "rows": frame.height}
        line |= {name: frame[name][0] for name in dataset.partitions}
        for name in dataset.indexed:
            known = number >= unknown
            line |= {
                f"min.{name}": frame[name].min() if known else None,
                f"max.{name}": frame[name].max() if known else None,
            }
        lines.append(line)
    return pl.DataFrame(lines, schema=dataset.no_files.schema)


@pytest.mark.parametrize("dataset", [MINUTES, DAYS], ids=lambda dataset: dataset.name)
@pytest.mark.parametrize("questions", [256, 2])
@given(contents=files, condition=conditions, unknown=st.integers(0, 2))
def test_every_file_that_holds_such_a_row_is_chosen(dataset, questions, contents, condition, unknown):
    made = tables(dataset, contents)
    holding = {str(number) for number, table in enumerate(made) if table.filter(condition).num_rows}
    with pytest.MonkeyPatch.context() as patch:
        # With two questions at a time, ranges are asked about in groups.
        patch.setattr(file_pruning, "_QUESTIONS", questions)
        chosen = FilePruner(dataset, listed(dataset, made, unknown)).select(condition)
    assert holding <= set(chosen["path"])


@pytest.fixture(scope="module")
def many() -> FilePruner:
    """500 symbols on 20 days, a file each."""
    days = pl.DataFrame(
        {"day": [FIRST + timedelta(days=day) for day in range(20)]}, schema={"day": pl.Datetime("us", "UTC")}
    )
    series = pl.DataFrame({"symbol": [f"S{number:03}" for number in range(500)]})
    frame = series.join(days, how="cross").with_columns(
        pl.lit("sim").alias("source"), pl.lit("2024-01").alias("period")
    )
    end = pl.col("day") + pl.duration(minutes=1439)
    filled = frame.select(
        pl.format("{}/{}", "symbol", "day").alias("path"), pl.lit(1, pl.Int64).alias("size"), pl.lit(1440, pl.Int64).alias("rows"),
        "source", "symbol", "period", pl.lit(True).alias("is_current"),
        pl.col("day").alias("min.timestamp"), end.alias("max.timestamp"), end.alias("min.known_at"), end.alias("max.known_at"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("min.superseded_at"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("max.superseded_at"),
    )  # fmt: skip
    return FilePruner(MINUTES, filled.select(MINUTES.no_files.columns).cast(MINUTES.no_files.schema))


symbol, time = ds.field("symbol"), ds.field("timestamp")
one_day = (time >= scalar(FIRST + timedelta(days=3))) & (time < scalar(FIRST + timedelta(days=4)))


@pytest.mark.parametrize(("condition", "files"), [
    (symbol == "S007", 20), ((symbol == "S007") & one_day, 1), (one_day, 500), (symbol.isin(["S007", "S499"]) & one_day, 2),
    ((symbol == "none"), 0), ((symbol >= "S490") & one_day, 10), (time < scalar(FIRST), 0), (symbol == "S000", 20),
    (((symbol == "S001") | (symbol == "S002")) & one_day, 2), (ds.field("close") > 3, 10_000), (~ds.field("is_current"), 0),
    ((symbol == "S007") & (ds.field("superseded_at").is_null() | (ds.field("superseded_at") > scalar(FIRST))), 20),
])  # fmt: skip
def test_of_many_files_only_those_are_chosen_that_may_hold_such_rows(many, condition, files):
    assert many.select(condition).height == files


def test_without_a_condition_all_files_are_chosen(many):
    assert many.select(None) is many.files
