"""`${NAME}` in gb.yaml: environment variables, so that no credential has to be in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.config.places import lake_address
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_lake_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GB_LAKE", raising=False)


def write(folder: Path, path: str, more: str = "") -> Path:
    text = f"{more}sources:\n  s:\n    provider: csv\n    start: 2024-01-01\n    symbols: [A]\n    options: {{path: {path}}}\n"
    (folder / "gb.yaml").write_text(text, encoding="utf-8")
    return folder


def path_of(folder: Path) -> object:
    return Settings.load(folder).source("s").options["path"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"${GB_TEST_KEY}"', "s3cret"),
        ('"a${GB_TEST_KEY}b${GB_TEST_KEY}"', "as3cretbs3cret"),
        ('"${GB_TEST_ABSENT:-http://127.0.0.1:1}"', "http://127.0.0.1:1"),
        ('"${GB_TEST_ABSENT:-}"', ""),
        ('"${GB_TEST_KEY:-other}"', "s3cret"),
        ('"$GB_TEST_KEY"', "$GB_TEST_KEY"),
        ('"{date}"', "{date}"),
        ("3", 3),
    ],
)
def test_variables_are_replaced_in_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: object
) -> None:
    monkeypatch.setenv("GB_TEST_KEY", "s3cret")
    assert path_of(write(tmp_path, text)) == value


def test_a_variable_is_a_text_whatever_it_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("1e5", "null", "{a: b}", "x\ny: z", "${GB_TEST_KEY}"):
        monkeypatch.setenv("GB_TEST_KEY", value)
        assert path_of(write(tmp_path, '"${GB_TEST_KEY}"')) == value


def test_an_unset_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GB_TEST_ABSENT"):
        Settings.load(write(tmp_path, '"${GB_TEST_ABSENT}"'))


def test_a_lake_is_found_without_the_variables_of_its_sources(tmp_path: Path) -> None:
    folder = write(tmp_path, '"${GB_TEST_ABSENT}"', more="lake: bars\n")
    assert lake_address(folder) == tmp_path / "bars"


def test_a_lake_may_lie_where_a_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GB_TEST_ROOT", str(tmp_path / "elsewhere"))
    folder = write(tmp_path, "1", more="lake: ${GB_TEST_ROOT}/bars\n")
    assert lake_address(folder) == Settings.load(folder).lake == tmp_path / "elsewhere" / "bars"
    monkeypatch.setenv("GB_LAKE", str(tmp_path / "third"))
    assert lake_address(folder) == Settings.load(folder).lake == tmp_path / "third"
