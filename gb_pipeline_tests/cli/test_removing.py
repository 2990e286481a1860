"""`gb delete` and `gb removals`: what a person sees, and what the vendor is asked afterwards."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb

ETH = "sim:ETH-USDT"
DAYS = ("--start", "2024-01-02", "--end", "2024-01-05")
DELETE = ("--reason", "not licensed any more", "--yes")


@pytest.fixture
def lake(stored: Path, tmp_path: Path) -> Path:
    """A project with three days of two symbols, which the test may change."""
    project = tmp_path / "project"
    shutil.copytree(stored, project)
    text = (project / "gb.yaml").read_text(encoding="utf-8")
    (project / "gb.yaml").write_text(text.replace("start: 2024-01-01", "start: 2024-01-02\n    end: 2024-01-05"))
    return project


def asked(exchange: Simulation) -> list[datetime]:
    """Where the questions for bars begin."""
    starts = [request["query"].get("startTime") for request in exchange.requests]
    return [datetime.fromtimestamp(int(start) / 1000, UTC) for start in starts if start]


def test_what_goes_is_printed_confirmed_listed_and_explained(gb: Gb, lake: Path) -> None:
    told = gb("delete", ETH, "1m", "--from", "2024-01-03", "--dry-run", "-c", lake)
    assert (told.code, "2,880" in told.out, "nothing was changed" in told.err) == (0, True, True)
    assert gb("delete", ETH, "-c", lake, "--yes").code == 2
    alone = gb("delete", ETH, "--reason", "x", "-c", lake)
    assert (alone.code, "--yes" in alone.err) == (2, True)
    assert "nothing was removed" in gb("removals", "-c", lake).err
    told = gb("delete", ETH, "1m", "--from", "2024-01-03", *DELETE, "-c", lake)
    assert (told.code, "gb symbols remove sim ETH-USDT" in told.err) == (0, True)
    [row] = gb("removals", "sim", "--json", "-c", lake).json
    assert (row["action"], row["bars"], row["reason"]) == ("deleted", 2880, "not licensed any more")
    listed = gb("removals", "-c", lake).out
    assert "not licensed any more" in listed
    assert all(len(line) <= 80 for line in listed.splitlines())
    explained = gb("explain", ETH, "2024-01-03T05:00Z", "-c", lake)
    assert explained.code == 1
    for part in ("removed", "not licensed any more", "gb fetch sim ETH-USDT -r 1m --again"):
        assert part in explained.out
    [status] = [row for row in gb("status", ETH, "--json", "-c", lake).json if row["resolution"] == "1m"]
    assert (status["removed"], status["missing"], status["open"], status["sessions"]) == (2, 12, 12, 1)
    assert "removed" in [row["reason"] for row in gb("gaps", ETH, "--all", "--json", "-c", lake).json]


def test_a_name_has_to_be_right_and_one_series(gb: Gb, lake: Path) -> None:
    assert "did you mean sim:ETH-USDT" in gb("delete", "sim:ETH-USTD", *DELETE, "-c", lake).err
    assert gb("delete", "sim:*", *DELETE, "-c", lake).code == 2
    assert gb("delete", "ETH-USDT", *DELETE, "-c", lake).code == 2
    assert gb("delete", ETH, "1m", "-r", "1h", *DELETE, "-c", lake).code == 2
    assert gb("delete", ETH, "--from", "2024-01-04", "--to", "2024-01-04", *DELETE, "-c", lake).code == 2
    assert gb("delete", ETH, "--undo", "-c", lake).code == 2


def test_nobody_asks_for_removed_sessions_until_somebody_wants_them_back(
    gb: Gb, lake: Path, exchange: Simulation
) -> None:
    gb("delete", ETH, "--from", "2024-01-03", "--to", "2024-01-04", *DELETE, "-c", lake)
    exchange.requests.clear()
    gb("fetch", "sim", "ETH-USDT", *DAYS, "-c", lake)
    gb("update", "sim:ETH-USDT", "-c", lake)
    assert asked(exchange)
    removed = [moment for moment in asked(exchange) if moment.date() == date(2024, 1, 3)]
    assert not removed
    assert gb("show", ETH, "-r", "1m", "--start", "2024-01-03", "--end", "2024-01-04", "-c", lake).code == 1
    again = gb("fetch", "sim", "ETH-USDT", *DAYS, "--again", "-c", lake)
    assert "1 removed before" in again.err
    assert "brings back" in again.err
    rows = gb("status", ETH, "--json", "-c", lake).json
    assert [row["removed"] for row in rows if row["resolution"] == "1m"] == [0]


def test_undone_they_are_missing_and_fetched(gb: Gb, lake: Path) -> None:
    gb("delete", ETH, *DELETE, "-c", lake)
    told = gb("fetch", "sim", "ETH-USDT", *DAYS, "-c", lake)
    assert "removed on purpose" in told.err
    assert gb("delete", ETH, "--undo", "-c", lake).code == 0
    told = gb("fetch", "sim", "ETH-USDT", *DAYS, "-c", lake)
    assert "3 sessions changed" in told.err or "3 of 3 sessions changed" in told.err
    assert gb("verify", "-c", lake).code == 0


def test_a_rename_names_incidents_that_explain_nothing_of_it_any_more(gb: Gb, lake: Path) -> None:
    (lake / "incidents.yaml").write_text(
        "- {from: 2024-01-02, source: sim, symbols: [ETH-USDT], kind: halt, reason: news, evidence: mail}\n"
        "- {from: 2024-01-03, source: all, symbols: [ETH-*], kind: halt, reason: news, evidence: mail}\n"
    )
    told = gb("rename", ETH, "ETH-USD", "--reason", "a new name", "-c", lake)
    assert "entry 1 of incidents.yaml names ETH-USDT: add ETH-USD" in told.err
    assert "entry 2" not in told.err


def test_a_purge_says_where_versions_of_an_earlier_name_are(gb: Gb, lake: Path) -> None:
    gb("rename", ETH, "ETH-USD", "--reason", "a new name", "-c", lake)
    told = gb("delete", "sim:ETH-USD", "1m", "--purge", *DELETE, "-c", lake)
    assert "no version of these bars of sim:ETH-USD is left" in told.err
    assert "gb delete sim:ETH-USDT --purge" in told.err
    assert "it was called" not in gb("delete", ETH, "1m", "--purge", *DELETE, "-c", lake).err
    assert "it was called" not in gb("delete", "sim:ETH-USD", "1m", "--purge", *DELETE, "-c", lake).err


def test_a_renamed_series_is_told_with_what_to_change(gb: Gb, lake: Path) -> None:
    told = gb("rename", ETH, "ether-usdt", "--reason", "a new name", "-c", lake)
    assert told.code == 0
    assert "stand under sim:ETHER-USDT now" in told.err
    assert "gb symbols add sim ETHER-USDT" in told.err
    [row] = [row for row in gb("removals", "--json", "-c", lake).json if row["resolution"] == "1m"]
    assert (row["action"], row["renamed_to"]) == ("renamed", "ETHER-USDT")
    assert "it stands under sim:ETHER-USDT" in gb("explain", ETH, "2024-01-03T05:00Z", "-c", lake).out
    assert "renamed to ETHER-USDT" in gb("removals", "-c", lake).out
    assert gb("verify", "-c", lake).code == 0
    assert gb("rename", "sim:ETHER-USDT", "other:X", "--reason", "x", "-c", lake).code == 2
    assert gb("rename", "sim:ETHER-USDT", "BTC-USDT", "--reason", "x", "-c", lake).code == 1
    assert gb("rename", ETH, "X-USDT", "--reason", "x", "-c", lake).code == 2
