"""Instruments in Dagster: one asset per source whose vendor tells of them, refreshed with the corporate actions."""

from __future__ import annotations

import dagster as dg
import pytest

from gb_pipeline import Lake
from gb_pipeline_tests.orchestration.conftest import Bench

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
ASSET = "sim/instruments"
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
    bench.simulation.set_now("2024-06-14T22:00Z")
    return build_bench(**EQUITIES, options=options)


def test_a_run_stores_what_the_vendor_tells_and_says_what_changed(equities: Bench) -> None:
    assert equities.run(ASSET).success
    seen = equities.metadata(ASSET)
    assert {name: seen[name] for name in ("symbols", "new", "failed", "dagster/row_count")} == {
        "symbols": 2, "new": 2, "failed": 0, "dagster/row_count": 2,
    }  # fmt: skip
    equities.simulation.plant("ticker_change", "AAPL", old="APPL", ex_date="2024-06-10")
    result = equities.run(ASSET)
    assert result.success
    assert (equities.metadata(ASSET)["new"], equities.metadata(ASSET)["changed"]) == (2, 0)
    [check] = equities.checks(result).values()
    assert check.passed
    lake = Lake(equities.store)
    assert lake.symbol("APPL", "2024-06-07").instrument == lake.symbol("AAPL", "2024-06-10").instrument


def test_symbols_that_clash_turn_the_check_red(equities: Bench) -> None:
    import polars as pl

    other = pl.DataFrame({"symbol": ["KO"], "name": ["Another KO"], "composite_figi": ["BBG000000001"]})
    equities.store.write_instruments(other, source="sim")
    result = equities.run(ASSET)
    assert result.success
    [check] = equities.checks(result).values()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "Another KO" in check.metadata["clashes"].value


def test_if_nothing_can_be_had_the_run_fails(equities: Bench) -> None:
    equities.simulation.faults.add(match="", status=503, times=-1)
    assert not equities.run(ASSET).success


def test_a_used_up_quota_is_neither_success_nor_failure(build_bench) -> None:
    bench = build_bench()
    options = {"key": "a-simulated-key", "base_url": bench.simulation.url}
    bench = build_bench(**EQUITIES, options=options, daily_quota={"calls": 1})
    assert bench.run(ASSET).success
    assert bench.instance.fetch_materializations(dg.AssetKey(ASSET.split("/")), limit=1).records == []


def test_it_is_refreshed_with_the_corporate_actions(equities: Bench) -> None:
    schedule = equities.definitions.resolve_schedule_def("sim_corporate_actions_daily")
    job = equities.definitions.resolve_job_def(schedule.job_name)
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {
        "sim/corporate_actions",
        "sim/instruments",
    }
