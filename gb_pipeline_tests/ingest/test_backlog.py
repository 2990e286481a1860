"""What is missing is asked for, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.backlog import Backlog, Why, find_backlog
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.lake import fetches, quarantine
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import SetClock, at

NOW = at("2024-01-10T12:00:30")
START = date(2024, 1, 1)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=["BTC-USDT", "ETH-USDT"], stocks=["AAPL"]) as running:
        yield running


def source(sim: Simulation, **own: Any) -> SourceSettings:
    body = {
        "name": "sim", "provider": "ccxt", "options": {"exchange": "binance", "base_url": sim.url}, "asset_class": "crypto",
        "start": "2024-01-01", "symbols": ["BTC-USDT", "ETH-USDT"], "retries": 0,
        "rate_limit": {"calls": 1000, "seconds": 1},
    }  # fmt: skip
    return SourceSettings.model_validate(body | own)


def find(store: LakeStore, chosen: SourceSettings, resolution: Resolution = Resolution.HOUR, **range_: Any) -> Backlog:
    return find_backlog(store, chosen, resolution, chosen.instruments, range_.pop("start", chosen.start), **range_)


def fetch(store: LakeStore, backlog: Backlog) -> int:
    """Fetch it; returns how many windows the vendor was asked for."""
    before = fetches.read(store.tables).height
    ingest(store, backlog.source, backlog.resolution, backlog.jobs())
    return fetches.read(store.tables).height - before


def whys(backlog: Backlog) -> dict[tuple[str, str], str]:
    return {(symbol, str(session)): why for symbol, session, why in backlog.sessions.rows()}


def test_everything_from_the_start_to_now_is_missing_and_nothing_once_it_is_fetched(
    sim: Simulation, store: LakeStore
) -> None:
    first = find(store, source(sim))
    assert first.reasons == {Why.NEW: 2 * 10}
    assert (first.start, first.end, first.settled) == (START, date(2024, 1, 11), 0)
    # The day that goes on is asked for by itself.
    assert fetch(store, first) == 4
    rest = find(store, source(sim))
    assert (rest.reasons, rest.settled, rest.jobs(), fetch(store, rest)) == ({}, 20, [], 0)


def test_bars_that_have_closed_since_are_missing(sim: Simulation, store: LakeStore, clock: SetClock) -> None:
    fetch(store, find(store, source(sim)))
    # An hour has begun, and is not over.
    clock.now = NOW + timedelta(minutes=50)
    assert find(store, source(sim)).reasons == {}
    clock.now = NOW + timedelta(hours=1)
    later = find(store, source(sim))
    assert whys(later) == {(code, "2024-01-10"): Why.MORE_BARS.value for code in ("BTC-USDT", "ETH-USDT")}
    sim.set_now(clock.now)
    fetch(store, later)
    assert find(store, source(sim)).reasons == {}
    # The day after, the rest of that day and the new one.
    clock.now = NOW + timedelta(days=1)
    assert find(store, source(sim)).reasons == {Why.NEW: 2, Why.MORE_BARS: 2}


def test_a_bar_that_is_still_open_is_not_asked_for(sim: Simulation, store: LakeStore) -> None:
    fetch(store, find(store, source(sim), start=date(2024, 1, 10)))
    rows = fetches.read(store.tables)
    assert rows["received"].to_list() == [12, 12]
    assert set(rows["window_end"]) == {at("2024-01-10T11:00:26")}
    assert quarantine.read(store.tables).is_empty()


def test_a_session_of_which_no_bar_has_closed_is_not_missing_yet(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    assert find(store, source(sim), Resolution.DAY).days["session"].max() == date(2024, 1, 9)
    clock.now = at("2024-01-11T00:00:05")
    assert find(store, source(sim), Resolution.DAY).days["session"].max() == date(2024, 1, 10)
    clock.now = at("2024-01-11T00:00:04")
    assert find(store, source(sim), Resolution.DAY).days["session"].max() == date(2024, 1, 9)


def test_what_failed_is_asked_for_again(sim: Simulation, store: LakeStore) -> None:
    sim.faults.add(match="symbol=ETHUSDT", status=503, times=-1)
    fetch(store, find(store, source(sim)))
    sim.faults.clear()
    rest = find(store, source(sim))
    assert rest.reasons == {Why.FAILED: 10}
    assert set(rest.wanted["symbol"]) == {"ETH-USDT"}
    assert fetch(store, rest) == 2
    assert find(store, source(sim)).reasons == {}


def test_open_gaps_are_asked_for_and_explained_ones_are_not(sim: Simulation, store: LakeStore) -> None:
    sim.plant("gap", "BTC-USDT", start="2024-01-03T10:00Z", end="2024-01-03T12:00Z")
    sim.plant("gap", "ETH-USDT", start="2024-01-04T00:00Z", end="2024-01-05T00:00Z")
    fetch(store, find(store, source(sim)))
    # Of a whole day the vendor's empty answer is the explanation.
    assert whys(find(store, source(sim))) == {("BTC-USDT", "2024-01-03"): Why.OPEN_GAPS.value}
    sim.reset()
    sim.set_now(NOW)
    assert fetch(store, find(store, source(sim))) == 1
    assert find(store, source(sim)).reasons == {}


def test_what_nobody_trades_is_no_open_gap(sim: Simulation, store: LakeStore) -> None:
    sim.plant("gap", "BTC-USDT", start="2024-01-03T10:00Z", end="2024-01-03T12:00Z")
    quiet = source(sim, gap_policy="no_trade")
    fetch(store, find(store, quiet))
    assert find(store, quiet).reasons == {}


def test_refused_sessions_are_asked_for_again(sim: Simulation, store: LakeStore) -> None:
    sim.plant("bad", "BTC-USDT", start="2024-01-03T10:00Z", values={"high": "0.01"})
    days = {"start": date(2024, 1, 2), "end": date(2024, 1, 5)}
    fetch(store, find(store, source(sim, max_bad_fraction=0), Resolution.MINUTE, **days))
    assert whys(find(store, source(sim), Resolution.MINUTE, **days)) == {("BTC-USDT", "2024-01-03"): Why.REFUSED.value}


def test_again_means_every_session(sim: Simulation, store: LakeStore) -> None:
    fetch(store, find(store, source(sim)))
    everything = find(store, source(sim), again=True)
    assert everything.reasons == {Why.AGAIN: 20}
    assert fetch(store, everything) == 4


def test_sessions_that_closed_lately_are_asked_for_once_more_and_no_older_ones(
    sim: Simulation, store: LakeStore
) -> None:
    fetch(store, find(store, source(sim)))
    found = find(store, source(sim), recent=3)
    # The day that goes on is not over.
    assert set(whys(found).values()) == {Why.RECENT.value}
    assert sorted({session for _, session in whys(found)}) == ["2024-01-07", "2024-01-08", "2024-01-09"]
    assert fetch(store, found) == 2
    assert find(store, source(sim), recent=100).reasons == {Why.RECENT: 2 * 9}
    assert find(store, source(sim)).reasons == {}


def test_that_a_day_is_empty_is_believed_for_a_while_and_then_asked_again(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    sim.plant("gap", "BTC-USDT", start="2024-01-05T00:00Z", end="2024-01-06T00:00Z")
    sim.plant("gap", "ETH-USDT", start="2024-01-06T00:00Z", end="2024-01-07T00:00Z")
    range_ = {"end": date(2024, 1, 9)}
    fetch(store, find(store, source(sim), **range_))
    for _ in range(2):
        clock.now += timedelta(days=29)
        assert find(store, source(sim), **range_).reasons == {}
        clock.now += timedelta(days=1)
        expired = find(store, source(sim), **range_)
        assert whys(expired) == dict.fromkeys(
            [("BTC-USDT", "2024-01-05"), ("ETH-USDT", "2024-01-06")], Why.EXPIRED.value
        )
        assert find(store, source(sim, empty_expires_days=None), **range_).reasons == {}
        # It is still so, and believed for as long again.
        assert fetch(store, expired) == 2
    sim.reset()
    clock.now += timedelta(days=30)
    fetch(store, find(store, source(sim), **range_))
    clock.now += timedelta(days=300)
    assert find(store, source(sim), **range_).reasons == {}


def test_days_before_a_listing_are_recorded_and_nobody_is_asked(sim: Simulation, store: LakeStore) -> None:
    listed = source(sim, symbols=[{"code": "BTC-USDT", "listed_from": "2024-01-05", "listed_until": "2024-01-08"}])
    backlog = find(store, listed)
    assert backlog.wanted.height == 3
    assert dict(backlog.sessions["why"].value_counts().rows()) == {Why.NEW.value: 3, Why.NOT_LISTED.value: 7}
    fetch(store, backlog)
    [row] = fetches.read(store.tables).to_dicts()
    assert (row["window_start"], row["window_end"]) == (at("2024-01-05"), at("2024-01-08"))
    assert find(store, listed).sessions.is_empty()
    # A listing that was written down wrongly: the days are asked for after all.
    assert find(store, source(sim, symbols=["BTC-USDT"])).reasons == {Why.NEW: 7}


def test_closed_days_belong_to_the_session_before_them(sim: Simulation, store: LakeStore, clock: SetClock) -> None:
    clock.now = at("2024-01-16T22:00:00")
    shares = source(sim, calendar="XNYS", asset_class="equity", provider="massive", symbols=["AAPL"])
    backlog = find(store, shares, Resolution.DAY)
    assert backlog.wanted["session"].to_list()[:1] == [date(2024, 1, 2)]
    [job] = backlog.jobs()
    assert (job.start, job.end) == (date(2024, 1, 1), date(2024, 1, 17))
    clock.now = at("2024-01-13T12:00:00")
    # The Sunday and the holiday after it have not begun.
    [job] = find(store, shares, Resolution.DAY, start=date(2024, 1, 10)).jobs()
    assert (job.start, job.end) == (date(2024, 1, 10), date(2024, 1, 14))


def test_a_calendar_that_is_corrected_makes_closed_days_missing(sim: Simulation, store: LakeStore) -> None:
    # The vendor's rows of the weekend would discredit its whole answer.
    weekdays = source(sim, calendar="24/5", max_bad_fraction=1.0)
    fetch(store, find(store, weekdays))
    assert find(store, weekdays).reasons == {}
    assert find(store, source(sim)).reasons == {Why.NEW: 2 * 2}


DAYS = [START + timedelta(days=number) for number in range(70)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    missing=st.sets(st.tuples(st.sampled_from(["BTC-USDT", "ETH-USDT"]), st.sampled_from(DAYS)), max_size=60),
    resolution=st.sampled_from([Resolution.SECOND, Resolution.MINUTE, Resolution.HOUR, Resolution.DAY]),
)
def test_jobs_hold_every_missing_session_once_and_no_other(
    missing: set[tuple[str, date]], resolution: Resolution
) -> None:
    chosen = SourceSettings.model_validate(
        {
            "name": "sim",
            "provider": "ccxt",
            "asset_class": "crypto",
            "start": START,
            "symbols": ["BTC-USDT", "ETH-USDT"],
        }
    )
    sessions = pl.DataFrame(
        [(symbol, day, Why.NEW.value) for symbol, day in sorted(missing)],
        schema={"symbol": pl.String(), "session": pl.Date(), "why": pl.String()},
        orient="row",
    )
    days = pl.DataFrame({"session": DAYS, "following": [*DAYS[1:], DAYS[-1] + timedelta(days=1)]}).with_columns(
        finished=True
    )
    backlog = Backlog(chosen, resolution, chosen.instruments, START, DAYS[-1], sessions, 0, False, days)
    jobs = backlog.jobs()
    covered = [(job.symbol.code, day) for job in jobs for day in DAYS if job.start <= day < job.end]
    assert sorted(covered) == sorted(missing)
    assert jobs == sorted(jobs, key=lambda job: (job.start, job.end, job.symbol.code))
    for code in ("BTC-USDT", "ETH-USDT"):
        own = [job for job in jobs if job.symbol.code == code]
        # Neighbours are one job unless a step ends between them.
        assert all(a.end < b.start or b.start.day == 1 for a, b in pairwise(own))


def test_half_a_million_sessions_are_looked_through_by_columns(tmp_path: Path) -> None:
    codes = [f"S{number:03d}" for number in range(200)]
    chosen = SourceSettings.model_validate(
        {"name": "sim", "provider": "massive", "calendar": "XNYS", "start": "2014-01-02", "symbols": codes}
    )
    store = LakeStore.at(tmp_path, clock=SetClock(datetime.fromisoformat("2024-01-02T12:00:00+00:00")))
    backlog = find(store, chosen, Resolution.MINUTE)
    assert backlog.wanted.height == 200 * 2516
    # A month of a symbol is one job, at the same edges for all.
    assert len(backlog.jobs()) == 200 * 120
