"""`gb calendars`: what a better calendar changes is listed by day, recorded on request, and fetched next."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gb_pipeline.market.calendar import get_calendar
from gb_pipeline_tests.cli.console import Gb

# Mumbai traded on Saturday the 20th and was closed on Monday the 22nd.
DAYS = ["2024-01-18", "2024-01-19", "2024-01-20", "2024-01-23"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of two shares, fetched while every Monday to Friday was taken for a session."""
    for name in ("RELIANCE", "TCS"):
        lines = [f"{day},10,11,9,10,{number + 1}" for number, day in enumerate(DAYS)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    set_calendar(tmp_path, "24/5")
    return tmp_path


def set_calendar(project: Path, calendar: str) -> None:
    source = {
        "provider": "csv", "options": {"path": "{symbol}.csv"}, "calendar": calendar, "start": "2024-01-18",
        "end": "2024-01-25", "resolutions": ["1d"], "symbols": ["RELIANCE", "TCS"], "max_bad_fraction": 1,
    }  # fmt: skip
    (project / "gb.yaml").write_text(yaml.safe_dump({"sources": {"bse": source}}), encoding="utf-8")


def test_what_a_calendar_changes_is_listed_recorded_and_fetched(gb: Gb, project: Path) -> None:
    gb("fetch", "bse", "--start", "2024-01-18", "--end", "2024-01-25")
    nothing = gb("calendars")
    assert (nothing.code, nothing.out) == (0, "")

    set_calendar(project, "XBOM")
    told = gb("calendars")
    assert told.code == 1
    assert [line.split()[2] for line in told.out.splitlines() if "bse" in line] == ["2024-01-20", "2024-01-22"]
    assert "now a session" in told.out and "no longer a session" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    assert "2 rows of these days lie in quarantine" in " ".join(told.err.split())
    assert "calendar XBOM changes 4 stored sessions" in " ".join(gb("doctor").out.split())

    applied = gb("calendars", "bse", "--apply", "--json")
    assert (applied.code, applied.json["recorded"], len(applied.json["changes"])) == (0, 4, 2)
    assert {row["recorded_by"] for row in applied.json["changes"]} == {"24/5"}
    assert {row["calendar"] for row in applied.json["changes"]} == {get_calendar("XBOM").version}
    assert applied.json["corrections"] > 0
    assert gb("calendars").code == 0

    gb("fetch", "bse")
    held = gb("sql", "select symbol, count(*) as days from bars_1d group by symbol", "--json").json
    assert {row["symbol"]: row["days"] for row in held} == {"RELIANCE": 4, "TCS": 4}
    assert gb("gaps", "--json").json == []


def test_days_that_were_traded_though_the_calendar_has_no_session_are_listed_and_left(gb: Gb, project: Path) -> None:
    set_calendar(project, "XBOM")
    gb("fetch", "bse", "--start", "2024-01-18", "--end", "2024-01-25")
    set_calendar(project, "XNYS")
    gb("calendars", "--apply")
    told = gb("calendars")
    assert told.code == 0
    assert [line.split()[2] for line in told.out.splitlines() if "bse" in line] == ["2024-01-20"]
    assert "no session, but bars are stored" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    assert "(1 day) stay as they were recorded" in " ".join(told.err.split())


def test_a_source_that_there_is_not_is_refused_with_near_names(gb: Gb, project: Path) -> None:
    told = gb("calendars", "bsee")
    assert told.code == 2
    assert "bse" in told.err
