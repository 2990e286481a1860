"""`gb doctor` looks into the files of csv sources, and counts what is not in place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline.cli.checks import CheckResult, Finding
from gb_pipeline.cli.doctor import summarise
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline_tests.cli.console import Gb
from gb_pipeline_tests.ingest.test_advice import WEEK

PROJECT = """
lake: data
sources:
  mine:
    provider: csv
    options: {{path: "{path}", root: {root}, timezone: {zone}}}
    calendar: XNYS
    start: 2024-03-04
    symbols: [AAA, BBB]
    resolutions: [5m]
"""
NEW_YORK = "America/New_York"


@pytest.mark.parametrize(
    ("path", "zone", "files", "verdict", "says"),
    [
        ("{symbol}.csv", NEW_YORK, {"AAA": "good", "BBB": "good"}, "ok", "its files can be read"),
        ("{symbol}.csv", NEW_YORK, {"AAA": "good"}, "warn", "BBB"),
        ("{symbol}.txt", NEW_YORK, {"AAA": "good", "BBB": "good"}, "fail", "none of the 2 symbols"),
        ("{symbol}.csv", "UTC", {"AAA": "good", "BBB": "good"}, "fail", "they were read in UTC"),
        ("{symbol}.csv", NEW_YORK, {"AAA": "extended", "BBB": "good"}, "fail", "regular session"),
        ("{symbol}.csv", NEW_YORK, {"AAA": "garbage", "BBB": "good"}, "fail", "AAA.csv"),
    ],
)
def test_the_files_of_a_csv_source_are_looked_into(
    gb: Gb, tmp_path: Path, path: str, zone: str, files: dict[str, str], verdict: str, says: str
) -> None:
    for name, content in files.items():
        (tmp_path / f"{name}.csv").write_text(_file(content), encoding="utf-8")
    (tmp_path / "gb.yaml").write_text(PROJECT.format(path=path, root=tmp_path, zone=zone), encoding="utf-8")
    told = gb("doctor", "--json", "--config", tmp_path)
    [found] = [item for item in told.json if item["check"] == "source mine"]
    assert (found["verdict"], says in found["detail"]) == (verdict, True), found
    assert told.code == (1 if verdict == "fail" else 0)
    assert not (tmp_path / "data").exists()
    summary = gb("doctor", "--config", tmp_path).err
    assert ("everything is in place" in summary) == (verdict == "ok")


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ("ok ok", "everything is in place"),
        ("ok warn", "1 warning in 2 checks"),
        ("fail", "1 problem in 1 check"),
        ("fail ok warn fail warn", "2 problems and 2 warnings in 5 checks"),
    ],
)
def test_problems_and_warnings_are_counted(results: str, says: str) -> None:
    assert summarise([Finding("check", CheckResult(result), "") for result in results.split()]) == says


def _file(content: str) -> str:
    grid = get_calendar("XNYS", extended_hours=content == "extended").expected(*WEEK, Resolution("5m"))
    local = grid["timestamp"].dt.convert_time_zone(NEW_YORK).dt.strftime("%Y-%m-%d %H:%M:%S")
    stamps = [f"on day {number}" for number in range(50)] if content == "garbage" else local.to_list()
    return "\n".join(["timestamp,open,high,low,close,volume", *(f"{stamp},10,11,9,10.5,5" for stamp in stamps)])
