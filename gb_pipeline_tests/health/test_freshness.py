"""Which sessions are missing: by the calendar of the source and the listing of each symbol, whatever was fetched last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from gb_pipeline.config.settings import Settings
from gb_pipeline.health.checkup import CHECKS, examine
from gb_pipeline.health.project_state import ProjectState
from gb_pipeline.health.result import HealthResult, State
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline_tests.bars import SetClock, at, minutes
from gb_pipeline_tests.work import counted_work

DAY = timedelta(days=1)


class Project:
    """A source `stocks` of XNYS with 1h bars, and a clock that a test sets."""

    def __init__(self, folder: Path, **source: object) -> None:
        body = {
            "name": "stocks", "provider": "csv", "options": {"path": "files"}, "calendar": "XNYS", "start": "2024-11-25",
            "resolutions": ["1h"], "symbols": ["AAPL", "MSFT"],
        }  # fmt: skip
        content = {
            "path": folder / "gb.yaml", "lake": folder / "data", "state": folder / "state",
            "sources": {"stocks": body | source},
        }  # fmt: skip
        self.settings = Settings.model_validate(content)
        self.clock = SetClock(datetime(2024, 12, 1, tzinfo=UTC))
        self.store = LakeStore.at(folder / "data", state=folder / "state", clock=self.clock)

    def fetch(self, *days: str, symbols: tuple[str, ...] = ("AAPL", "MSFT")) -> None:
        """Store empty answers for sessions: the vendor was asked, and that is all that freshness looks at."""
        source = self.settings.source("stocks")
        rules = source.rules(Resolution.HOUR)
        for day in map(date.fromisoformat, days):
            window = Window.of(day, day + DAY)
            nothing = minutes(f"{day}T18:00", 1).clear()
            self.store.write_bars(
                "stocks", symbols, "1h", window, nothing, rules=rules, listings={s: source.listing(s) for s in symbols}
            )

    def look(self, name: str = "missing_sessions", now: str | None = None) -> HealthResult:
        if now is not None:
            self.clock.now = at(now)
        [result] = examine(ProjectState(self.settings, self.store), [name])
        return result

    def missing(self, now: str) -> int:
        return self.look(now=now).count


Build = Callable[..., Project]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return lambda **source: Project(tmp_path, **source)


def test_a_session_is_missing_once_it_closed_settled_and_had_time_to_be_fetched(build: Build) -> None:
    project = build(start="2024-11-26")
    # 16:00 in New York, an hour for the bar that begins before the close, a quarter to settle, two hours to be fetched.
    assert project.missing("2024-11-27T00:14:59") == 0
    assert project.missing("2024-11-27T00:16:00") == 2


def test_half_days_holidays_weekends_and_summer_time_are_those_of_the_calendar(build: Build) -> None:
    project = build(start="2024-11-27", symbols=["AAPL"])
    project.clock.now = at("2024-11-28T12:00:00")
    project.fetch("2024-11-27", symbols=("AAPL",))
    assert project.missing("2024-11-29T17:00:00") == 0, "Thanksgiving is no session"
    # The day after closes at 13:00 in New York.
    assert project.missing("2024-11-29T21:14:00") == 0
    assert project.missing("2024-11-29T21:16:00") == 1
    project.fetch("2024-11-29", symbols=("AAPL",))
    assert project.missing("2024-12-01T12:00:00") == 0, "a weekend"
    summer = build(start="2024-07-01", end="2024-07-02", symbols=["AAPL"])
    assert (summer.missing("2024-07-01T23:14:00"), summer.missing("2024-07-01T23:16:00")) == (0, 1)


def test_an_old_backfill_makes_nothing_green(build: Build) -> None:
    project = build(symbols=["AAPL"])
    project.clock.now = at("2024-11-30T12:00:00")
    project.fetch("2024-11-27", "2024-11-29", symbols=("AAPL",))
    found = project.look()
    assert (found.state, found.count, found.counts["series_behind"]) == (State.WARN, 2, 0)
    project.clock.now = at("2024-12-03T12:00:00")
    assert project.look().state is State.FAIL
    project.fetch("2024-11-25", "2024-11-26", symbols=("AAPL",))
    found = project.look()
    assert (found.state, found.sentence) == (
        State.FAIL,
        "1 session of 1 series is missing, 1 series lacks the newest one",
    )
    assert found.sample["last"].to_list() == [date(2024, 12, 2)]


def test_listed_yesterday_delisted_and_ended_series_miss_only_what_they_had(build: Build) -> None:
    symbols = [
        "AAPL",
        {"code": "NEW", "listed_from": "2024-12-02"},
        {"code": "OLD", "listed_until": "2024-11-26"},
        {"code": "SOON", "listed_from": "2025-06-01"},
    ]
    project = build(symbols=symbols)
    found = project.look(now="2024-12-03T12:00:00")
    assert dict(found.sample.select("symbol", "sessions").iter_rows()) == {"AAPL": 5, "NEW": 1, "OLD": 1}
    assert dict(found.sample.select("symbol", "behind").iter_rows()) == {"AAPL": True, "NEW": True, "OLD": False}
    ended = build(end="2024-11-27", symbols=["AAPL"])
    assert ended.missing("2034-01-01T00:00:00") == 2


def test_a_calendar_that_ends_is_no_reason_to_be_well(build: Build) -> None:
    project = build(start="2024-11-25", symbols=["AAPL"])
    end = project.settings.source("stocks").rules(Resolution.HOUR).calendar.end
    assert end is not None
    found = project.look(now=f"{end + 5 * DAY}T00:00:00")
    assert found.state is State.FAIL
    assert f"calendar XNYS is known until {end} only" in found.sentence


def test_a_clock_that_is_behind_the_lake_is_told(build: Build) -> None:
    project = build(symbols=["AAPL"])
    project.clock.now = at("2024-12-03T12:00:00")
    project.fetch("2024-12-02", symbols=("AAPL",))
    assert project.look("clock").state is State.OK
    found = project.look("clock", now="2024-11-26T23:59:00")
    assert (found.state, "2024-12-03 12:00Z" in found.sentence) == (State.FAIL, True)


def test_a_provider_that_is_not_installed_spoils_no_other_check(build: Build) -> None:
    project = build(provider="nosuch", start="2024-11-29", symbols=["AAPL"])
    project.clock.now = at("2024-12-01T00:00:00")
    project.fetch("2024-11-29", symbols=("AAPL",))
    results = {result.name: result for result in examine(ProjectState(project.settings, project.store))}
    assert list(results) == list(CHECKS)
    assert results["missing_sessions"].state is State.OK
    quota = results["vendor_quota"]
    assert (quota.state, quota.sentence) == (State.WARN, "stocks: there is no provider 'nosuch'")


def test_years_cost_no_more_calls_than_days(build: Build) -> None:
    calls = []
    for start in ("2024-11-25", "2014-11-24"):
        project = build(start=start)
        project.look(now="2024-12-03T12:00:00")
        with counted_work() as work:
            project.look(now="2024-12-03T12:00:00")
        calls.append(work.calls)
    assert calls[1] < 1.5 * calls[0], "columns, and no loop over sessions"
