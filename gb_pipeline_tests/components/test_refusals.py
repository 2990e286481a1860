"""What is wrong in a defs.yaml is said with its file and line, and what to do about it."""

from __future__ import annotations

import pytest

from gb_pipeline.components import MarketDataset, MarketLake
from gb_pipeline.components.attributes import attributes_model
from gb_pipeline.config.source_settings import SourceSettings
from gb_pipeline_tests.components.conftest import DATASET, LAKE, Project

GOOD = {
    "provider": "ccxt",
    "options": {"exchange": "binance"},
    "asset_class": "crypto",
    "start": "2024-01-01",
    "symbols": ["BTC-USDT"],
}
TEXT = """
attributes:
  provider: ccxt
  options: {exchange: binance}
  start: "2024-01-01"
  symbols:
    - AAPL
"""

pytestmark = pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("calendar: XNYX", "there is no calendar 'XNYX', did you mean XNYS"),
        ("resolutions: [1m, 7q]", "7q"),
        ("settle_days: -1", "settle_days"),
        ("end: '2023-01-01'", "end must be after start"),
        ("partitions_per_run: '{{ 2 - 3 }}'", "greater than 0"),
        ("priority: ${GB_NOT_SET}", "GB_NOT_SET, which is not set"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_its_line(lake_project, line, said):
    file = lake_project.write("coin", DATASET, f"{TEXT}  {line}\n")

    refusal = lake_project.refusal()
    assert said in refusal
    assert f"{file}:" in refusal
    if "$" not in line and "end" not in line:
        assert f"{file}:9: " in refusal
    assert "\n  -> " in refusal


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("calender: XNYS", "calender at {file}:9"),
        ("keep_raw: 17", "keep_raw"),
        ("grain: week", "'day', 'month' or 'year'"),
    ],
)
def test_an_unknown_name_and_a_wrong_type_are_refused_with_their_line(lake_project, line, said):
    file = lake_project.write("coin", DATASET, f"{TEXT}  {line}\n")

    refusal = lake_project.refusal()
    assert said.format(file=file) in refusal
    assert f"{file}:9" in refusal


def test_two_datasets_of_one_name_are_refused_with_both_places(lake_project):
    first = lake_project.write("a", DATASET, {"name": "coin", **GOOD})
    second = lake_project.write("b", DATASET, {"name": "coin", **GOOD})

    refusal = lake_project.refusal()
    assert f"{second}:" in refusal
    assert f"there is a source coin already, in {first}:" in refusal


def test_a_dataset_of_the_name_of_a_source_in_gb_yaml_is_refused(lake_project):
    config = lake_project.root / "gb.yaml"
    config.write_text("sources:\n  coin: {provider: csv, start: 2024-01-01, symbols: [AAPL]}\n", encoding="utf-8")
    lake_project.write("coin", DATASET, GOOD)

    assert f"there is a source coin already, in {config}" in lake_project.refusal()


def test_a_dataset_without_a_lake_says_how_to_get_one(project):
    file = project.write("coin", DATASET, GOOD)

    refusal = project.refusal()
    assert f"{file}:" in refusal
    assert "the dataset coin has no lake" in refusal
    assert "dg scaffold defs gb_pipeline.components.MarketLake" in refusal


def test_a_lake_without_its_gb_yaml_names_both_files(project: Project):
    file = project.write("lake", LAKE, {"config": "other.yaml"})
    refusal = project.refusal()
    assert f"{file}:" in refusal
    assert f"there is no {project.root / 'other.yaml'}" in refusal


def test_a_second_lake_is_refused(lake_project):
    lake_project.write("pond", LAKE, {})
    assert "there is a MarketLake already, in " in lake_project.refusal()


def test_a_component_made_in_code_is_refused_with_the_file_that_makes_it(lake_project):
    file = lake_project.defs / "coin.py"
    file.write_text(
        "import dagster as dg\nfrom gb_pipeline.components import MarketDataset\n\n\n@dg.component_instance\n"
        "def load(context: dg.ComponentLoadContext) -> MarketDataset:\n"
        "    return MarketDataset(name='coin', provider='ccxt', start='2024-01-01', symbols=['A'], colour='red')\n",
        encoding="utf-8",
    )
    assert "colour is no setting" in lake_project.refusal()


def test_no_credential_is_in_the_definitions_or_in_a_message(lake_project, monkeypatch):
    monkeypatch.setenv("COIN_KEY", "very-secret")
    body = f"{TEXT}  calendar: XNYX\n".replace(
        "{exchange: binance}",
        "{exchange: binance, apiKey: '{{ env.COIN_KEY }}', password: \"{{ env('COIN_WORD', 'x') }}\"}",
    )
    lake_project.write("coin", DATASET, body)
    assert "very-secret" not in lake_project.refusal()

    lake_project.write("coin", DATASET, body.replace("XNYX", "XNYS"))
    resources = lake_project.load().resources or {}
    assert "very-secret" not in repr(resources)
    assert sorted(resources["coin_credentials"].variables) == ["COIN_KEY", "COIN_WORD"]


def test_a_dataset_is_called_like_its_folder_and_reads_files_beside_it(lake_project):
    file = lake_project.write("coin", DATASET, GOOD | {"symbols": {"file": "symbols.csv"}})
    file.with_name("symbols.csv").write_text("code\nETH-USDT\n", encoding="utf-8")

    assert "coin/bars_1m/ETH-USDT" in lake_project.asset_keys()


def test_a_code_of_digits_stays_a_text(lake_project):
    lake_project.write(
        "tokyo", DATASET, {"provider": "csv", "calendar": "XTKS", "start": "2024-01-04", "symbols": ["0700"]}
    )
    assert "tokyo/bars_1m/0700" in lake_project.asset_keys()


def test_every_setting_of_a_source_is_an_attribute_and_is_described():
    properties = attributes_model().model_json_schema()["properties"]
    assert set(properties) == set(SourceSettings.model_fields)
    assert all(schema.get("description") for schema in properties.values())
    assert "config" in MarketLake.get_model_cls().model_json_schema()["properties"]
    assert MarketDataset.get_model_cls() is attributes_model()
