"""`gb restatements`: how much of its bars a source changed afterwards, and whether its budget allows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gb_pipeline import Lake
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, changed, day, minutes
from gb_pipeline_tests.cli.console import PROJECT, Gb

T1 = datetime(2024, 2, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    store = LakeStore.at(tmp_path / "data", clock=SetClock(T1))
    frame = minutes("2024-01-02", 100, symbol="BTC-USDT")
    for number, close in enumerate((None, "107.5", "107.25")):
        store.clock = SetClock(T1 + timedelta(days=number))
        content = frame if close is None else changed(frame, 7, close=close)
        store.write_bars(
            "sim",
            "BTC-USDT",
            "1m",
            day("2024-01-02"),
            content,
        )
    (tmp_path / "gb.yaml").write_text(PROJECT + "    restatement_budget: 0.02\n", encoding="utf-8")
    return tmp_path


def test_a_month_of_a_source_is_a_line_and_every_change_is_measured(gb: Gb, project: Path) -> None:
    told = gb("restatements", "--config", project)
    assert told.code == 0, told.err
    assert "1.000%" in told.out and all(len(line) <= 80 for line in told.out.splitlines())
    said = gb("restatements", "--json", "--config", project).json
    [month] = said["months"]
    assert (month["bars"], month["restated"], month["changes"], month["budget"]) == (100, 1, 2, 0.02)
    first, second = said["changes"]
    assert (first["change_close"], second["change_close"]) == ("-0.25", "-0.25")
    assert first["relative_close"] == pytest.approx(-0.25 / 107.75)
    days = [change["age"] / 86_400_000_000 for change in (first, second)]
    assert days == [1, 2]
    assert second["delay"] == 86_400_000_000


def test_more_than_the_budget_is_said(gb: Gb, project: Path) -> None:
    (project / "gb.yaml").write_text(PROJECT + "    restatement_budget: 0.005\n", encoding="utf-8")
    told = gb("restatements", "sim", "--config", project)
    assert told.code == 1
    assert "sim 1m: 1.000% of the bars of 2024-01 were restated, and its budget is 0.500%" in told.err
    assert gb("restatements", "--since", "2024-02-04", "--config", project).code == 0
    assert Lake.open(project).restatements(since="2024-02-02T12:00Z").height == 1
