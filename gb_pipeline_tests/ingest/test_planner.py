"""A plan says what a fetch takes, and the simulated vendor counts whether that is so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import PermanentVendorError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.ingest.planner import ASSUMED_LATENCY, plan
from gb_pipeline.lake import fetches
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.ingest.clock import stop_at

NOW = datetime(2024, 6, 20, 1, tzinfo=UTC)
SHARES = {"provider": "", "calendar": "XNYS", "symbols": ["AAPL", "KO"]}
VENDORS: dict[str, dict[str, Any]] = {
    exchange: {"provider": "ccxt", "options": {"exchange": exchange}, "asset_class": "crypto", "symbols": symbols}
    for exchange, symbols in {
        "binance": ["BTC-USDT", "ETH-USDT"],
        "coinbase": ["BTC-USD", "ETH-USD"],
        "kraken": ["BTC-USD", "ETH-USD"],
    }.items()
} | {
    "yahoo": SHARES | {"provider": "yahoo", "alignment": "session"},
    "alpaca": SHARES | {"provider": "alpaca", "options": {"key": "AKTESTPLUS", "secret": "a secret"}},
    "massive": SHARES | {"provider": "massive", "options": {"key": "a key"}},
    "alpha_vantage": SHARES | {"provider": "alpha_vantage", "options": {"key": "a key"}},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    pairs = [f"{base}-{quote}" for base in ("BTC", "ETH") for quote in ("USDT", "USD")]
    with Simulation(seed=7, symbols=pairs, stocks=["AAPL", "KO"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    for code in ("AAPL", "KO"):
        running.plant("listing", code, start="2024-01-02T05:00:00Z")
    return running


def source(sim: Simulation, name: str, **settings: Any) -> SourceSettings:
    body = {"name": name, "start": "2024-01-02", "retries": 0, **VENDORS[name], **settings}
    body["options"] = {"base_url": sim.url, **body.get("options", {})}
    return SourceSettings.model_validate(body)


def jobs(chosen: SourceSettings, *edges: date) -> list[Job]:
    return [Job(symbol, first, last) for first, last in pairwise(edges) for symbol in chosen.instruments]


@pytest.mark.parametrize("resolution", [Resolution.MINUTE_5, Resolution.DAY])
@pytest.mark.parametrize("name", VENDORS)
def test_the_vendor_counts_as_many_calls_as_were_planned(
    sim: Simulation, tmp_path: Path, name: str, resolution: Resolution
) -> None:
    store, chosen = LakeStore.at(tmp_path, clock=lambda: NOW), source(sim, name)
    # Three parts, the first two of one month; kraken has the last 720 bars only.
    late = name == "kraken" and resolution is Resolution.MINUTE_5
    edges = (
        [date(2024, 6, 18), date(2024, 6, 19)] if late else [date(2024, 5, 20), date(2024, 5, 28), date(2024, 6, 11)]
    )
    wanted = jobs(chosen, *edges)

    made = plan(store, chosen, resolution, wanted)
    assert len(sim.requests) == 0
    assert not list(store.tables.existing())

    outcomes = ingest(store, chosen, resolution, wanted)
    assert all(outcome.ok for outcome in outcomes), [outcome.error for outcome in outcomes if outcome.error]
    assert made.calls == len(sim.requests)
    assert made.rows == sum(session.expected for outcome in outcomes for session in outcome.sessions)
    assert made.rows == sum(outcome.counts.received for outcome in outcomes)


def test_how_long_a_call_takes_is_what_it_took(sim: Simulation, tmp_path: Path) -> None:
    store, chosen = LakeStore.at(tmp_path, clock=lambda: NOW), source(sim, "binance")
    wanted = jobs(chosen, date(2024, 6, 3), date(2024, 6, 5))
    before = plan(store, chosen, Resolution.HOUR, wanted)
    assert (before.latency, before.measured) == (ASSUMED_LATENCY, 0)
    sim.faults.add(match="klines", delay=0.05, times=-1)
    ingest(store, chosen, Resolution.HOUR, wanted)
    after = plan(store, chosen, Resolution.HOUR, wanted)
    assert after.measured == 2
    rows = fetches.read(store.tables)
    each = (rows["latency_ms"] / rows["calls"] / 1000).to_list()
    assert after.latency == pytest.approx(sum(each) / 2)
    assert min(each) >= 0.05


def test_the_slower_of_vendor_and_pace_decides(sim: Simulation, tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path, clock=lambda: NOW)
    slow = source(sim, "massive", rate_limit={"calls": 5, "seconds": 60})
    wanted = jobs(slow, *[date(2024, month, 1) for month in range(1, 7)])
    made = plan(store, slow, Resolution.MINUTE, wanted)
    assert made.rate == slow.rate_limit
    assert made.calls >= 10
    # The first five need no waiting.
    assert made.seconds == pytest.approx((-(-made.calls // 5) - 1) * 60 + ASSUMED_LATENCY)
    quick = source(sim, "massive", max_concurrency=2)
    assert plan(store, quick, Resolution.MINUTE, wanted).seconds == pytest.approx(made.calls * ASSUMED_LATENCY / 2)


def test_a_quota_says_on_which_day_it_ends(sim: Simulation, tmp_path: Path) -> None:
    store = LakeStore.at(tmp_path)
    chosen = source(sim, "alpha_vantage", daily_quota={"calls": 4, "zone": "America/New_York"})
    wanted = jobs(chosen, *[date(2024, month, 1) for month in range(1, 7)])
    now = datetime.now(UTC)
    budget = plan(store, chosen, Resolution.MINUTE_5, wanted).budget
    assert budget is not None
    assert (budget.calls, budget.used, budget.left, budget.known) == (4, 0, 4, True)
    made = plan(store, chosen, Resolution.MINUTE_5, wanted)
    assert made.calls == 10
    # 4 + 4 + 2, from New York's today.
    assert budget.ends - now.astimezone(ZoneInfo("America/New_York")).date() == timedelta(days=2)

    ingest(stop_at(store, NOW), chosen, Resolution.MINUTE_5, jobs(chosen, date(2024, 6, 3), date(2024, 6, 5)))
    stop_at(store, now)
    later = plan(store, chosen, Resolution.MINUTE_5, wanted).budget
    assert later is not None
    assert (later.used, later.left) == (2, 2)
    one = plan(store, chosen, Resolution.DAY, wanted[:1]).budget
    assert one is not None
    assert one.ends < later.ends


def test_a_plan_needs_no_key(sim: Simulation, tmp_path: Path) -> None:
    for name in ("alpha_vantage", "alpaca", "massive"):
        chosen = source(sim, name)
        chosen = chosen.model_copy(update={"options": {"base_url": sim.url}})
        made = plan(
            LakeStore.at(tmp_path, clock=lambda: NOW),
            chosen,
            Resolution.DAY,
            jobs(chosen, date(2024, 6, 3), date(2024, 6, 5)),
        )
        assert made.calls == 2
        if made.budget is not None:
            assert (made.budget.known, made.budget.left) == (False, 25)


def test_what_is_not_listed_or_yet_to_come_is_not_planned(sim: Simulation, tmp_path: Path) -> None:
    listed = [{"code": "AAPL", "listed_until": "2024-06-04"}, "KO"]
    chosen = source(sim, "alpaca", symbols=listed)
    made = plan(
        LakeStore.at(tmp_path, clock=lambda: NOW),
        chosen,
        Resolution.HOUR,
        jobs(chosen, date(2024, 6, 3), date(2024, 6, 5)),
    )
    assert (made.symbols, made.windows, made.rows) == (2, 2, 3 * 7)
    future = plan(
        LakeStore.at(tmp_path, clock=lambda: NOW),
        chosen,
        Resolution.HOUR,
        jobs(chosen, date(2024, 7, 1), date(2024, 7, 5)),
    )
    assert (future.calls, future.rows, future.seconds) == (0, 0, 0)


@pytest.mark.parametrize("minute", [0, 1, 13, 59])
@pytest.mark.parametrize("resolution", [Resolution.HOUR, Resolution.MINUTE_5])
def test_of_a_day_that_goes_on_as_many_bars_are_planned_as_come(
    sim: Simulation, tmp_path: Path, resolution: Resolution, minute: int
) -> None:
    now = datetime(2024, 6, 5, 9, minute, 30, tzinfo=UTC)
    sim.set_now(now)
    store, chosen = LakeStore.at(tmp_path, clock=lambda: now), source(sim, "coinbase")
    wanted = jobs(chosen, date(2024, 6, 4), date(2024, 6, 6))
    made = plan(store, chosen, resolution, wanted)
    outcomes = ingest(store, chosen, resolution, wanted)
    assert made.rows == sum(outcome.counts.received for outcome in outcomes)


def test_bars_that_the_vendor_has_not_are_refused_before_anything_is_asked(sim: Simulation, tmp_path: Path) -> None:
    chosen = source(sim, "alpha_vantage")
    with pytest.raises(PermanentVendorError, match="has no 1h bars"):
        plan(
            LakeStore.at(tmp_path),
            chosen,
            Resolution.HOUR,
            [Job(Symbol.equity("KO"), date(2024, 6, 3), date(2024, 6, 5))],
        )
