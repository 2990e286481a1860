"""`state` of gb.yaml: locks and limits lie where it says, for every command that opens the lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline_tests.cli.console import PROJECT, Gb


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "gb.yaml").write_text(f"state: machine\n{PROJECT}", encoding="utf-8")
    return tmp_path


def test_every_command_keeps_its_locks_where_gb_yaml_says(gb: Gb, elsewhere: Path) -> None:
    day = ("--start", "2024-01-02", "--end", "2024-01-03")
    commands: list[tuple[str, ...]] = [
        ("fetch", "sim", "BTC-USDT", *day),
        ("doctor",),
        ("plan", "sim", *day),
        ("symbols", "add", "sim", "SOL-USDT"),
        ("status",),
        ("show", "sim:BTC-USDT"),
        ("explain", "sim:BTC-USDT", "2024-01-02T10:00Z"),
        ("compact", "--all"),
        ("vacuum", "--delete"),
        ("verify",),
    ]
    for command in commands:
        told = gb(*command, "-c", elsewhere)
        assert told.code == 0, (command, told.err)
        assert not (elsewhere / "data" / "state").exists(), command

    names = {path.name for path in (elsewhere / "machine").iterdir()}
    assert {"locks", "rate_limits", "settings.lock"} <= names
    assert (elsewhere / "machine" / "locks" / "bars_1m.lock").exists()


def test_a_lake_that_is_named_is_the_projects_with_its_state_where_it_is_the_same(
    gb: Gb, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    gb("fetch", "sim", "BTC-USDT", "--start", "2024-01-02", "--end", "2024-01-03", "-c", elsewhere)
    monkeypatch.chdir(elsewhere)
    assert gb("compact", "--all", "--lake", elsewhere / "data").code == 0
    assert not (elsewhere / "data" / "state").exists()

    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))
    monkeypatch.setenv("GB_STATE", str(elsewhere / "other"))
    assert gb("vacuum", "--delete", "--lake", elsewhere / "data").code == 0
    assert (elsewhere / "other" / "locks").is_dir()
    assert not (elsewhere / "data" / "state").exists()
