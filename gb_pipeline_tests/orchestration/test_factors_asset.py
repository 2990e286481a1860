"""Factor sets in Dagster: a partition for each month, checks that mean something, and runs that follow what is stored."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.orchestration.factor_sensor import NAME
from gb_pipeline_tests.bars import at
from gb_pipeline_tests.orchestration.conftest import Bench

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
ASSET = "factors/trend"
MONTHS = ("2024-01", "2024-02")
SET = {
    "source": "sim",
    "start": "2024-01-10",
    "expressions": {"mean": "Mean($close, 3)", "up": "$close > Ref($close, 1)"},
}


@pytest.fixture
def factors(build_bench: Callable[..., Bench]) -> Bench:
    bench = build_bench(settings={"factors": {"trend": SET}}, resolutions=["1d"])
    put(bench, {"BTC-USDT": 100.0, "ETH-USDT": 50.0})
    return bench


def put(bench: Bench, closes: dict[str, float]) -> None:
    """Bars of January and half of February, which rise by 1 a day."""
    days = pl.datetime_range(at("2024-01-01"), at("2024-02-15"), "1d", time_zone="UTC", eager=True).cast(
        pl.Datetime("us", "UTC")
    )
    frames = [
        pl.DataFrame({"timestamp": days}).with_columns(
            close=close + pl.int_range(pl.len()).cast(pl.Float64), symbol=pl.lit(symbol)
        )
        for symbol, close in closes.items()
    ]
    close = pl.col("close")
    frame = pl.concat(frames).with_columns(open=close, high=close + 1, low=close - 1, volume=pl.lit(5.0))
    Lake(bench.store).put(frame, source="sim", resolution="1d")


def passed(bench: Bench, result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {name: item.passed for (_, _, name), item in bench.checks(result).items()}


def tick(bench: Bench, cursor: str | None = None) -> tuple[list[tuple[str, str]], str | None]:
    """The ranges that the sensor requests, and its cursor."""
    sensor = next(item for item in bench.definitions.sensors or () if item.name == NAME)
    assert isinstance(sensor, dg.SensorDefinition)
    repository = bench.definitions.get_repository_def()
    with dg.build_sensor_context(instance=bench.instance, cursor=cursor, repository_def=repository) as context:
        found = sensor.evaluate_tick(context)
    tags = [request.tags for request in found.run_requests or ()]
    starts, ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [(item[starts], item[ends]) for item in tags], found.cursor


def test_a_run_stores_months_of_a_set_and_says_what_they_were_computed_from(factors: Bench) -> None:
    result = factors.run(ASSET, partitions=MONTHS)

    assert result.success
    assert factors.materialized(ASSET) == set(MONTHS)
    assert passed(factors, result) == {"complete": True, "numbers": True, "reproducible": True}
    rows = Lake(factors.store).factors("trend")
    seen = [factors.metadata(ASSET, month) for month in MONTHS]
    assert [item["dagster/partition_row_count"] for item in seen] == [2 * 22, 2 * 16]
    assert rows.height == sum(item["dagster/partition_row_count"] for item in seen)
    assert rows.row(0) == (at("2024-01-10").date(), "BTC-USDT", 107.0, True)
    assert all(len(str(item["data_fingerprint"])) == 64 for item in seen)


def test_a_symbol_of_the_universe_without_numbers_and_a_factor_without_numbers_turn_their_checks_red(
    build_bench: Callable[..., Bench],
) -> None:
    long = SET | {"expressions": {"mean": "Mean($close, 3)", "far": "Ref($close, 300)"}}
    bench = build_bench(settings={"factors": {"trend": long}}, resolutions=["1d"])
    put(bench, {"BTC-USDT": 100.0})

    result = bench.run(ASSET, partitions="2024-01")

    assert passed(bench, result) == {"complete": False, "numbers": False, "reproducible": True}
    assert bench.checks(result)["trend", "None", "complete"].metadata["count"].value == 22


def test_a_set_that_comes_out_otherwise_each_time_is_not_reproducible(
    build_bench: Callable[..., Bench], tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unsteady_signals.py").write_text(
        "import numpy as np\n"
        "from gb_pipeline import Pipeline, EquityPricing, window_factor\n"
        "noise = window_factor(lambda own: np.random.default_rng().random(len(own)), [EquityPricing.close], 2)\n"
        "pipeline = Pipeline({'noise': noise})\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    unsteady = {"source": "sim", "start": "2024-01-10", "pipeline": "unsteady_signals:pipeline"}
    bench = build_bench(settings={"factors": {"trend": unsteady}}, resolutions=["1d"])
    put(bench, {"BTC-USDT": 100.0, "ETH-USDT": 50.0})

    assert passed(bench, bench.run(ASSET, partitions="2024-01"))["reproducible"] is False


def test_an_expression_that_cannot_be_read_fails_its_own_run_and_no_page(build_bench: Callable[..., Bench]) -> None:
    broken = SET | {"expressions": {"mean": "Mean($closs, 3)"}}
    bench = build_bench(settings={"factors": {"trend": broken}}, resolutions=["1d"])
    put(bench, {"BTC-USDT": 100.0})

    spec = next(item for item in bench.definitions.resolve_all_asset_specs() if item.key.path == ["factors", "trend"])
    assert "there is no $closs" in str(spec.description)
    assert not bench.run(ASSET, partitions="2024-01").success
    assert bench.materialized(ASSET) == set()


def test_the_sensor_asks_for_what_was_never_computed_and_for_months_whose_bars_were_corrected(factors: Bench) -> None:
    requested, cursor = tick(factors)
    assert requested == [("2024-01", "2024-03")]
    assert cursor is None, "what is requested may fail: it is looked at again"
    assert factors.run(ASSET, partitions=requested[0]).success
    requested, cursor = tick(factors)
    assert requested == []
    assert cursor is not None

    put(factors, {"BTC-USDT": 200.0})
    assert tick(factors, cursor)[0] == [("2024-01", "2024-02")]
    assert factors.run(ASSET, partitions=MONTHS).success
    assert factors.metadata(ASSET, "2024-01")["restated"] == 22
    assert Lake(factors.store).factors("trend").row(0)[2] == 207.0
    assert tick(factors, cursor)[0] == []
