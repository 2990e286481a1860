"""An answer whose rows lie outside the sessions comes with the setting that would explain them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.events.outcome import split_by_partition

WEEK = date(2024, 3, 4), date(2024, 3, 9)
PROJECT = """
lake: data
sources:
  mine:
    provider: csv
    options: {{root: {folder}, path: "{{symbol}}.csv", timezone: {zone}}}
    calendar: XNYS
    extended_hours: {extended_hours}
    start: 2024-03-04
    symbols: [AAA]
    resolutions: [5m]
"""


@pytest.mark.parametrize(
    ("hours", "zone", "extended_hours", "fix"),
    [
        ("extended", "America/New_York", "false", "extended_hours: true"),
        ("regular", "UTC", "false", "timezone: America/New_York"),
        ("extended", "America/New_York", "true", None),
        ("regular", "America/New_York", "false", None),
    ],
)
def test_refused_hours_name_the_setting_in_the_outcome_and_on_dagsters_pages(
    tmp_path: Path, hours: str, zone: str, extended_hours: str, fix: str | None
) -> None:
    _write_file(tmp_path / "AAA.csv", extended_hours=hours == "extended")
    text = PROJECT.format(folder=tmp_path, zone=zone, extended_hours=extended_hours)
    (tmp_path / "gb.yaml").write_text(text, encoding="utf-8")
    source = Settings.load(tmp_path).source("mine")
    [outcome] = ingest(LakeStore.at(tmp_path / "data"), source, Resolution("5m"), [Job(source.instruments[0], *WEEK)])
    if fix is None:
        assert outcome.ok
        assert outcome.advice is None
        return
    assert {session.status for session in outcome.sessions} == {SessionStatus.REFUSED}
    assert outcome.advice is not None
    assert fix in outcome.advice.fix
    [partition] = split_by_partition({"2024-03-05": (date(2024, 3, 5), date(2024, 3, 6))}, outcome)
    shown = partition.failure_metadata()
    assert (shown["explanation"], shown["fix"]) == (outcome.advice.what, outcome.advice.fix)


def _write_file(path: Path, *, extended_hours: bool) -> None:
    grid = get_calendar("XNYS", extended_hours=extended_hours).expected(*WEEK, Resolution("5m"))
    local = grid["timestamp"].dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{stamp},10,11,9,10.5,5" for stamp in local]
    path.write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]), encoding="utf-8")
