"""What a killed export leaves is removed by the next one to the same place, and what a living one writes is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gb_pipeline import Lake, export_bars
from gb_pipeline.cli.export_files import Format, new_file
from gb_pipeline.formats.writing.partial import partial_file, partial_folder, remove_abandoned
from gb_pipeline_tests.formats.exported import MINUTES, put_minutes

FOLDER = """
import os, sys
from gb_pipeline import Lake, Resolution, export_bars
series = [("sim", "BTC-USDT", Resolution.MINUTE)]
export_bars(Lake.open(sys.argv[1]), "freqtrade", series, sys.argv[2], on_series=lambda: os.kill(os.getpid(), 9))
"""
FILE = """
import os, sys
from pathlib import Path
from gb_pipeline.cli.export_files import Format, new_file
with new_file(Path(sys.argv[2]), Format.CSV):
    os.kill(os.getpid(), 9)
"""


def kill(work: str, lake: Path, target: Path) -> list[Path]:
    """Run it to its end, which is a kill; what it leaves beside the target."""
    done = subprocess.run([sys.executable, "-c", work, lake, target], check=False, timeout=120)
    assert done.returncode == -9 and not target.exists()
    return sorted(target.parent.glob(".*.partial"))


def test_the_next_export_removes_what_a_killed_one_left(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    target = tmp_path / "out"
    (left,) = kill(FOLDER, tmp_path / "lake", target)
    other = tmp_path / ".out.more.abcdefgh.partial"
    other.mkdir()
    report = export_bars(lake, "freqtrade", [MINUTES], target)
    assert report.removed == (str(left),)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "lake", "out"]


def test_a_killed_file_goes_too_and_is_said(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "bars.csv"
    (left,) = kill(FILE, tmp_path / "lake", target)
    with new_file(target, Format.CSV):
        pass
    assert f"removed what an export that was killed had left: {left}" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.csv", "lake"]


def test_what_a_living_export_writes_is_left_alone(lake: Lake, tmp_path: Path) -> None:
    put_minutes(lake)
    seen = []

    def look() -> None:
        seen.append((remove_abandoned(tmp_path, ".out."), len(list(tmp_path.glob(".out.*.partial")))))

    export_bars(lake, "freqtrade", [MINUTES], tmp_path / "out", on_series=look)
    assert seen == [([], 1)]


@pytest.mark.parametrize("make", [partial_folder, partial_file])
def test_one_that_was_taken_away_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable
) -> None:
    opened, real = [], os.open

    def open_late(path: str | Path, *rest: object, **more: object) -> int:
        is_there = Path(path).exists()
        if str(path).endswith(".partial") and is_there and not opened:
            opened.append(path)
            assert remove_abandoned(tmp_path, ".out.") == [Path(path)]
        return real(path, *rest, **more)

    monkeypatch.setattr("gb_pipeline.formats.writing.partial.os.open", open_late)
    with make(tmp_path, ".out.") as (place, _):
        assert opened and place.exists() and place != opened[0]
        assert remove_abandoned(tmp_path, ".out.") == []
    assert not any(tmp_path.iterdir())
