"""gb.yaml and components make the same assets."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.resources import LakeResource
from gb_pipeline_tests.components.conftest import DATASET, LAKE, Project

# The repository is made of the definitions here, which Dagster itself does without a warning.
pytestmark = [
    *(pytest.mark.filterwarnings(f"ignore::dagster.{name}Warning") for name in ("Beta", "Preview")),
    # Dagster's own, where a part of a project is loaded.
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
]

SOURCES: dict[str, dict[str, Any]] = {
    "coin": {
        "provider": "ccxt",
        "options": {"exchange": "binance"},
        "asset_class": "crypto",
        "start": "2024-01-01",
        "symbols": ["BTC-USDT", {"code": "ETH-USDT", "listed_from": "2024-02-01"}],
        "resolutions": ["1m", "1d"],
        "gap_policy": "no_trade",
        "rate_limit": {"calls": 5, "seconds": 2},
    },
    # Its name begins with another one's.
    "coin_wide": {
        "provider": "ccxt",
        "options": {"exchange": "kraken"},
        "asset_class": "crypto",
        "start": "2024-01-01",
        "symbols": ["BTC-USD"],
        "resolutions": "1m",
        "precision": "wide",
        "grain": "month",
    },
    "stocks": {
        "provider": "alpaca",
        "options": {"key": "${STOCKS_KEY}", "secret": "${STOCKS_SECRET}"},
        "calendar": "XNYS",
        "start": "2024-01-02",
        "symbols": ["AAPL"],
        "resolutions": ["1m", "1d"],
        "daily_quota": {"calls": 100, "zone": "America/New_York"},
    },
    "tokyo": {"provider": "csv", "calendar": "XTKS", "start": "2024-01-04", "symbols": ["7203"], "resolutions": ["1m"]},
}


def test_the_same_source_written_as_a_component_makes_the_same_definitions(project):
    config = project.root / "gb.yaml"
    config.write_text(yaml.safe_dump({"lake": "data", "sources": SOURCES}), encoding="utf-8")
    expected = described(build_definitions(Settings.load(config)))

    config.write_text("lake: data\n", encoding="utf-8")
    project.write("lake", LAKE, {})
    for name, body in SOURCES.items():
        project.write(f"vendors/{name}", DATASET, body)

    assert described(project.load()) == expected
    assert any("coin_wide" in name for name in expected["schedules"])


def test_commands_outside_of_dagster_read_the_same_sources(project: Project):
    """What `gb` reads of the files, without Dagster, makes the definitions that Dagster makes of the components."""
    (project.root / "gb.yaml").write_text("lake: data\n", encoding="utf-8")
    project.write("lake", LAKE, {})
    for name, body in SOURCES.items():
        project.write(f"vendors/{name}", DATASET, body)

    settings = Settings.load(project.root)
    assert set(settings.sources) == set(SOURCES)
    assert described(build_definitions(settings)) == described(project.load())


def test_sources_of_gb_yaml_stand_beside_those_of_components(project):
    config = project.root / "gb.yaml"
    config.write_text(yaml.safe_dump({"lake": "data", "sources": SOURCES}), encoding="utf-8")
    expected = described(build_definitions(Settings.load(config)))

    kept = {name: body for name, body in SOURCES.items() if name in {"coin", "tokyo"}}
    config.write_text(yaml.safe_dump({"lake": "data", "sources": kept}), encoding="utf-8")
    project.write("lake", LAKE, {"config": "gb.yaml"})
    for name in SOURCES.keys() - kept.keys():
        project.write(name, DATASET, SOURCES[name])

    assert described(project.load()) == expected


def test_each_definition_belongs_to_the_component_of_its_source(lake_project: Project):
    for name, body in SOURCES.items():
        lake_project.write(name, DATASET, body)
    tree = dg.ComponentTree.for_project(lake_project.root)

    for name in SOURCES:
        part = tree.build_defs(lake_project.defs / name)
        specs = [spec for asset in part.assets or () for spec in getattr(asset, "specs", [asset])]
        assert {spec.key.path[0] for spec in specs} == {name}
        resolutions = SOURCES[name]["resolutions"]
        for resolution in [resolutions] if isinstance(resolutions, str) else resolutions:
            assert f"{name}_bars_{resolution}_daily" in [schedule.name for schedule in part.schedules or ()]
    assert set(tree.build_defs(lake_project.defs / "lake").resources or {}) >= {"lake", "duckdb", "stocks_credentials"}


def test_a_component_made_in_code_makes_the_same_assets(lake_project: Project):
    lake_project.write("coin", DATASET, SOURCES["coin"])
    expected = described(lake_project.load())

    (lake_project.defs / "coin" / "defs.yaml").unlink()
    (lake_project.defs / "coin" / "component.py").write_text(
        "import dagster as dg\nfrom gb_pipeline.components import MarketDataset\n\n\n@dg.component_instance\n"
        f"def load(context: dg.ComponentLoadContext) -> MarketDataset:\n"
        f"    return MarketDataset(**{SOURCES['coin'] | {'name': 'coin'}!r})\n",
        encoding="utf-8",
    )
    assert described(lake_project.load()) == expected


def described(definitions: dg.Definitions) -> dict[str, Any]:
    """Everything that a user of the page sees of definitions."""
    repository = definitions.get_repository_def()
    return {
        "assets": {spec.key.to_user_string(): describe_spec(spec) for spec in definitions.resolve_all_asset_specs()},
        "steps": sorted(
            sorted(key.to_user_string() for key in asset.keys)
            for asset in repository.asset_graph.assets_defs
            if asset.is_materializable
        ),
        "policies": sorted(str(asset.backfill_policy) for asset in repository.asset_graph.assets_defs),
        "checks": sorted(key.to_user_string() for key in repository.asset_graph.asset_check_keys),
        "schedules": {
            item.name: (item.cron_schedule, item.execution_timezone, item.default_status, item.description)
            for item in repository.schedule_defs
        },
        "sensors": {item.name: (item.minimum_interval_seconds, item.default_status) for item in repository.sensor_defs},
        "jobs": sorted(job.name for job in repository.get_all_jobs()),
        "lake": LakeResource.model_dump((definitions.resources or {})["lake"]),
        "resources": sorted(definitions.resources or {}),
    }


def describe_spec(spec: dg.AssetSpec) -> dict[str, Any]:
    # Dagster says of a component's assets where they are written.
    metadata = {
        key: value for key, value in spec.metadata.items() if not key.startswith("dagster/c") or "column" in key
    }
    return {
        "metadata": metadata,
        "partitions": spec.partitions_def,
        "deps": [(dep.asset_key, dep.partition_mapping) for dep in spec.deps],
        "group": spec.group_name,
        "kinds": spec.kinds,
        "tags": spec.tags,
        "owners": spec.owners,
        "description": spec.description,
        "automation": spec.automation_condition,
        "skippable": spec.skippable,
    }
