"""The group `health` in Dagster: readable metadata, red and yellow checks in a run that succeeds, and its schedules."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import polars as pl

from gb_pipeline.config.health import HealthSettings
from gb_pipeline.health.checkup import CHECKS
from gb_pipeline.health.result import HealthResult, State
from gb_pipeline.orchestration.health.assets import CHECK, MEANINGS, build_health_schedules, build_metadata, key_of
from gb_pipeline_tests.orchestration.conftest import Bench

Build = Callable[..., Bench]


def test_all_checks_are_one_run_which_succeeds_whatever_they_find(build_bench: Build) -> None:
    bench = build_bench()
    result = bench.run(*(f"health/{name}" for name in MEANINGS))
    assert result.success
    found = {item.asset_key.path[-1]: item for item in result.get_asset_check_evaluations()}
    assert set(found) == set(MEANINGS) and {item.check_name for item in found.values()} == {CHECK}
    missing = found["missing_sessions"]
    assert (missing.passed, missing.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(missing.description).endswith("2 series lack the newest one -> `gb update sim`")
    shown = bench.metadata("health/missing_sessions")
    assert (shown["state"], shown["count"], shown["repair"]) == ("fail", 120, "gb update sim")
    assert [record.data["symbol"] for record in shown["sample"].records] == ["BTC-USDT", "ETH-USDT"]
    assert found["quarantine"].passed, "what there is nothing of is well"


def test_metadata_is_text_numbers_and_a_table_of_what_a_page_can_show(build_bench: Build) -> None:
    sample = pl.DataFrame({"share": [0.123456789], "note": [None]})
    found = HealthResult("disk", State.WARN, "little", 1, {"free_gb": 2.5}, sample, "gb x", "or wait")
    metadata = build_metadata(found)
    assert {name: value for name, value in metadata.items() if name != "sample"} == {
        "state": "warn", "finding": "little", "count": 1, "repair": "gb x", "advice": "or wait", "free_gb": 2.5,
    }  # fmt: skip
    assert metadata["sample"].records[0].data == {"share": 0.1235, "note": None}


def test_they_run_every_morning_where_people_are_and_the_cheap_ones_every_hour(build_bench: Build) -> None:
    bench = build_bench()
    settings = bench.settings.model_copy(update={"health": HealthSettings(at="06:45", zone="America/New_York")})
    daily, hourly = build_health_schedules(settings)
    assert (daily.cron_schedule, daily.execution_timezone) == ("45 6 * * *", "America/New_York")
    assert (hourly.cron_schedule, hourly.default_status) == ("35 * * * *", dg.DefaultScheduleStatus.RUNNING)
    keys = {
        name: set(bench.definitions.resolve_job_def(name).asset_layer.selected_asset_keys)
        for name in ("health_daily", "health_hourly")
    }
    assert keys["health_daily"] == {key_of(name) for name in MEANINGS}
    assert keys["health_hourly"] == {key_of(name) for name, check in CHECKS.items() if check.cheap}
