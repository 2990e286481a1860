"""Corporate actions in Dagster: one asset per source, checks that mean something, and a split that is followed."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

from gb_pipeline import Lake
from gb_pipeline_tests.orchestration.conftest import Bench

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
ASSET = "sim/corporate_actions"
NOW = "2024-06-14T22:00Z"
EQUITIES = {
    "provider": "massive",
    "asset_class": "equity",
    "calendar": "XNYS",
    "start": "2024-06-03",
    "end": "2024-06-15",
    "symbols": ["AAPL", "KO"],
    "resolutions": ["1d"],
    "grain": "month",
    "gap_policy": "no_trade",
}


@pytest.fixture
def equities(build_bench) -> Bench:
    bench = build_bench()
    options = {"key": "a-simulated-key", "base_url": bench.simulation.url}
    bench.simulation.set_now(NOW)
    return build_bench(**EQUITIES, options=options)


def evaluations(equities: Bench, result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {name: item for (_, _, name), item in equities.checks(result).items()}


def test_a_run_stores_the_actions_of_all_shares_and_says_what_was_new(equities: Bench) -> None:
    equities.simulation.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
    equities.simulation.plant("dividend", "KO", ex_date="2024-06-12", amount="0.485")
    result = equities.run(ASSET)
    assert result.success
    seen = equities.metadata(ASSET)
    assert {name: seen[name] for name in ("symbols", "actions", "new", "restated", "failed", "dagster/row_count")} == {
        "symbols": 2, "actions": 2, "new": 2, "restated": 0, "failed": 0, "dagster/row_count": 2,
    }  # fmt: skip
    checks = evaluations(equities, result)
    assert {name: check.passed for name, check in checks.items()} == {"answered": True, "valid": True}
    assert all(check.target_materialization_data is not None for check in checks.values())
    equities.simulation.plant("dividend", "KO", ex_date="2024-06-12", amount="0.49")
    assert equities.run(ASSET).success
    assert equities.metadata(ASSET)["restated"] == 1
    assert Lake(equities.store).corporate_actions("KO").height == 1


def test_one_share_that_cannot_be_had_turns_a_check_red_and_keeps_the_others(equities: Bench) -> None:
    equities.simulation.plant("dividend", "KO", ex_date="2024-06-12", amount="0.485")
    equities.simulation.faults.add(match="ticker=AAPL", status=500)
    result = equities.run(ASSET)
    assert result.success
    assert (equities.metadata(ASSET)["failed"], equities.metadata(ASSET)["new"]) == (1, 1)
    answered = evaluations(equities, result)["answered"]
    assert (answered.passed, answered.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert answered.metadata["not_stored"].value.records[0].data["symbol"] == "AAPL"


def test_if_nothing_can_be_had_the_run_fails_and_claims_nothing(equities: Bench) -> None:
    equities.simulation.faults.add(match="", status=503, times=-1)
    result = equities.run(ASSET)
    assert not result.success
    records = equities.instance.fetch_materializations(dg.AssetKey(ASSET.split("/")), limit=1).records
    assert records == []
    assert {name: check.passed for name, check in evaluations(equities, result).items()} == {"answered": False}


def test_a_used_up_quota_is_neither_success_nor_failure(build_bench) -> None:
    bench = build_bench()
    bench.simulation.set_now(NOW)
    options = {"key": "a-simulated-key", "base_url": bench.simulation.url}
    bench = build_bench(**EQUITIES, options=options, daily_quota={"calls": 1})
    assert bench.run(ASSET).success
    assert bench.instance.fetch_materializations(dg.AssetKey(ASSET.split("/")), limit=1).records == []
    records = bench.instance.fetch_observations(dg.AssetKey(ASSET.split("/")), limit=1).records
    assert (
        "deferred until"
        in records[0].event_log_entry.dagster_event.asset_observation_data.asset_observation.description
    )
    schedule = bench.definitions.resolve_schedule_def("sim_corporate_actions_daily")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_a_split_of_a_vendor_that_adjusts_is_told_on_the_page(build_bench) -> None:
    bench = build_bench()
    simulation = bench.simulation
    simulation.set_now("2024-06-07T22:00Z")
    simulation.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
    bench = build_bench(**(EQUITIES | {"provider": "yahoo", "end": "2024-06-08"}), options={"base_url": simulation.url})
    assert bench.run("sim/bars_1d/AAPL", "sim/bars_1d/KO", partitions="2024-06").success
    before = Lake(bench.store).bars("AAPL", "1d")
    simulation.set_now("2024-06-10T22:00Z")
    assert bench.run(ASSET).success
    (row,) = bench.metadata(ASSET)["fetched_again"].records
    assert row.data == {
        "symbol": "AAPL", "resolution": "1d", "from": "2024-06-03", "until": "2024-06-08", "splits": "2024-06-10",
        "restated": 5,
    }  # fmt: skip
    lake = Lake(bench.store)
    assert lake.restatements("sim", "AAPL").height == 5
    assert lake.bars("AAPL", "1d")["close"].max() < before["close"].min()


def test_every_day_after_the_bars_unless_calls_are_few(equities: Bench) -> None:
    bars = equities.definitions.resolve_schedule_def("sim_bars_1d_daily")
    acts = equities.definitions.resolve_schedule_def("sim_corporate_actions_daily")
    assert (bars.cron_schedule, acts.cron_schedule) == (["15 13 * * *", "15 16 * * *"], "15 17 * * *")
    assert (acts.execution_timezone, acts.default_status) == ("America/New_York", dg.DefaultScheduleStatus.RUNNING)


def test_sources_without_shares_or_without_such_a_vendor_have_no_such_asset(build_bench) -> None:
    keys = {key.to_user_string() for key in build_bench().definitions.resolve_asset_graph().get_all_asset_keys()}
    assert not any("corporate_actions" in key for key in keys)


def test_asking_whether_a_vendor_has_actions_imports_no_vendors_library() -> None:
    program = (
        "import sys\n"
        "from gb_pipeline.providers.registry import has_actions\n"
        "from gb_pipeline.config.settings import SourceSettings\n"
        "for name in ('yahoo', 'massive', 'ccxt', 'csv'):\n"
        "    body = {'name': 's', 'provider': name, 'start': '2024-01-01', 'symbols': ['AAPL']}\n"
        "    print(name, has_actions(SourceSettings.model_validate(body)))\n"
        "heavy = {'yfinance', 'ccxt', 'httpx', 'curl_cffi', 'pandas', 'exchange_calendars', 'aiohttp'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == ["yahoo True", "massive True", "ccxt False", "csv False", "[]"]
