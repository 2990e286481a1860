"""What the page knows of assets without a run: owners, address, what made them, tags."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.orchestration.build import build_definitions

SOURCE = {
    "provider": "csv", "options": {"path": "{symbol}.csv"}, "calendar": "XNYS", "start": "2024-01-02", "symbols": ["AAPL"],
}  # fmt: skip


def load(folder: Path, **top) -> Settings:
    body = {
        "owners": ["team:data", "ops@example.com"],
        "sources": {"one": SOURCE, "two": {**SOURCE, "owners": "me@example.com"}},
    }
    (folder / "gb.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(body | top))), encoding="utf-8")
    return Settings.load(folder)


@pytest.fixture
def specs(tmp_path) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in build_definitions(load(tmp_path)).resolve_all_asset_specs()}


@pytest.mark.parametrize("path", ["bars_1m", "bars_1m/AAPL"])
def test_a_source_has_the_owners_of_the_file_or_its_own(specs, path):
    names = path.split("/")
    assert list(specs[dg.AssetKey(["one", *names])].owners) == ["team:data", "ops@example.com"]
    assert list(specs[dg.AssetKey(["two", *names])].owners) == ["me@example.com"]


@pytest.mark.parametrize("owner", ["bob", "team:", "a b@example.com"])
def test_what_is_no_owner_is_refused_with_what_to_write(tmp_path, owner):
    with pytest.raises(ConfigError, match="is no owner, write an e-mail address, or a team as team:data"):
        load(tmp_path, owners=[owner])


def test_assets_say_where_they_lie_and_what_made_them(specs, tmp_path):
    metadata = specs[dg.AssetKey(["two", "bars_1m", "AAPL"])].metadata
    assert metadata["dagster/uri"] == str(tmp_path / "data" / "lake" / "bars_1m")
    settings, code = metadata["dagster/code_references"].code_references
    line = Path(settings.file_path).read_text(encoding="utf-8").splitlines()[settings.line_number - 1]
    assert line.strip() == "two:"
    assert Path(code.file_path).is_file()


def test_series_are_found_by_vendor_class_resolution_and_calendar(specs):
    tags = specs[dg.AssetKey(["one", "bars_1m", "AAPL"])].tags
    assert tags == tags | {"vendor": "csv", "asset_class": "equity", "resolution": "1m", "calendar": "XNYS"}
