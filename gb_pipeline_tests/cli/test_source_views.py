"""`gb status --plot` and `--scorecard`: a picture that fits a terminal, and a line per source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gb_pipeline import Lake, Resolution
from gb_pipeline_tests.bars import day, minutes
from gb_pipeline_tests.cli.console import Gb


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three days of one symbol, of which the second lacks hours, and one day of another."""
    lake = Lake.open(tmp_path / "data", create=True)
    for name, symbol, count in [
        ("2024-01-01", "A-USD", 1440), ("2024-01-02", "A-USD", 900), ("2024-01-03", "A-USD", 1440), ("2024-01-01", "B-USD", 1440),
    ]:  # fmt: skip
        lake.write_bars("sim", symbol, Resolution.MINUTE, day(name), minutes(f"{name}T00:00:00", count, symbol=symbol))
    return tmp_path


def test_a_line_per_symbol_and_a_sign_per_session(gb: Gb, project: Path) -> None:
    result = gb("status", "--plot", "--lake", project / "data")

    assert result.code == 0
    assert result.out.splitlines() == ["sim 1m", "A-USD █▒█", "B-USD █··", "      2024-01-01"]
    assert "▒ missing, unexplained" in result.err


def test_names_choose_the_lines(gb: Gb, project: Path) -> None:
    assert gb("status", "--plot", "B-USD", "--lake", project / "data").out.splitlines()[1:] == [
        "B-USD █",
        "      2024-01-01",
    ]


def test_the_cells_as_json(gb: Gb, project: Path) -> None:
    [picture] = json.loads(gb("status", "--plot", "--json", "--lake", project / "data").out)
    assert picture["cells"] == [["complete", "open", "complete"], ["complete", "never", "never"]]
    assert (picture["sessions"][-1], picture["counts"]["never"]) == ("2024-01-03", 2)


def test_a_line_per_source(gb: Gb, project: Path) -> None:
    shown = gb("status", "--scorecard", "--lake", project / "data").out
    assert "sim" in shown and "90.62%" in shown
    [row] = json.loads(gb("status", "--scorecard", "--json", "--lake", project / "data").out)
    assert (row["series"], row["open"], row["behind"]) == (2, 540, 1)


@pytest.mark.parametrize("option", ["--plot", "--scorecard"])
def test_an_empty_lake_says_so(gb: Gb, tmp_path: Path, option: str) -> None:
    Lake.open(tmp_path / "data", create=True)
    result = gb("status", option, "--lake", tmp_path / "data")
    assert (result.code, result.out) == (0, "") and "nothing is stored yet" in result.err
