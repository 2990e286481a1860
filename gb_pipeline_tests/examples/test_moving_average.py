"""The moving-average example: its strategy, and the project as Dagster loads it, on bars of a simulated exchange."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import dagster as dg
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import BacktestRun, Lake, Results
from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.home import prepare_home
from gb_pipeline.reading.pins import Replay
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.orchestration.conftest import Bench

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "moving_average"
START = datetime(2024, 1, 1, tzinfo=UTC)
BTC, ETH = "sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT"
BTC_TEST, ETH_TEST = "sim/moving_average/BTC-USDT", "sim/moving_average/ETH-USDT"


def load(name: str, folder: Path = EXAMPLE) -> ModuleType:
    """A module of the example, imported as Dagster does it: from its own folder, which is no package."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        for own in {path.stem for path in EXAMPLE.glob("*.py")} & (set(sys.modules) - before):
            del sys.modules[own]


strategy = load("moving_average")
backtest, plot = strategy.backtest, strategy.plot


def bars(closes: list[float]) -> pl.DataFrame:
    stamps = [START + timedelta(minutes=i) for i in range(len(closes))]
    return pl.DataFrame(
        {"timestamp": stamps, "close": closes}, schema={"timestamp": pl.Datetime("us", "UTC"), "close": pl.Float64}
    )


def test_it_is_in_the_market_one_bar_after_the_fast_average_rises_above_the_slow_one():
    result = backtest(bars([10, 10, 10, 20, 40, 40]), fast=1, slow=2, start=START)

    # Above from the fourth bar on, known at its close: only the step from 20 to 40 is earned.
    assert result.earned == pytest.approx(1.0)
    assert result.held == pytest.approx(3.0)
    assert result.trades == 1


def test_bars_before_the_start_feed_the_averages_and_earn_nothing():
    result = backtest(bars([10, 20, 40, 80, 80]), fast=1, slow=2, start=START + timedelta(minutes=4))

    assert result.curve.height == 1
    assert result.earned == 0.0


def test_a_falling_market_is_left():
    result = backtest(bars([100 * 0.99**i for i in range(100)]), fast=2, slow=5, start=START)

    assert (result.earned, result.trades, result.drawdown) == (0.0, 0, 0.0)
    assert result.held < -0.6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1, 1000), min_size=1, max_size=80))
def test_no_bar_changes_what_was_earned_before_it(closes):
    whole = backtest(bars(closes), fast=2, slow=4, start=START).curve
    shorter = backtest(bars(closes[:-1]), fast=2, slow=4, start=START).curve

    assert whole.head(len(closes) - 1).equals(shorter)


def test_the_plot_is_a_small_png():
    image = plot(backtest(bars([100 + i % 7 for i in range(3000)]), fast=2, slow=5, start=START), "X")
    assert image.startswith("![equity](data:image/png;base64,iVBOR")
    assert len(image) < 60_000


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A copy of the example, asking a simulated exchange, with an instance that its own dagster.yaml configures."""
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")))
    home = tmp_path / "home"
    prepare_home(home, folder / "dagster.yaml")
    with (
        Simulation(seed=5, symbols=["BTC-USDT", "ETH-USDT"]) as simulation,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        monkeypatch.setenv("GB_SIM_URL", simulation.url)
        monkeypatch.setenv("GB_CONFIG", str(folder))
        yield Bench(Settings.load(folder), load("definitions", folder).defs, instance, simulation)


def test_a_backtest_reads_its_day_from_the_lake_and_shows_its_equity(project: Bench) -> None:
    assert project.run(BTC, partitions=("2024-01-01", "2024-01-02")).success

    assert project.run(BTC_TEST, partitions=("2024-01-01", "2024-01-02")).success

    assert project.materialized(BTC_TEST) == {"2024-01-01", "2024-01-02"}
    shown = project.metadata(BTC_TEST, "2024-01-02")
    assert shown["dagster/partition_row_count"] == 1440
    assert shown["trades"] > 0
    assert shown["equity"].startswith("![equity](data:image/png;base64,")
    assert len(shown["equity"]) < 40_000
    bars = project.store.tables.newest("bars_1m")
    assert bars.select({"source": "sim"})["rows"].sum() == 2 * 1440


def test_its_numbers_are_those_of_the_strategy_over_the_days_before(project: Bench) -> None:
    days = ("2024-01-01", "2024-01-02")
    assert project.run(BTC, partitions=days).success
    assert project.run(BTC_TEST, partitions=days).success

    closes = Lake.open(project.settings.lake).bars("BTC-USDT", "1m", source="sim", as_float=True)
    expected = backtest(closes, fast=30, slow=120, start=datetime(2024, 1, 2, tzinfo=UTC))
    shown = project.metadata(BTC_TEST, "2024-01-02")
    assert shown["trades"] == expected.trades
    assert shown["return_percent"] == round(100 * expected.earned, 4)
    assert shown["hold_percent"] == round(100 * expected.held, 4)
    assert shown["drawdown_percent"] == round(100 * expected.drawdown, 4)

    # What came of it is kept beside the bars, and comes out again of the bars that it has pinned.
    results = Results.open(project.settings.lake)
    assert results.count(strategy="moving_average", parameters={"fast": 30}) == 2

    def again(run: BacktestRun, data: Mapping[str, Replay]) -> dict[str, pl.DataFrame]:
        [reader] = data.values()
        pinned = reader.bars("BTC-USDT", "1m", as_float=True)
        return {"equity": backtest(pinned, fast=30, slow=120, start=datetime(2024, 1, 2, tzinfo=UTC)).curve}

    assert results.replay(shown["run"], again).is_same

    # A backtest of the same bars again is another run on the same pin: pins do not grow with runs.
    pins = {pin.name for pin in results.lake.pins()}
    assert len(pins) == 2
    assert project.run(BTC_TEST, partitions=days).success
    assert results.count(strategy="moving_average") == 4
    assert {pin.name for pin in results.lake.pins()} == pins
    assert results.compare(shown["run"], project.metadata(BTC_TEST, "2024-01-02")["run"]).is_same


def test_a_day_without_bars_is_no_failure_of_its_backtest(project: Bench) -> None:
    project.run(BTC, partitions="2024-01-01")

    assert project.run(BTC_TEST, partitions="2024-01-20").success
    assert project.metadata(BTC_TEST, "2024-01-20")["status"] == "no bars"


def test_backtests_stand_beside_what_the_package_has_and_are_the_only_assets_with_automation(project: Bench) -> None:
    dg.Definitions.validate_loadable(project.definitions)

    specs = project.definitions.resolve_all_asset_specs()
    assert {spec.key.path[1] for spec in specs if spec.automation_condition is not None} == {"moving_average"}
    assert {"bars_1m", "bars_1m_compaction", "moving_average"} <= {spec.key.path[-2:][0] for spec in specs} | {
        spec.key.path[-1] for spec in specs
    }
    sensors = {item.name for item in project.definitions.get_repository_def().sensor_defs}
    assert sensors == {"backtests_follow_the_bars", "catalog_follows_the_lake", "compaction", "sim_bars_1m_healing"}


def test_the_newest_days_backtests_are_one_run_of_all_symbols(project: Bench) -> None:
    # A source that has ended: its newest day is known.
    file = project.settings.path
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["sources"]["sim"]["end"] = "2024-01-03"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    project.definitions = load("definitions", file.parent).defs
    backtests = dg.AssetSelection.groups("sim_moving_average")
    evaluated = dg.evaluate_automation_conditions(project.definitions, project.instance, backtests)
    assert evaluated.total_requested == 0
    project.run(BTC, ETH, partitions=("2024-01-01", "2024-01-02"))

    evaluated = dg.evaluate_automation_conditions(
        project.definitions, project.instance, backtests, cursor=evaluated.cursor
    )

    requested = {
        (path, partition)
        for path in (BTC_TEST, ETH_TEST)
        for partition in evaluated.get_requested_partitions(dg.AssetKey(path.split("/")))
    }
    assert requested == {(BTC_TEST, "2024-01-02"), (ETH_TEST, "2024-01-02")}
