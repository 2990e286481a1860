"""`gb migrate`, and what other commands say of a lake that they cannot open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gb_pipeline.cli.app import run
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage.lake_format import FORMAT, MARK
from gb_pipeline_tests.bars import day, minutes


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    LakeStore.at(tmp_path).write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), minutes("2024-01-02", 30))
    return tmp_path


def test_a_lake_of_this_format_is_left_alone(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (lake / MARK).stat().st_mtime_ns
    assert run(["migrate", "--lake", str(lake)]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert run(["migrate", "--lake", str(lake), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["after"] == FORMAT
    assert (lake / MARK).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "command",
    [["migrate"], ["status"], ["sql", "select 1"], ["verify"], ["verify", "--repair"], ["vacuum"], ["doctor"]],
)
def test_every_command_says_to_upgrade_for_a_later_format(
    lake: Path, command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (lake / MARK).write_text(json.dumps({"format": FORMAT + 1}))
    monkeypatch.setenv("GB_LAKE", str(lake))
    assert run([*command, "--lake", str(lake)] if command != ["doctor"] else command) != 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"of format {FORMAT + 1}" in said
    assert "upgrade gb_pipeline" in said


def test_no_lake_is_nothing_to_migrate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "--lake", str(tmp_path / "none")]) != 0
    assert "there is no lake" in capsys.readouterr().err
