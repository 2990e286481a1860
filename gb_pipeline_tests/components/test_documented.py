"""The `defs.yaml` files that the guide on components shows load, and make what the guide says."""

from __future__ import annotations

import re
from pathlib import Path

from gb_pipeline_tests.components.conftest import Project

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "components.md"


def test_the_files_of_the_guide_load(project: Project):
    text = GUIDE.read_text(encoding="utf-8")
    dataset, lake = re.findall(r"^```yaml [^\n]+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (project.root / "gb.yaml").write_text("lake: data\n", encoding="utf-8")
    for folder, body in (("anything", dataset), ("lake", lake)):
        (project.defs / folder).mkdir()
        (project.defs / folder / "defs.yaml").write_text(body, encoding="utf-8")
    (project.defs / "anything" / "symbols.csv").write_text("code\nAAPL\n", encoding="utf-8")

    assert project.asset_keys() >= {"stocks/bars_1m/AAPL", "stocks/bars_1d/AAPL", "catalog"}
    assert set(project.load().resources or {}) >= {"lake", "bars_io", "duckdb", "stocks_credentials"}


def test_post_processing_applies_to_the_assets_of_its_dataset_alone(lake_project: Project):
    body = '  provider: csv\n  start: "2024-01-01"\n  symbols: [AAPL]\n'
    changed = "post_processing:\n  assets:\n    - attributes: {owners: [team:quants]}\n"
    lake_project.write("mine", "gb_pipeline.components.MarketDataset", f"attributes:\n{body}{changed}")
    lake_project.write("other", "gb_pipeline.components.MarketDataset", f"attributes:\n{body}")

    specs = [spec for asset in lake_project.load().assets or () for spec in getattr(asset, "specs", [asset])]
    assert {spec.key.path[0] for spec in specs if "team:quants" in spec.owners} == {"mine"}
