"""The commands of `dg` in a project of components: scaffold, check, list."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from gb_pipeline.components.scaffolding import CREDENTIALS
from gb_pipeline.config.credentials import is_credential
from gb_pipeline_tests.components.conftest import DATASET, LAKE, Project
from gb_pipeline_tests.dg_commands import run_dg

ALPACA = "--provider alpaca --calendar XNYS --asset-class equity --symbols AAPL,ON --resolutions 1m,1d"


def test_what_is_scaffolded_is_checked_listed_and_loads(project: Project):
    coin, stocks, yaml_check, defs_check, defs, envs, components = run_dg(
        project.root,
        f"scaffold defs {DATASET} coinbase",
        f"scaffold defs {DATASET} stocks {ALPACA}",
        "check yaml",
        "check defs",
        "list defs --json",
        "list envs",
        "list components --package gb_pipeline",
    )

    assert (coin.code, stocks.code) == (0, 0), coin.output + stocks.output
    assert (yaml_check.code, defs_check.code) == (0, 0), yaml_check.output + defs_check.output
    keys = {asset["asset_key"] for asset in json.loads(defs.stdout)["assets"]}
    assert keys >= {"coinbase/bars_1m/BTC-USD", "stocks/bars_1m/ON", "stocks/bars_1d/AAPL", "catalog", "vacuum"}
    for variable in CREDENTIALS["alpaca"].values():
        assert any(variable in line and "stocks" in line for line in envs.output.splitlines())
    assert DATASET in components.output
    assert LAKE in components.output
    # One lake, made with the first dataset, in the folder that gb.yaml names.
    assert yaml.safe_load((project.defs / "lake" / "defs.yaml").read_text(encoding="utf-8"))["type"] == LAKE
    assert yaml.safe_load((project.root / "gb.yaml").read_text(encoding="utf-8")) == {"lake": "data"}


def test_scaffolding_writes_over_nothing(project: Project):
    own = project.write("vendors/lake", "firm.Swimming", "attributes: {}\n")
    before = own.read_text(encoding="utf-8")
    (made,) = run_dg(project.root, f"scaffold defs {DATASET} vendors/coin --symbols ,")

    assert made.code == 0, made.output
    assert own.read_text(encoding="utf-8") == before
    assert _read(project, "vendors/lake_2")["type"] == LAKE
    assert _read(project, "vendors/coin")["attributes"]["symbols"] == []


def test_a_dataset_may_be_called_lake(project: Project):
    (made,) = run_dg(project.root, f"scaffold defs {DATASET} lake")

    assert made.code == 0, made.output
    assert (_read(project, "lake")["type"], _read(project, "lake_2")["type"]) == (DATASET, LAKE)


def _read(project: Project, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((project.defs / folder / "defs.yaml").read_text(encoding="utf-8"))
    return found


def test_what_is_wrong_in_a_file_is_shown_by_check_yaml_without_loading_code(lake_project: Project):
    file = lake_project.write(
        "coin",
        DATASET,
        'attributes:\n  provider: ccxt\n  start: "2024-01-01"\n  symbols: [A]\n  keep_raw: 17\n  colour: red\n',
    )
    (checked,) = run_dg(lake_project.root, "check yaml")

    assert checked.code == 1
    assert f"{file}:6" in checked.output
    assert "'colour' was unexpected" in checked.output


@pytest.mark.parametrize("provider", sorted(CREDENTIALS))
def test_scaffolded_credentials_are_options_that_gb_pipeline_keeps_secret(provider):
    assert all(is_credential(option) for option in CREDENTIALS[provider])
