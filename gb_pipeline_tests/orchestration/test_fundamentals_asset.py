"""Fundamentals in Dagster: one asset per source, checks that mean something, and a quota that is neither success nor failure."""

from __future__ import annotations

import dagster as dg
import pytest

from gb_pipeline import Lake
from gb_pipeline.config.fundamentals import FundamentalsSettings
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline_tests.orchestration.conftest import Bench

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
ASSET, LISTINGS = "sim/fundamentals", "sim/listings"
NOW = "2024-06-14T22:00Z"
COMPANIES = {
    "provider": "alpha_vantage",
    "asset_class": "equity",
    "calendar": "XNYS",
    "start": "2024-06-03",
    "end": "2024-06-15",
    "symbols": ["AAPL", "KO"],
    "resolutions": ["1d"],
    "grain": "month",
    "retries": 0,
    "fundamentals": {"statements": ["income_statement", "earnings"]},
}


@pytest.fixture
def companies(build_bench) -> Bench:
    bench = build_bench()
    options = {"key": "a-simulated-key", "base_url": bench.simulation.url}
    bench.simulation.set_now(NOW)
    for code in ("AAPL", "KO"):
        bench.simulation.plant("listing", code, start="2023-01-03T00:00:00Z")
    return build_bench(**COMPANIES, options=options, daily_quota={"calls": 500})


def passed(companies: Bench, result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {name: item.passed for (_, _, name), item in companies.checks(result).items()}


def test_a_run_stores_what_companies_reported_and_adds_up(companies: Bench) -> None:
    companies.simulation.plant(
        "restated_report", "KO", period="2024-03-31", function="INCOME_STATEMENT", item="ebit", value="lots"
    )
    result = companies.run(ASSET)
    assert result.success
    seen = companies.metadata(ASSET)
    assert (seen["symbols"], seen["calls"], seen["failed"], seen["quarantined"]) == (2, 4, 0, 1)
    kept = ("new", "restated", "unchanged", "quarantined", "repeated", "late")
    assert seen["received"] == sum(seen[name] for name in kept)
    assert seen["dagster/row_count"] == seen["new"] == Lake(companies.store).fundamentals().height
    assert passed(companies, result) == {"answered": True, "valid": False}


def test_one_company_that_cannot_be_had_turns_a_check_red_and_keeps_the_others(companies: Bench) -> None:
    fault = companies.simulation.faults.add(match="symbol=AAPL", status=500)
    result = companies.run(ASSET)
    assert (result.success, fault.hits) == (True, 1)
    assert passed(companies, result)["answered"] is False
    assert Lake(companies.store).fundamentals()["symbol"].unique().to_list() == ["KO"]


def test_if_nothing_can_be_had_the_run_fails_and_claims_nothing(companies: Bench) -> None:
    companies.simulation.faults.add(match="", status=503, times=-1)
    assert not companies.run(ASSET).success
    assert companies.instance.fetch_materializations(dg.AssetKey(ASSET.split("/")), limit=1).records == []


def test_listings_are_an_asset_of_their_own(companies: Bench) -> None:
    result = companies.run(LISTINGS)
    assert result.success
    assert companies.metadata(LISTINGS)["dagster/row_count"] == Lake(companies.store).listings().height
    assert passed(companies, result) == {"valid": True}


def test_a_source_that_wants_no_statements_has_no_schedule_and_one_with_few_calls_none_that_runs(
    companies: Bench,
) -> None:
    def schedules(wanted: FundamentalsSettings) -> dict[str, dg.DefaultScheduleStatus]:
        source = companies.settings.source("sim").model_copy(update={"fundamentals": wanted})
        settings = companies.settings.model_copy(update={"sources": {"sim": source}})
        return {item.name: item.default_status for item in build_definitions(settings).schedules or ()}

    assert schedules(FundamentalsSettings())["sim_fundamentals_weekly"] is dg.DefaultScheduleStatus.STOPPED
    assert "sim_fundamentals_weekly" not in schedules(FundamentalsSettings(statements=()))
