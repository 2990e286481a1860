"""Inputs from the lake: an asset gets the bars of its partition as the frame that its signature names, or a clear error."""

from __future__ import annotations

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gb_pipeline.orchestration.lake_io_manager import LakeIOManager
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.reading.lake import Lake

BTC = ["sim", "bars_1m", "BTC-USDT"]
DAYS = ("2024-01-01", "2024-01-02")


@pytest.fixture
def filled(build_bench):
    bench = build_bench()
    assert bench.run("sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT", partitions=DAYS).success
    return bench


def run(bench, annotation, key=BTC, keys=DAYS, *, io: LakeIOManager | None = None, partitioned=True, **metadata):
    """What an asset in a project of its own gets, or why its run failed."""
    got: list = []
    group = SeriesGroup.of(bench.settings, "sim", "1m")
    partitions = group.partitions if partitioned else None

    def keep(bars):
        got.append(bars)

    keep.__annotations__.update(bars=annotation, **{"return": None})
    asset = dg.asset(
        name="mine",
        partitions_def=partitions,
        ins={"bars": dg.AssetIn(dg.AssetKey(key), input_manager_key="bars_io", metadata=metadata)},
    )(keep)
    upstream = dg.AssetSpec(dg.AssetKey(key), partitions_def=partitions)
    resources = {"bars_io": io or LakeIOManager.of(bench.settings)}
    job = dg.Definitions(assets=[upstream, asset], resources=resources).resolve_implicit_global_asset_job_def()
    tags = (
        {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]}
        if partitioned
        else {}
    )
    result = job.execute_in_process(instance=bench.instance, tags=tags, raise_on_error=False)
    if result.success:
        return got[0]
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    return str(failed.step_failure_data.error.cause or failed.step_failure_data.error)


def test_each_kind_of_frame_holds_the_bars_of_the_partitions(filled):
    expected = Lake.open(filled.settings.lake).bars("BTC-USDT", "1m", "2024-01-01", "2024-01-03", source="sim")
    frames = {kind: run(filled, kind) for kind in (pl.DataFrame, pl.LazyFrame, pa.Table, pd.DataFrame)}

    assert expected.height == 2 * 1440
    assert frames[pl.DataFrame].equals(expected)
    assert frames[pl.LazyFrame].collect().equals(expected)
    assert pl.from_arrow(frames[pa.Table])["close"].equals(expected["close"])
    assert frames[pd.DataFrame]["close"].tolist() == [float(value) for value in expected["close"]]
    assert str(frames[pd.DataFrame].index.tz) == "UTC"


def test_one_partition_is_one_session_and_options_are_those_of_reading(filled):
    bars = run(filled, pl.DataFrame, keys=("2024-01-02", "2024-01-02"), columns=["timestamp", "close"], as_float=True)

    assert bars.schema == {"timestamp": pl.Datetime("us", "UTC"), "close": pl.Float64}
    assert str(bars["timestamp"].dt.date().unique().to_list()) == "[datetime.date(2024, 1, 2)]"


def test_the_dataset_gives_all_series_and_an_input_without_partitions_everything(filled):
    every = run(filled, pl.DataFrame, key=["sim", "bars_1m"], partitioned=False)

    assert every.group_by("symbol").len().sort("symbol").rows() == [("BTC-USDT", 2880), ("ETH-USDT", 2880)]


def test_it_needs_nothing_but_the_lake_once_the_catalog_knows_the_source(filled):
    bare = LakeIOManager(root=str(filled.settings.lake))
    told = run(filled, pl.DataFrame, io=bare)
    assert "which calendar the source sim has is not known" in told
    assert "materialise `catalog` once" in told

    assert filled.run("catalog").success
    assert run(filled, pl.DataFrame, io=bare).height == 2880


@pytest.mark.parametrize("kind", [pl.DataFrame, pl.LazyFrame, pa.Table, pd.DataFrame])
def test_a_session_without_bars_gives_no_rows(build_bench, kind):
    bench = build_bench(symbols=[{"code": "BTC-USDT", "listed_from": "2024-01-02"}])
    assert bench.run("sim/bars_1m/BTC-USDT", partitions=DAYS).success

    bars = run(bench, kind, keys=("2024-01-01", "2024-01-01"))
    whole = run(bench, kind)

    bars, whole = (frame.collect() if kind is pl.LazyFrame else frame for frame in (bars, whole))
    assert (len(bars), len(whole)) == (0, 1440)
    if kind is pa.Table:
        assert bars.schema.names == whole.schema.names
    else:
        assert list(bars.columns) == list(whole.columns)


def test_a_session_without_bars_has_the_columns_that_are_asked_for(build_bench):
    bench = build_bench(symbols=[{"code": "BTC-USDT", "listed_from": "2024-01-02"}])
    assert bench.run("sim/bars_1m/BTC-USDT", partitions=DAYS).success

    empty, whole = (run(bench, pd.DataFrame, keys=(day, day), columns=["close"]) for day in DAYS)

    assert (len(empty), len(whole)) == (0, 1440)
    assert (list(empty.columns), empty.index.name, empty.index.tz) == (["close"], whole.index.name, whole.index.tz)


def test_a_session_that_is_not_stored_is_an_error_that_names_it(filled):
    told = run(filled, pl.DataFrame, keys=("2024-01-02", "2024-01-06"))

    assert "sim:BTC-USDT 1m: 4 sessions are not stored: 2024-01-03, 2024-01-04, 2024-01-05, ..." in told
    assert "materialise these partitions of the bars first" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotation": int}, "the input bars is annotated with builtins.int, which bars cannot be read as"),
        ({"colums": ["close"]}, "the metadata of input bars says colums, which reading bars does not understand"),
        ({"key": ["sim", "corporate_actions"]}, "sim/corporate_actions is no series of bars"),
        ({"key": ["sim", "bars_7m", "BTC-USDT"]}, "sim/bars_7m/BTC-USDT is no series of bars"),
        ({"key": ["simm", "bars_1m", "BTC-USDT"]}, "which calendar the source simm has is not known"),
        ({"key": ["sim", "bars_1m", "DOGE-USDT"]}, "DOGE-USDT"),
    ],
)
def test_what_cannot_be_understood_is_said(filled, change, message):
    assert message in run(filled, **{"annotation": pl.DataFrame} | change)


def test_it_writes_nothing_and_says_so(filled):
    @dg.asset(io_manager_key="bars_io")
    def mine() -> int:
        return 1

    resources = {"bars_io": LakeIOManager.of(filled.settings)}
    result = dg.materialize([mine], resources=resources, instance=filled.instance, raise_on_error=False)

    (failed,) = (event for event in result.all_events if event.is_step_failure)
    assert "mine returned int, and this I/O manager only reads" in str(failed.step_failure_data.error)
