"""The calls of a vendor's day are used up: the rest waits, nothing failed, and the ledger says nothing new."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from gb_pipeline.config.settings import DailyQuota, SourceSettings
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches, ledger
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation import Simulation

START = date(2024, 1, 2)
CODES = [f"S{number}-USDT" for number in range(6)]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=CODES) as running:
        yield running


def source(sim: Simulation, calls: int, **settings: object) -> SourceSettings:
    body = {
        "name": "sim",
        "provider": "ccxt",
        "options": {"exchange": "binance", "base_url": sim.url},
        "asset_class": "crypto",
        "start": "2024-01-01",
        "symbols": CODES,
        "retries": 3,
        "daily_quota": {"calls": calls, "zone": "America/New_York"},
    }
    return SourceSettings.model_validate(body | settings)


def fetch(store: LakeStore, settings: SourceSettings, codes: list[str], days: int = 1) -> list[Outcome]:
    jobs = [Job(Symbol.crypto(code), START, START + timedelta(days=days)) for code in codes]
    return ingest(store, settings, Resolution.HOUR, jobs)


def test_what_was_fetched_is_stored_and_what_was_not_is_deferred(sim: Simulation, store: LakeStore) -> None:
    # One call is the list of markets, one each are the symbols.
    outcomes = fetch(store, source(sim, 4, max_concurrency=1), CODES, days=3)

    assert len(sim.requests) == 4
    assert [outcome.ok for outcome in outcomes] == [True] * 3 + [False] * 3
    assert [outcome.error for outcome in outcomes] == [None] * 6
    assert [session.status for session in outcomes[3].sessions] == [SessionStatus.DEFERRED] * 3
    until = outcomes[3].deferred_until
    assert until is not None
    assert until > datetime.now(UTC)
    assert until.astimezone(ZoneInfo("America/New_York")).time() == time(0)
    assert outcomes[0].deferred_until is None
    assert "4 of 4 calls used" in str(outcomes[5].deferred)
    assert pl.read_delta(store.storage.table("bars_1h"))["symbol"].unique().sort().to_list() == CODES[:3]


@pytest.mark.parametrize("at_once", [1, 4])
def test_one_row_says_so_for_all_that_wait(sim: Simulation, store: LakeStore, at_once: int) -> None:
    fetch(store, source(sim, 3, max_concurrency=at_once), CODES)
    fetch(store, source(sim, 3, max_concurrency=at_once), CODES)

    assert len(sim.requests) == 3
    rows = fetches.read(store.tables)
    assert rows["outcome"].to_list().count("ok") == 2
    waiting = rows.filter(pl.col("outcome") == "deferred")
    # One per run, although four or all of them had to wait.
    assert waiting.height == 2
    assert waiting["error"].unique().to_list() == ["QuotaExhausted"]
    # Of several at once, one that has to wait may have been the first to come, who reads the list of markets.
    assert waiting["calls"].sum() <= (at_once > 1)
    assert rows.height == 4


def test_the_ledger_of_sessions_is_as_it_was(sim: Simulation, store: LakeStore) -> None:
    fetch(store, source(sim, 100), CODES[:1])
    sim.faults.add(match="S1USDT", status=404, times=-1)
    fetch(store, source(sim, 100), CODES[1:2])
    before = ledger.current(store.tables)
    assert before["status"].to_list() == ["complete", "failed"]

    outcomes = fetch(store, source(sim, 1), CODES[:3])

    assert all(outcome.deferred is not None for outcome in outcomes)
    assert ledger.current(store.tables).equals(before)


def test_a_call_that_was_made_before_the_quota_ended_leaves_its_row(sim: Simulation, store: LakeStore) -> None:
    (outcome,) = fetch(
        store, source(sim, 2), CODES[:1], days=90
    )  # three pages of a thousand hours; the markets are nobody's

    assert outcome.deferred is not None
    assert len(sim.requests) == 2
    (row,) = fetches.read(store.tables).iter_rows(named=True)
    assert (row["outcome"], row["calls"], row["received"]) == ("deferred", 1, 0)
    assert not (store.storage.root / "bars_1h").exists()


def test_another_day_goes_on_where_this_one_stopped(sim: Simulation, store: LakeStore, tmp_path: Path) -> None:
    fetch(store, source(sim, 3, max_concurrency=1), CODES[:4])
    # The vendor's midnight: the file holds nothing but the day's count.
    next((tmp_path).rglob("*.quota.sqlite")).unlink()
    outcomes = fetch(store, source(sim, 30, max_concurrency=1), CODES[:4])

    assert all(outcome.ok for outcome in outcomes)
    assert ledger.current(store.tables)["status"].to_list() == ["complete"] * 4


def test_days_without_a_session_and_outside_the_listing_are_not_deferred(sim: Simulation, store: LakeStore) -> None:
    listed = [{"code": CODES[0], "listed_from": "2024-01-04"}]
    settings = source(sim, 1, calendar="24/5", symbols=listed)
    (outcome,) = fetch(store, settings, CODES[:1], days=7)

    assert [(str(session.session)[-2:], session.status.value) for session in outcome.sessions] == [
        ("02", "not_listed"),
        ("03", "not_listed"),
        ("04", "deferred"),
        ("05", "deferred"),
        ("06", "closed"),
        ("07", "closed"),
        ("08", "deferred"),
    ]


def test_a_failure_beside_it_stays_a_failure(sim: Simulation, store: LakeStore) -> None:
    sim.faults.add(match="S0USDT", status=404)
    outcomes = fetch(store, source(sim, 2, max_concurrency=1), CODES[:2])

    assert outcomes[0].error is not None
    assert outcomes[0].deferred is None
    assert outcomes[1].error is None
    assert outcomes[1].deferred is not None


def test_hundreds_that_wait_cost_one_row_and_one_commit(sim: Simulation, store: LakeStore) -> None:
    codes = [f"Q{number}-USDT" for number in range(400)]
    settings = source(sim, 1, symbols=codes)
    fetch(store, settings, codes[:1])
    before = sum(1 for path in store.storage.root.rglob("*") if path.is_file())
    outcomes = fetch(store, settings, codes)

    assert {outcome.sessions[0].status for outcome in outcomes} == {SessionStatus.DEFERRED}
    assert fetches.read(store.tables).height == 2
    assert len(sim.requests) == 1
    # The row and its commit, not one of either for each that waits.
    assert sum(1 for path in store.storage.root.rglob("*") if path.is_file()) - before < 20


def test_the_quota_is_a_number_of_a_zone() -> None:
    assert DailyQuota(calls=25).zone == "UTC"
    with pytest.raises(ValueError, match="not a time zone"):
        DailyQuota(calls=25, zone="New York")
