"""What is heard around the clock: a collector that is gone, commits that are late, and stretches that nothing covers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from gb_pipeline.collectors.state import CollectorState, StreamState
from gb_pipeline.config.settings import Settings
from gb_pipeline.health.checkup import examine
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import HealthResult
from gb_pipeline.health.streams import describe_problems
from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.streams import SECOND, commit_interval, commit_watermark, nanoseconds

NOW = nanoseconds("2024-01-03 12:00")
HOUR = 3600 * SECOND
STREAM = StreamState("kraken", "trades", "BTC-USD", "kraken-1", connected=True, messages=9, last_message_time=NOW)
WELL = CollectorState("one", os.getpid(), "1.0", NOW - HOUR, NOW, (STREAM,))

Look = Callable[[str], HealthResult]


@pytest.fixture
def project(tmp_path: Path) -> ProjectState:
    streams = {
        "kraken": {"venue": "kraken", "symbols": ["BTC-USD", "ETH-USD"]},
        "kalshi": {"venue": "kalshi", "series": ["KXBTC"]},
    }
    collect = {"collector": "one", "streams": streams}
    (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "collect": collect}), encoding="utf-8")
    settings = Settings.load(tmp_path)
    settings.spool.mkdir(parents=True)
    return ProjectState(settings, LakeStore.at(settings.lake, clock=lambda: datetime.fromtimestamp(NOW // SECOND, UTC)))


@pytest.fixture
def look(project: ProjectState) -> Look:
    return lambda name: next(examine(project, [name]))


def cover(project: ProjectState, hours: float, until: int = NOW, **rest: object) -> None:
    """Two symbols of kraken are covered for so many hours, and committed."""
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_interval(project.store, until - int(hours * HOUR), until, symbol=symbol, messages=500_000, **rest)
    commit_watermark(project.store, until)


def test_a_stream_that_its_venue_refuses_is_not_well_though_its_connection_stands() -> None:
    assert list(describe_problems(WELL, NOW)) == []
    refused = replace(WELL, streams=(STREAM, replace(STREAM, symbol="NOPE-USD", begun=False)))
    [problem] = describe_problems(refused, NOW)
    assert problem.startswith("kraken trades NOPE-USD has not begun")


def test_where_nothing_is_collected_nothing_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "gb.yaml").write_text("lake: data\n", encoding="utf-8")
    settings = Settings.load(tmp_path)
    state = ProjectState(settings, LakeStore.at(settings.lake))
    results = list(examine(state, ["collector", "stream_watermarks", "stream_coverage"]))
    assert [result.state for result in results] == ["skipped"] * 3
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("state", "found", "says"),
    [
        (WELL, "ok", "hears 1 streams"),
        (replace(WELL, stopped=True), "fail", "was stopped"),
        (replace(WELL, written_time=NOW - 60 * SECOND), "fail", "has not been heard of for 60 s"),
        (replace(WELL, spool_error="No space left on device"), "fail", "spool cannot be written: No space left"),
        (replace(WELL, flush_error="the bucket does not answer"), "warn", "nothing can be committed: the bucket"),
        (replace(WELL, streams=(replace(STREAM, connected=False),)), "warn", "kraken trades BTC-USD is not connected"),
        (replace(WELL, streams=(replace(STREAM, open_gap="sequence"),)), "warn", "is not covered: sequence"),
        (
            replace(WELL, streams=(replace(STREAM, stalled=True, last_message_time=NOW - 400 * SECOND),)),
            "warn",
            "is silent for 6.67 min",
        ),
        (
            replace(WELL, streams=tuple(replace(STREAM, symbol=f"S{n}", connected=False) for n in range(5))),
            "warn",
            "and 2 more",
        ),
    ],
)
def test_a_collector_is_as_well_as_what_it_says(
    project: ProjectState, look: Look, state: CollectorState, found: str, says: str
) -> None:
    assert look("collector").state == "skipped"
    state.write(project.settings.spool)
    result = look("collector")
    assert (result.state, says in result.sentence) == (found, True), result.sentence
    assert (result.repair == "gb collect") == (found == "fail" and state.spool_error is None)


def test_a_state_that_cannot_be_read_is_a_failure(project: ProjectState, look: Look) -> None:
    (project.settings.spool / "state.json").write_text("{", encoding="utf-8")
    assert look("collector").state == "fail"


def test_a_feed_is_late_when_its_newest_commit_of_any_collector_is(project: ProjectState, look: Look) -> None:
    never = look("stream_watermarks")
    assert (never.state, never.count) == ("warn", 2)
    commit_watermark(project.store, NOW - HOUR, source="kalshi")
    commit_watermark(project.store, NOW - 2 * HOUR)
    late = look("stream_watermarks")
    assert (late.state, late.count) == ("fail", 1)
    assert "kraken trades is committed up to 2 h ago" in late.sentence
    # Another collector hears the same.
    commit_watermark(project.store, NOW - HOUR, collector="two")
    assert look("stream_watermarks").state == "ok"


def test_what_no_evidence_covers_is_told_from_the_first_evidence_to_the_watermark(
    project: ProjectState, look: Look
) -> None:
    assert look("stream_coverage").state == "skipped"
    cover(project, 2)
    well = look("stream_coverage")
    assert (well.state, well.counts["messages"], well.counts["gaps"]) == ("ok", 1_000_000, 0)
    commit_interval(project.store, NOW - 5 * HOUR, NOW - 3 * HOUR)
    commit_interval(project.store, NOW - 3 * HOUR, NOW - 2 * HOUR, kind="gap", reason="disconnect")
    hole = look("stream_coverage")
    assert (hole.state, hole.count) == ("warn", 1)
    assert "kraken trades BTC-USD: nothing covers 60 min of the last day (disconnect)" in hole.sentence
    assert hole.counts["gaps_per_million"] == 1.0
    commit_interval(project.store, NOW - 3 * HOUR, NOW - 2 * HOUR, kind="healed")
    assert look("stream_coverage").state == "ok"


def test_two_collectors_fill_each_others_holes(project: ProjectState, look: Look) -> None:
    cover(project, 3, NOW - 4 * HOUR)
    cover(project, 1)
    assert look("stream_coverage").state == "fail", "three hours of the day"
    cover(project, 3.5, NOW - HOUR // 2, collector="two")
    assert look("stream_coverage").state == "ok"


def test_behind_its_last_evidence_a_stream_is_being_heard_but_not_for_long(project: ProjectState, look: Look) -> None:
    cover(project, 2, NOW - 300 * SECOND)
    commit_watermark(project.store, NOW)
    assert look("stream_coverage").counts["uncovered_seconds"] == 0
    commit_interval(project.store, NOW - 300 * SECOND, NOW - 250 * SECOND, kind="gap", reason="disconnect")
    assert look("stream_coverage").counts["uncovered_seconds"] == 50
    for symbol in ("BTC-USD", "ETH-USD"):
        commit_interval(project.store, NOW - 300 * SECOND, NOW, symbol=symbol)
    commit_interval(project.store, NOW - 3 * HOUR, NOW - HOUR, source="kalshi", symbol="KXBTC-A")
    assert look("stream_coverage").state == "ok"


def test_a_stream_that_lost_its_evidence_is_not_covered(project: ProjectState, look: Look) -> None:
    cover(project, 2, NOW - HOUR)
    commit_watermark(project.store, NOW)
    assert look("stream_coverage").counts["uncovered_seconds"] == 7200


def test_a_hole_within_the_budget_is_no_news(project: ProjectState, look: Look) -> None:
    cover(project, 23)
    cover(project, 12, NOW - 23 * HOUR - 30 * SECOND)
    assert look("stream_coverage").counts["uncovered_seconds"] == 60.0
    assert look("stream_coverage").state == "ok"


def test_a_contract_of_a_series_is_expected_until_its_last_evidence(project: ProjectState, look: Look) -> None:
    cover(project, 20)
    commit_interval(project.store, NOW - 9 * HOUR, NOW - 8 * HOUR, source="kalshi", symbol="KXBTC-26NOV2917-B90000")
    commit_watermark(project.store, NOW, source="kalshi")
    assert look("stream_coverage").state == "ok"
    commit_interval(project.store, NOW - 5 * HOUR, NOW - 4 * HOUR, source="kalshi", symbol="KXBTC-26NOV2917-B90000")
    assert look("stream_coverage").count == 1
