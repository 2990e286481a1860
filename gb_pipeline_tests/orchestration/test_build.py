"""The definitions as a whole: what a gb.yaml turns into, and how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.home import read_template
from gb_pipeline.errors import ConfigError
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.partitions import ManyPartitionsWarning
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline.orchestration.series_group import SeriesGroup

REPOSITORY = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("asset_graph.json")


def settings(folder: Path, **body) -> Settings:
    base = {
        "sources": {
            "crypto": {
                "provider": "ccxt",
                "options": {"exchange": "binance", "apiKey": "very-secret"},
                "asset_class": "crypto",
                "start": "2024-01-01",
                "symbols": ["BTC-USDT", "ETH-USDT"],
                "resolutions": ["1m", "1d"],
            },
            "stocks": {
                "provider": "csv",
                "calendar": "XNYS",
                "start": "2020-01-02",
                "end": "2024-01-01",
                "symbols": ["AAPL"],
                "resolutions": ["1d"],
                "grain": "year",
            },
            "yahoo": {
                "provider": "yahoo",
                "calendar": "XNYS",
                "start": "2024-01-02",
                "symbols": ["AAPL"],
                "resolutions": ["1d", "1h"],
            },
        },
        "factors": {
            "trend": {"source": "yahoo", "start": "2024-02-01", "expressions": {"trend": "Mean($close, 5) / $close"}}
        },
    }
    (folder / "gb.yaml").write_text(yaml.safe_dump(base | body), encoding="utf-8")
    return Settings.load(folder)


def graph(definitions: dg.Definitions) -> dict[str, object]:
    """Everything that a change of gb_pipeline could change by accident."""
    nodes: dict[str, object] = {}
    for spec in definitions.resolve_all_asset_specs():
        partitions = spec.partitions_def
        nodes[spec.key.to_user_string()] = {
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "partitions": None if partitions is None else f"{partitions.cron_schedule} {partitions.fmt}",
            "skippable": spec.skippable,
            "automated": spec.automation_condition is not None,
        }
    repository = definitions.get_repository_def()
    nodes["checks"] = sorted(key.to_user_string() for key in repository.asset_graph.asset_check_keys)
    nodes["schedules"] = {item.name: [item.cron_schedule, item.execution_timezone] for item in repository.schedule_defs}
    nodes["sensors"] = sorted(item.name for item in repository.sensor_defs)
    nodes["jobs"] = sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__"))
    return nodes


def test_the_asset_graph_is_the_recorded_one(tmp_path, pytestconfig):
    """After an intended change: delete the file, run again, and read the difference."""
    current = graph(build_definitions(settings(tmp_path)))

    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(json.dumps(current, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert current == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_all_series_of_a_group_share_one_partitions_definition_and_one_step(tmp_path):
    definitions = build_definitions(settings(tmp_path))

    assets = definitions.resolve_assets_def(dg.AssetKey(["crypto", "bars_1m", "BTC-USDT"]))
    assert {key.path[-1] for key in assets.keys} == {"BTC-USDT", "ETH-USDT"}
    assert len({id(spec.partitions_def) for spec in assets.specs}) == 1
    assert assets.can_subset
    assert assets.backfill_policy.max_partitions_per_run == 100
    assert assets.op.pool == "vendor_binance"


def test_no_credential_gets_into_the_definitions(tmp_path):
    definitions = build_definitions(settings(tmp_path))

    snapshot = repr(definitions.get_repository_def().asset_graph) + repr(list(definitions.resolve_all_asset_specs()))
    assert "very-secret" not in snapshot


def test_each_of_five_hundred_symbols_costs_the_load_little_and_a_day_of_all_is_one_run(tmp_path):
    source = {
        "provider": "csv",
        "start": "2024-01-01",
        "symbols": [f"S{number:03d}" for number in range(500)],
        "grain": "month",
    }
    loaded = settings(tmp_path, sources={"many": source})
    program = (
        "import gb_pipeline.orchestration.build\n"
        "from dagster._core.remote_representation.external_data import RepositorySnap\n"
        "from gb_pipeline_tests.work import counted_work\n"
        "with counted_work() as work:\n"
        "    from gb_pipeline.definitions import defs\n"
        "    RepositorySnap.from_def(defs.get_repository_def())\n"
        "print(work.calls)"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # Some 5,400 calls a symbol, most of them Dagster's: a millisecond or two. Twice the symbols would show at once
    # where one looks at all the others.
    assert 500 * 1_000 < int(run.stdout) < 500 * 10_000

    definitions = build_definitions(loaded)
    job = definitions.resolve_job_def("many_bars_1m_daily")
    assert len(job.nodes) == 1
    assert len(job.asset_layer.selected_asset_keys) == 500


def test_a_history_that_dagster_would_choke_on_is_warned_about_when_the_definitions_load(tmp_path):
    source = {"provider": "csv", "start": "2000-01-01", "symbols": [f"S{number:03d}" for number in range(99)]}

    with pytest.warns(ManyPartitionsWarning, match="`grain: month`"):
        build_definitions(settings(tmp_path, sources={"many": source}))


@pytest.mark.parametrize(
    ("source", "resolution", "says"),
    [("crypto", "5m", "source crypto has no 5m bars, only 1m, 1d"), ("nobody", "1m", "has no source 'nobody'")],
)
def test_assets_on_bars_that_nobody_fetches_are_refused(tmp_path, source, resolution, says):
    with pytest.raises(ConfigError, match=says):
        SeriesGroup.of(settings(tmp_path), source, resolution)


def test_a_project_adds_its_own_definitions_to_those_of_the_package(tmp_path):
    bars = SeriesGroup.of(settings(tmp_path), "crypto", "1d")

    @dg.asset(deps=list(bars.symbols))
    def report() -> None: ...

    @dg.asset_check(asset=report)
    def report_is_new() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    job = dg.define_asset_job("weekly", selection=dg.AssetSelection.assets(report))
    schedule = dg.ScheduleDefinition(name="every_monday", job=job, cron_schedule="0 6 * * 1")
    sensor = dg.AutomationConditionSensorDefinition("follow", target=dg.AssetSelection.assets(report))
    plain = graph(build_definitions(settings(tmp_path)))

    extended = graph(
        build_definitions(
            settings(tmp_path),
            assets=[report],
            asset_checks=[report_is_new],
            jobs=[job],
            schedules=[schedule],
            sensors=[sensor],
        )
    )

    assert extended["report"]["deps"] == ["crypto/bars_1d/BTC-USDT", "crypto/bars_1d/ETH-USDT"]
    assert set(extended["checks"]) - set(plain["checks"]) == {"report:report_is_new"}
    assert set(extended["jobs"]) - set(plain["jobs"]) == {"weekly"}
    assert set(extended["schedules"]) - set(plain["schedules"]) == {"every_monday"}
    assert set(extended["sensors"]) - set(plain["sensors"]) == {"follow"}
    assert {name: extended[name] for name in plain if "/" in name} == {
        name: plain[name] for name in plain if "/" in name
    }


def test_a_project_replaces_a_resource_by_its_name_and_the_executor(tmp_path):
    elsewhere = LakeResource(root=str(tmp_path / "elsewhere"))

    definitions = build_definitions(
        settings(tmp_path), resources={"lake": elsewhere, "extra": 5}, executor=dg.multiprocess_executor
    )

    assert definitions.resources["lake"] is elsewhere
    assert definitions.resources["extra"] == 5
    assert set(definitions.resources) == {*build_definitions(settings(tmp_path)).resources, "extra"}
    assert definitions.resolve_job_def("crypto_bars_1m_daily").executor_def is dg.multiprocess_executor
    assert build_definitions(settings(tmp_path)).executor is dg.in_process_executor


def test_the_top_of_the_repository_runs_dagster_like_the_package_does():
    assert (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8") == read_template()
