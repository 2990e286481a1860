"""`gb healing`: what is asked for again by itself, and asking for it now."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.home import ensure_home
from gb_pipeline.orchestration.events.outcome import DEFERRED_TAG, UNTIL_TAG
from gb_pipeline.orchestration.events.project_events import open_instance
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import Gb


def write_project(folder: Path, exchange: Simulation, **settings: object) -> None:
    """A source of two days of hours, with these settings besides."""
    source = {
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": exchange.url},
        "asset_class": "crypto",
        "start": "2024-01-02",
        "end": "2024-01-04",
        "resolutions": ["1h"],
        **settings,
    }
    (folder / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {"sim": source}}), "utf-8")


@pytest.fixture
def open_work(gb: Gb, tmp_path: Path, exchange: Simulation) -> Path:
    """Two days of one symbol that failed, and a gap of another one."""
    write_project(tmp_path, exchange, symbols=["BTC-USDT", "ETH-USDT"], retries=0)
    assert gb("healing", "-c", tmp_path).err.startswith("nothing is open of what was fetched")
    exchange.faults.add(match="symbol=ETHUSDT", status=503, times=-1)
    exchange.plant("gap", "BTC-USDT", start="2024-01-03T05:00Z", end="2024-01-03T08:00Z")
    assert gb("update", "-c", tmp_path).code == 3
    return tmp_path


def test_it_lists_neighbouring_sessions_as_one_line_with_the_reason_and_the_last_error(gb: Gb, open_work: Path) -> None:
    told = gb("healing", "-c", open_work)
    assert told.code == 0
    lines = [line.split() for line in told.out.splitlines() if line.strip().startswith("sim:")]
    assert [line[:2] for line in lines] == [["sim:BTC-USDT", "1h"], ["sim:ETH-USDT", "1h"]]
    assert "2024-01-02 .. 2024-01-03" in told.out
    assert "failed before" in told.out
    assert "with unexplained gaps" in told.out
    assert told.err.splitlines() == [
        "2 sessions: binance answered HTTP 503: '503: simulated'",
        "3 sessions open: 3 waiting; moments are UTC",
        "stored sessions that are asked for again for corrections (`refetch_sessions`): sim 0",
    ]
    rows = gb("healing", "-c", open_work, "--json").json
    assert [(row["symbol"], row["session"], row["attempts"], row["state"]) for row in rows] == [
        ("BTC-USDT", "2024-01-03", 1, "waiting"),
        ("ETH-USDT", "2024-01-02", 1, "waiting"),
        ("ETH-USDT", "2024-01-03", 1, "waiting"),
    ]
    assert len(gb("healing", "BTC-USDT", "-c", open_work, "--json").json) == 1


def test_retry_asks_now_for_what_is_listed_and_for_nothing_else(gb: Gb, open_work: Path, exchange: Simulation) -> None:
    failing = gb("healing", "--retry", "-c", open_work)
    assert failing.code == 3
    assert "sim 1h: 3 sessions asked for, 3 still open" in failing.err
    exchange.reset()
    assert gb("healing", "--retry", "-c", open_work, "--json").json == [
        {"source": "sim", "resolution": "1h", "asked": 3, "open": 0}
    ]
    asked = [request for request in exchange.requests if "klines" in str(request)]
    assert len(asked) == 2
    assert gb("healing", "-c", open_work, "--json").json == []


def test_what_waits_for_the_vendors_next_day_is_listed_with_when_it_comes_and_counted_in_health(
    gb: Gb, tmp_path: Path, exchange: Simulation
) -> None:
    # The markets and one symbol.
    quota = {"calls": 2, "zone": "Asia/Tokyo"}
    write_project(tmp_path, exchange, symbols=["BTC-USDT", "SOL-USDT"], max_concurrency=1, daily_quota=quota)
    ensure_home(tmp_path)
    assert gb("update", "-c", tmp_path).code == 3

    rows = gb("healing", "-c", tmp_path, "--json").json
    assert [(row["symbol"], row["session"], row["why"], row["attempts"], row["state"]) for row in rows] == [
        ("SOL-USDT", "2024-01-02", "deferred", 1, "waiting"),
        ("SOL-USDT", "2024-01-03", "deferred", 1, "waiting"),
    ]
    # Midnight in Tokyo.
    assert {row["next"][-9:] for row in rows} == {"15:00:00Z"}
    told = gb("healing", "-c", tmp_path)
    assert "2024-01-02 .. 2024-01-03" in told.out and "15:00" in told.out
    assert "2 sessions open: 2 waiting; moments are UTC" in told.err

    [found] = gb("health", "deferred_partitions", "-c", tmp_path, "--json").json
    assert (found["state"], found["counts"]) == ("ok", {"deferred": 2, "series": 1, "overdue": 0})
    assert found["finding"].startswith("2 partitions of 1 series wait for the vendor's next day, which begins at ")
    with open_instance(Settings.load(tmp_path)) as instance:
        [run] = instance.get_runs(dg.RunsFilter(tags={DEFERRED_TAG: "sim_bars_1h"}))
        instance.add_run_tags(run.run_id, {UNTIL_TAG: "2024-02-01T15:00Z"})
    [found] = gb("health", "deferred_partitions", "-c", tmp_path, "--json").json
    assert (found["state"], found["count"], found["repair"]) == ("warn", 2, "gb update sim")

    next(tmp_path.rglob("*.quota.sqlite")).unlink()
    assert gb("update", "sim", "-c", tmp_path).code == 0
    assert gb("healing", "-c", tmp_path, "--json").json == []
    [found] = gb("health", "deferred_partitions", "-c", tmp_path, "--json").json
    assert (found["state"], found["finding"]) == ("ok", "nothing waits for a vendor's next day")
