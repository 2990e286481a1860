"""Credentials of a run: Dagster knows the names of variables, and the values are looked up when a run asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError
from gb_pipeline.orchestration.build import build_definitions
from gb_pipeline.orchestration.resources import VendorCredentials

HIDDEN = "hunter2-Hunter2"


def settings(folder: Path, **options: object) -> Settings:
    body = {"provider": "csv", "start": "2024-01-01", "symbols": ["A"]}
    sources = {"keyed": body | {"options": options}, "plain": body}
    (folder / "gb.yaml").write_text(json.dumps({"sources": sources}), encoding="utf-8")
    return Settings.load(folder)


def test_the_page_lists_the_variables_of_each_source_whether_they_are_set_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GB_TEST_KEY", HIDDEN)
    loaded = settings(tmp_path, key="${GB_TEST_KEY}", secret="x-${GB_TEST_ABSENT}", token=HIDDEN)
    repository = build_definitions(loaded).get_repository_def()
    assert repository.get_env_vars_by_top_level_resource() == {
        "GB_TEST_KEY": {"keyed_credentials"},
        "GB_TEST_ABSENT": {"keyed_credentials"},
    }
    [resource] = [item for name, item in repository.get_top_level_resources().items() if name.endswith("_credentials")]
    shown = resource.config_schema.default_value_as_json_str
    assert '{"env": "GB_TEST_KEY"}' in shown
    assert HIDDEN not in shown


def test_values_are_looked_up_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = settings(tmp_path, key="${GB_TEST_KEY}", token="Bearer ${GB_TEST_KEY}")
    source = loaded.source("keyed")
    given = VendorCredentials.of(source, tmp_path)
    with pytest.raises(ConfigError, match="GB_TEST_KEY is not set"):
        given.apply_to(source).credential("key")
    (tmp_path / ".env").write_text(f"GB_TEST_KEY={HIDDEN}\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o600)
    assert given.apply_to(source).credential("token") == f"Bearer {HIDDEN}"
    monkeypatch.setenv("GB_TEST_KEY", "real")
    assert given.apply_to(source).credential("key") == "real"


def test_code_may_name_another_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = settings(tmp_path, key="${GB_TEST_KEY}").source("keyed")
    monkeypatch.setenv("GB_TEST_KEY", "one")
    monkeypatch.setenv("GB_TEST_OTHER", "two")
    given = VendorCredentials(variables={"GB_TEST_KEY": dg.EnvVar("GB_TEST_OTHER")})
    assert given.apply_to(source).credential("key") == "two"


def test_a_value_in_place_of_a_name_is_refused_without_showing_it(tmp_path: Path) -> None:
    source = settings(tmp_path, key="${GB_TEST_KEY}").source("keyed")
    with pytest.raises(ConfigError, match="a value for GB_TEST_KEY") as caught:
        VendorCredentials(variables={"GB_TEST_KEY": HIDDEN}).apply_to(source)
    assert HIDDEN not in str(caught.value)
