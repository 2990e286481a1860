"""`gb factors` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gb_pipeline.cli.app import run
from gb_pipeline_tests.research.factors.markets import open_lake, put_closes
from gb_pipeline_tests.research.factors.test_sets import MOVES, correct, read_set


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    put_closes(open_lake(tmp_path), MOVES)
    read_set(tmp_path)
    text = (tmp_path / "gb.yaml").read_text(encoding="utf-8")
    # The months of a source that has an end are few, whatever the day is.
    (tmp_path / "gb.yaml").write_text(
        text.replace("provider: csv", "provider: csv\n    end: 2023-01-31"), encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_due_is_computed_once_and_shown(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["factors", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["factors"], listed["source"], listed["months"], listed["due"]) == ("trend", "sim", 0, 3)

    assert run(["factors", "run", "--check", "--json"]) == 0
    told = capsys.readouterr()
    assert [row["month"] for row in json.loads(told.out)] == ["2022-11", "2022-12", "2023-01"]
    assert "computed again, every value is the same" in told.err
    assert run(["factors", "run"]) == 0
    assert "no month is due" in capsys.readouterr().err

    assert run(["factors", "show", "trend", "--symbol", "BBB", "--limit", "2"]) == 0
    shown = capsys.readouterr()
    assert "2023-01-31" in shown.out
    assert "the last 2 of 55 rows" in shown.err
    assert run(["factors", "show", "trend", "--column", "up", "--end", "2022-11-11", "--json"]) == 0
    assert [row["symbol"] for row in json.loads(capsys.readouterr().out)] == sorted(MOVES)
    assert run(["factors", "list"]) == 0
    assert "165" in capsys.readouterr().out


def test_a_correction_makes_its_months_due_and_any_month_can_be_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["factors", "run"]) == 0
    correct(open_lake(project), "2022-12-20", 99.0)
    capsys.readouterr()

    assert run(["factors", "run", "trend", "--json"]) == 0
    assert [row["month"] for row in json.loads(capsys.readouterr().out)] == ["2022-12", "2023-01"]
    assert run(["factors", "run", "--start", "2022-11", "--end", "2022-12", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["month"], row["restated"], row["unchanged"]) == ("2022-11", 0, row["rows"] * 3)


def test_what_cannot_be_used_ends_with_two_lines(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["run", "trent"], ["show", "trend"], ["run", "--start", "2022-13"]):
        assert run(["factors", *arguments]) == 2
        assert "  -> " in capsys.readouterr().err
