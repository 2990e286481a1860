"""Incidents explain gaps wherever these are shown, and what they explain is not asked for again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.config.project_incidents import ProjectIncidents
from gb_pipeline.config.settings import Settings
from gb_pipeline.ingest.backlog import Why, find_backlog
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.orchestration.events.stored_partitions import stored_outcomes
from gb_pipeline.orchestration.series_group import SeriesGroup
from gb_pipeline_tests.cli.console import Gb

PROJECT = """
sources:
  own:
    provider: csv
    options: {path: "own/{symbol}.csv"}
    asset_class: crypto
    start: 2024-01-01
    end: 2024-01-05
    symbols: [BTC-USD, ETH-USD]
    resolutions: [1h]
    max_bad_fraction: 1.0
"""
HALT = """
- from: 2024-01-02T10:00Z
  to: 2024-01-02T12:30Z
  source: own
  symbols: BTC-*
  kind: halt
  reason: halted for news
  evidence: https://example.org/notice
"""
CLOSURE = """
- from: 2024-01-03
  source: all
  kind: closure
  reason: a day of maintenance
  evidence: the exchange's mail
"""
ABSENT = [datetime(2024, 1, 2, hour, tzinfo=UTC) for hour in range(9, 15)]
ABSENT += [datetime(2024, 1, 3, hour, tzinfo=UTC) for hour in range(24)]


def write_bars(folder: Path, symbol: str, absent: list[datetime]) -> None:
    """Four days of hours in a file of the source."""
    stamps = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(96)]
    lines = [f"{stamp:%Y-%m-%dT%H:%M:%SZ},10,12,9,11,100" for stamp in stamps if stamp not in absent]
    (folder / "own" / f"{symbol}.csv").write_text(
        "\n".join(["timestamp,open,high,low,close,volume", *lines]), encoding="utf-8"
    )


@pytest.fixture
def project(tmp_path: Path, gb: Gb) -> Path:
    """Two symbols that lack six hours of one day and all of the next."""
    (tmp_path / "gb.yaml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "own").mkdir()
    for symbol in ("BTC-USD", "ETH-USD"):
        write_bars(tmp_path, symbol, ABSENT)
    assert gb("fetch", "own", "--config", tmp_path).code == 0
    return tmp_path


def explain(project: Path, *incidents: str) -> None:
    (project / "incidents.yaml").write_text("".join(incidents), encoding="utf-8")


def missing(frame: pl.DataFrame) -> dict[tuple[str, str | None], int]:
    """Missing bars by reason and kind of incident."""
    return {
        (row[0], row[1]): row[2]
        for row in frame.group_by("reason", "incident_kind").agg(pl.col("missing").sum()).rows()
    }


EXPLAINED = {("unknown", None): 10, ("incident", "halt"): 2, ("incident", "closure"): 48}


def test_gaps_are_explained_wherever_they_are_shown_and_no_longer_once_the_entry_is_gone(gb: Gb, project: Path) -> None:
    lake = Lake.open(project)
    first_known = lake.coverage()["known_at"].max()
    unexplained = missing(lake.gaps())
    before = lake.sql("select * from gaps")
    explain(project, HALT, CLOSURE)
    # The same object of Python, SQL, and what was known before the file was there.
    assert missing(lake.gaps()) == missing(lake.sql("select * from gaps")) == EXPLAINED
    assert (
        missing(lake.gaps(as_of=first_known)) == missing(lake.sql("select * from gaps", as_of=first_known)) == EXPLAINED
    )
    # A program that knows nothing of the project: the catalog, and a lake that is opened alone.
    with duckdb.connect(str(project / "data" / "catalog.duckdb"), read_only=True) as connection:
        assert missing(pl.DataFrame(connection.sql("select * from gaps").to_arrow_table())) == EXPLAINED
        assert connection.sql("select kind, reason from incidents").fetchall() == [
            ("halt", "halted for news"), ("closure", "a day of maintenance"),
        ]  # fmt: skip
    assert missing(Lake(LakeStore.at(project / "data")).gaps()) == EXPLAINED
    listed = gb("incidents", "--config", project)
    assert "50 missing bars explained by 2 incidents" in listed.err and "nothing" not in listed.err
    assert [row["explains"] for row in gb("incidents", "--json", "--config", project).json] == [2, 48]
    open_bars = {row["symbol"]: row["open"] for row in gb("status", "--json", "--config", project).json}
    assert open_bars == {"BTC-USD": 4, "ETH-USD": 6}
    shown = gb("gaps", "--all", "--config", project)
    assert "incident 1" in shown.out and "2024-01-02 10:00 .. 12:00" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "halted for news" in gb("explain", "own:BTC-USD", "2024-01-02T10:00Z", "--config", project).out
    assert "incidents" in gb("doctor", "--config", project).out
    assert gb("incidents", "check", "--config", project).code == 0
    (project / "incidents.yaml").unlink()
    assert missing(lake.gaps()) == unexplained
    assert lake.sql("select * from gaps").equals(before)
    assert "no gap is explained" in gb("incidents", "--config", project).err


def backlog(project: Path, *, again: bool = False) -> dict[Why, int]:
    source = Settings.load(project).source("own")
    store = LakeStore.at(project / "data", incidents=ProjectIncidents(project / "gb.yaml"))
    return find_backlog(
        store, source, Resolution.HOUR, source.instruments, date(2024, 1, 1), date(2024, 1, 5), again=again
    ).reasons


def test_what_is_explained_is_asked_for_with_again_only_and_a_bar_that_comes_closes_the_gap(
    gb: Gb, project: Path
) -> None:
    assert backlog(project) == {Why.OPEN_GAPS: 2}
    explain(project, HALT.replace("10:00Z", "09:00Z").replace("12:30Z", "15:00Z").replace("BTC-*", "all"), CLOSURE)
    assert backlog(project) == {}
    assert "nothing to fetch" in gb("fetch", "own", "--config", project).err
    assert backlog(project, again=True) == {Why.AGAIN: 8}
    write_bars(project, "BTC-USD", ABSENT[1:])
    assert "1 stored" in gb("fetch", "own", "--again", "--config", project).err
    [gap] = Lake.open(project).gaps("own", "BTC-USD", start="2024-01-02", end="2024-01-03").to_dicts()
    assert (gap["start"], gap["missing"], gap["incident_kind"]) == (ABSENT[1], 5, "halt")


def test_a_session_wholly_in_a_closure_has_not_failed(gb: Gb, project: Path) -> None:
    source = Settings.load(project).source("own")
    store = LakeStore.at(project / "other", incidents=ProjectIncidents(project / "gb.yaml"))
    rules = source.rules(Resolution.HOUR)
    window = rules.calendar.window(date(2024, 1, 3), date(2024, 1, 4), Resolution.HOUR)
    explain(project, CLOSURE)
    [report] = store.record_failure("own", ["BTC-USD"], window, rules=rules)
    assert report.status is SessionStatus.EMPTY and report.gaps[0].incident == "closure: a day of maintenance"
    # What is recorded says what happened; only who reads it is told why.
    assert Lake(LakeStore.at(project / "other")).coverage()["status"].to_list() == ["failed"]
    assert Lake(store).coverage()["status"].to_list() == ["empty"]
    reasons = find_backlog(
        store, source, Resolution.HOUR, source.instruments[:1], date(2024, 1, 3), date(2024, 1, 4)
    ).reasons
    assert reasons == {}


def test_dagster_shows_what_is_explained(project: Path) -> None:
    explain(project, HALT.replace("10:00Z", "09:00Z").replace("12:30Z", "15:00Z").replace("BTC-*", "all"), CLOSURE)
    settings = Settings.load(project)
    store = LakeStore.at(settings.lake, incidents=ProjectIncidents(settings.path))
    group = SeriesGroup(settings.source("own"), Resolution.HOUR)
    partitions = pl.DataFrame({"symbol": ["BTC-USD", "BTC-USD"], "key": ["2024-01-02", "2024-01-03"]})
    outcomes = [outcome for _, outcome in stored_outcomes(store, group, group.source.instruments, partitions)]
    for outcome, kind in zip(outcomes, ("halt: halted for news", "closure: a day of maintenance"), strict=True):
        metadata = outcome.materialization_metadata(66)
        assert metadata["unexplained"] == 0 and metadata["missing"] > 0
        assert [record.data["reason"] for record in metadata["largest_gaps"].records] == [kind]


def test_a_catalog_of_other_incidents_is_stale(project: Path) -> None:
    lake = Lake.open(project)
    lake.sql("select 1")
    assert not catalog_is_stale(lake.store)
    explain(project, CLOSURE)
    assert catalog_is_stale(lake.store)
    # Nobody who knows of no project says that it is.
    assert not catalog_is_stale(LakeStore.at(project / "data"))


def test_entries_that_explain_nothing_or_name_nothing_are_said(gb: Gb, project: Path) -> None:
    explain(project, CLOSURE.replace("01-03", "01-01"), CLOSURE)
    assert "entry 1 explains nothing" in gb("incidents", "--config", project).err
    explain(project, HALT.replace("BTC-*", "BTC-UDS"))
    for command in (["incidents"], ["incidents", "check"]):
        told = gb(*command, "--config", project)
        assert told.code == 2 and "entry 1 (line 2): there is no symbol 'BTC-UDS' of own" in told.err
    assert "BTC-UDS" in gb("doctor", "--config", project).out
    explain(project, HALT.replace("halt\n", "hlat\n"))
    for command in (["gaps"], ["status"], ["fetch", "own"], ["incidents"]):
        assert "did you mean halt?" in gb(*command, "--config", project).err
