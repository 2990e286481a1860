"""The breakout example: its strategy, and a project that reads the lake of another one."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import dagster as dg
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline import Lake
from gb_pipeline.cli.app import run
from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline.simulation import Simulation

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "breakout"
GUIDE = EXAMPLE.parents[1] / "docs" / "downstream.md"
START = datetime(2024, 1, 1, tzinfo=UTC)


def load(name: str) -> ModuleType:
    """A module of the example, imported anew from its folder."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        return importlib.import_module(f"breakout.{name}")
    finally:
        sys.path.remove(str(EXAMPLE))
        for module in [module for module in sys.modules if module.split(".")[0] == "breakout"]:
            del sys.modules[module]


backtest = load("strategy").backtest


def bars(*days: list[float], symbol: str = "X") -> pl.DataFrame:
    """Days of bars, each as high as it closes."""
    stamps = [START + timedelta(days=day, minutes=i) for day, closes in enumerate(days) for i in range(len(closes))]
    closes = [close for day in days for close in day]
    schema = {"symbol": pl.String, "timestamp": pl.Datetime("us", "UTC"), "high": pl.Float64, "close": pl.Float64}
    return pl.DataFrame(
        {"symbol": [symbol] * len(closes), "timestamp": stamps, "high": closes, "close": closes}, schema=schema
    )


def test_it_buys_the_first_close_above_the_high_before_and_sells_the_last_one():
    [row] = backtest(bars([10, 12, 11], [11, 12, 13, 20, 26])).to_dicts()

    assert (row["session"], row["bars"], row["level"]) == (date(2024, 1, 2), 5, 12)
    assert (row["entered"], row["entry"], row["exit"]) == (START + timedelta(days=1, minutes=2), 13, 26)
    assert row["earned"] == pytest.approx(1.0)


def test_a_session_that_stays_below_earns_nothing_and_the_first_one_is_left_out():
    [row] = backtest(bars([10, 12], [11, 12])).to_dicts()
    assert (row["entered"], row["entry"], row["earned"]) == (None, None, 0.0)
    assert backtest(bars([10, 12])).is_empty()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(1, 1000), min_size=1, max_size=20), min_size=2, max_size=5))
def test_symbols_and_sessions_do_not_look_at_each_other(days):
    mixed = pl.concat([bars(*days), bars(*days[::-1], symbol="Y")]).sort("timestamp", "symbol", maintain_order=True)
    alone = [backtest(bars(*days)), backtest(bars(*days[::-1], symbol="Y"))]
    assert backtest(mixed).equals(pl.concat(alone))
    # What a session earned does not change by those that follow.
    assert backtest(bars(*days[:-1])).equals(alone[0].head(len(days) - 2))


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of the example's market project, without a lake, and where its exchange is."""
    folder = tmp_path_factory.mktemp("market")
    (folder / "gb.yaml").write_text((EXAMPLE / "market" / "gb.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with Simulation(seed=3, symbols=["BTC-USDT", "ETH-USDT"]) as simulation:
        yield folder, simulation.url


def test_both_projects_agree_on_keys_and_partitions(market: tuple[Path, str], monkeypatch: pytest.MonkeyPatch):
    """What is written twice, in gb.yaml and in market.py, is the same."""
    monkeypatch.setenv("GB_SIM_URL", market[1])
    group = SeriesGroup.of(Settings.load(market[0]), "sim", "1m")
    known = load("market")
    assert {spec.key for spec in known.BARS} == set(group.symbols)
    assert {spec.partitions_def for spec in known.BARS} == {group.partitions}


def test_the_workspace_has_both_and_each_loads(monkeypatch: pytest.MonkeyPatch):
    workspace, guide = (
        yaml.safe_load(text)["load_from"]
        for text in (
            (EXAMPLE / "workspace.yaml").read_text(encoding="utf-8"),
            re.findall(
                r"^```yaml [^\n]*test_breakout[^\n]*\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.S | re.M
            )[0],
        )
    )
    assert workspace == guide
    market, own = workspace[0]["python_file"], workspace[1]["python_module"]
    assert (own["module_name"], own["working_directory"]) == ("breakout.definitions", ".")
    monkeypatch.chdir("/")
    monkeypatch.delenv("GB_CONFIG", raising=False)
    stores = runpy.run_path(str(EXAMPLE / market["relative_path"]))["defs"].resolve_all_asset_specs()
    assert {spec.key for spec in load("market").BARS} <= {spec.key for spec in stores}
    assert str(EXAMPLE / "market" / "data") == load("market").LAKE

    definitions = load("definitions").defs
    dg.Definitions.validate_loadable(definitions)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert set(specs) == {"sim/bars_1m/BTC-USDT", "sim/bars_1m/ETH-USDT", "breakout/BTC-USDT", "breakout/ETH-USDT",
                          "breakout/portfolio"}  # fmt: skip
    assert {key for key, spec in specs.items() if spec.automation_condition} == {
        "breakout/BTC-USDT",
        "breakout/ETH-USDT",
    }


def run_month(instance: dg.DagsterInstance, **config: object) -> dict[str, object]:
    """Run the portfolio of a month; what the page keeps of it."""
    key = dg.AssetKey(["breakout", "portfolio"])
    job = load("definitions").defs.resolve_implicit_global_asset_job_def()
    asked = {"ops": {"breakout__portfolio": {"config": config}}}
    assert job.execute_in_process(
        instance=instance, asset_selection=[key], partition_key="2024-02-01", run_config=asked
    ).success
    event = instance.get_latest_materialization_event(key)
    assert event is not None and event.asset_materialization is not None
    entries = event.asset_materialization.metadata
    return {name: getattr(entry, "records", entry.value) for name, entry in entries.items()}


def test_a_month_replays_from_its_pin_after_the_vendor_has_restated_it(
    market: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
):
    folder, url = market
    monkeypatch.setenv("GB_SIM_URL", url)
    fetch = ["fetch", "sim", "--start", "2024-01-30", "--end", "2024-02-04", "-c", str(folder)]
    assert run(fetch) == 0
    monkeypatch.setenv("BREAKOUT_LAKE", str(folder / "data"))
    lake = Lake.open(folder / "data")
    expected = backtest(lake.bars(["BTC-USDT", "ETH-USDT"], "1m", "2024-01-31", as_float=True))

    with dg.DagsterInstance.ephemeral() as instance:
        first = run_month(instance)
        assert first["sessions"] == expected.height == 2 * 3
        totals = {record.data["symbol"]: record.data for record in first["totals"]}
        for symbol, own in expected.partition_by("symbol", as_dict=True).items():
            earned = 100 * ((own["earned"] + 1).product() - 1)
            assert totals[symbol[0]]["earned_percent"] == pytest.approx(earned, abs=1e-4)
            assert (totals[symbol[0]]["sessions"], totals[symbol[0]]["trades"]) == (3, own["entry"].count())

        restated = lake.bars("BTC-USDT", "1m", "2024-02-02", "2024-02-03").drop("source", "known_at")
        raised = restated.with_columns((pl.col("open", "high", "low", "close") * 2).cast(pl.Decimal(18, 8)))
        report = lake.put(raised, source="sim", resolution="1m", gap_policy="no_trade")
        assert report.restated == restated.height

        again = run_month(instance, **first["replay"]["ops"]["breakout__portfolio"]["config"])
        assert again == first, "the same numbers, the same picture, the same fingerprint"
        later = run_month(instance)
        assert (later["fingerprint"], later["held_percent"]) != (first["fingerprint"], first["held_percent"])
        careful = run_month(instance, margin=0.5, replay=first["pin"])
        assert careful["trades"] == 0 < first["trades"]
        assert careful["fingerprint"] == first["fingerprint"]
    assert lake.replay(first["pin"]).pin.fingerprint == first["fingerprint"]
