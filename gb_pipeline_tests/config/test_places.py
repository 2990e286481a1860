"""Where a lake and its state lie: local folders, named by gb.yaml or the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gb_pipeline.config.environment import ReadableByOthersWarning
from gb_pipeline.config.places import lake_address, state_folder
from gb_pipeline.config.settings import Settings, SourceSettings
from gb_pipeline.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GB_LAKE", "GB_STATE"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    (folder / "gb.yaml").write_text(f"{text}\nsources: {{}}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("address", [
    "S3://bucket", "s3a://b/l", "gs://bucket/lake", "abfss://c@a.dfs.core.windows.net/l", "file:///srv/lake",
    "hdfs://host:9000/lake", "https://host/lake", " s3://bucket/lake", "memory://", "az://x",
])  # fmt: skip
@pytest.mark.parametrize("name", ["lake", "state"])
def test_a_place_that_is_no_local_folder_is_refused_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    before = sorted(tmp_path.iterdir())
    folder = write(tmp_path, f"{name}: {address!r}")
    with pytest.raises(ConfigError, match=f"{name} cannot be at ") as caught:
        Settings.load(folder)
    assert f"{name}: /" in caught.value.fix
    with pytest.raises(ConfigError, match=f"{name} cannot be at "):
        (lake_address if name == "lake" else state_folder)(folder)
    write(tmp_path, "")
    monkeypatch.setenv(f"GB_{name.upper()}", address)
    with pytest.raises(ConfigError, match=f"{name} cannot be at "):
        Settings.load(folder)
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "gb.yaml"]


def test_state_is_a_local_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state cannot be at s3://"):
        Settings.load(write(tmp_path, "state: s3://bucket/state"))


@pytest.mark.parametrize("value", ["[a]", "{a: b}", '"a\\0b"'])
def test_a_place_is_a_path(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="lake is not a path"):
        Settings.load(write(tmp_path, f"lake: {value}"))


def test_state_lies_in_the_lake_unless_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, "lake: bars")
    assert state_folder(folder) == Settings.load(folder).state == tmp_path / "bars" / "state"
    monkeypatch.setenv("GB_LAKE", str(tmp_path / "other"))
    assert state_folder(folder) == Settings.load(folder).state == tmp_path / "other" / "state"
    write(tmp_path, "lake: bars\nstate: locks")
    assert state_folder(folder) == Settings.load(folder).state == tmp_path / "locks"
    monkeypatch.setenv("GB_STATE", str(tmp_path / "third"))
    assert state_folder(folder) == Settings.load(folder).state == tmp_path / "third"
    assert Settings.load(folder).lake == tmp_path / "other"


def test_state_may_lie_where_a_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GB_TEST_PLACE", str(tmp_path / "far"))
    assert Settings.load(write(tmp_path, "state: ${GB_TEST_PLACE}/state")).state == tmp_path / "far" / "state"


@pytest.mark.parametrize("name", ["Sim", "sim-2", "con", "a" * 33, "sim' OR source <> '"])
def test_a_source_has_a_name_that_a_lake_can_hold(name: str) -> None:
    with pytest.raises(ValueError, match="not a name of a source"):
        SourceSettings(name=name, provider="csv", start="2024-01-01", symbols=["A"], options={"path": "a.csv"})  # type: ignore[arg-type]


@pytest.mark.skipif(os.name != "posix", reason="no such permissions here")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_an_env_that_others_may_read_is_told_of_and_read(tmp_path: Path, mode: int) -> None:
    folder = write(tmp_path, "lake: ${GB_TEST_PLACED}")
    (folder / ".env").write_text("GB_TEST_PLACED=bars\n")
    (folder / ".env").chmod(mode)
    with pytest.warns(ReadableByOthersWarning, match=r"chmod 600 .*\.env") as told:
        assert Settings.load(folder).lake == tmp_path / "bars"
    assert len(told) == 1
    (folder / ".env").chmod(0o600)
    assert Settings.load(folder).lake == tmp_path / "bars"
