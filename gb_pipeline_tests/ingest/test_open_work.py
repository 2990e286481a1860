"""What is open is asked for again, a bounded number of times and never sooner than it was said."""

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

from gb_pipeline.config.healing import HealingSettings
from gb_pipeline.config.project_incidents import ProjectIncidents
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.ingest.attempts import ASKED, DEFERRED
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.job import Job
from gb_pipeline.ingest.open_work import OpenWork, State, find_open_work
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.bars import SetClock, at

NOW = at("2024-01-10T12:00:30")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BTC, ETH = "BTC-USDT", "ETH-USDT"
HEALING = HealingSettings()
MOST = 1 + len(HEALING.after)


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulation]:
    with Simulation(seed=3, symbols=[BTC, ETH]) as running:
        yield running


def source(sim: Simulation, **own: Any) -> SourceSettings:
    body = {
        "name": "sim", "provider": "ccxt", "options": {"exchange": "binance", "base_url": sim.url}, "asset_class": "crypto",
        "start": "2024-01-01", "end": "2024-01-06", "symbols": [BTC, ETH], "retries": 0,
        "rate_limit": {"calls": 1000, "seconds": 1},
    }  # fmt: skip
    return SourceSettings.model_validate(body | own)


def look(store: LakeStore, chosen: SourceSettings, **more: Any) -> OpenWork:
    return find_open_work(store, chosen, Resolution.HOUR, chosen.instruments, HEALING, **more)


def fetch(
    store: LakeStore, chosen: SourceSettings, days: pl.DataFrame | None = None, run_id: str | None = None
) -> None:
    """Fetch some days, or everything from the start on."""
    symbols = {symbol.code: symbol for symbol in chosen.instruments}
    if days is None:
        assert chosen.end is not None
        jobs = [Job(symbol, chosen.start, chosen.end) for symbol in symbols.values()]
    else:
        jobs = [Job(symbols[code], day, day + DAY) for code, day in days.select("symbol", "session").iter_rows()]
    ingest(store, chosen, Resolution.HOUR, jobs, run_id=run_id)


def fail(sim: Simulation, code: str, times: int = -1, status: int = 503) -> None:
    sim.faults.add(match=f"symbol={code.replace('-', '')}", status=status, times=times)


def test_what_nobody_asked_for_is_no_open_work(sim: Simulation, store: LakeStore) -> None:
    assert look(store, source(sim)).items.is_empty()


def test_what_is_stored_is_no_open_work(sim: Simulation, store: LakeStore) -> None:
    fetch(store, source(sim))
    assert look(store, source(sim)).items.is_empty()


def test_a_failed_session_waits_an_hour_and_says_why_it_failed(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    fail(sim, ETH)
    fetch(store, source(sim))
    work = look(store, source(sim))
    assert work.items["symbol"].unique().to_list() == [ETH]
    assert work.items["session"].to_list() == [date(2024, 1, day) for day in range(1, 6)]
    first = work.items.row(0, named=True)
    assert (first["why"], first["attempts"], first["state"]) == ("failed before", 1, "waiting")
    assert first["error"] == "TransientVendorError"
    assert first["next"] == first["last"] + HOUR
    assert work.next == first["next"]

    clock.now += HOUR - timedelta(seconds=1)
    assert look(store, source(sim)).due.is_empty()
    clock.now += timedelta(minutes=1)
    assert look(store, source(sim)).due.height == 5


def test_a_gap_that_stays_open_counts_each_time_it_was_asked_for(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    sim.plant("gap", BTC, start="2024-01-03T05:00Z", end="2024-01-03T08:00Z")
    fetch(store, source(sim))
    work = look(store, source(sim))
    assert work.items.select("symbol", "session", "why", "attempts").rows() == [
        (BTC, date(2024, 1, 3), "with unexplained gaps", 1)
    ]
    assert work.items["error"].to_list() == [None]
    clock.now += 2 * HOUR
    fetch(store, source(sim), work.items, run_id="one")
    assert look(store, source(sim)).items["attempts"].to_list() == [2]


@pytest.mark.parametrize("status", [503, 404])
def test_it_is_given_up_after_as_many_attempts_as_there_are_waits_and_sooner_where_it_fails_for_good(
    sim: Simulation, store: LakeStore, clock: SetClock, status: int
) -> None:
    fail(sim, ETH, status=status)
    fetch(store, source(sim), run_id="first")
    moments = [clock.now]
    while (following := (work := look(store, source(sim))).next) is not None:
        assert work.due.is_empty()
        clock.now = following
        due = look(store, source(sim)).due
        assert due.height == 5
        fetch(store, source(sim), due, run_id=f"run {len(moments)}")
        moments.append(clock.now)
    assert work.items["state"].unique().to_list() == [State.GIVEN_UP.value]
    assert work.items["next"].null_count() == work.items.height == 5
    assert work.items["attempts"].unique().to_list() == [len(moments)]
    waits = [b - a for a, b in pairwise(moments)]
    assert waits == (list(HEALING.after) if status == 503 else [HEALING.after[-1]])
    # It stays given up, and anybody may ask all the same.
    clock.now += 300 * DAY
    assert look(store, source(sim)).count(State.GIVEN_UP) == 5
    sim.faults.clear()
    fetch(store, source(sim), work.items)
    assert look(store, source(sim)).items.is_empty()


def test_a_vendor_that_is_back_is_asked_for_what_was_given_up_while_it_was_away(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    away = source(sim, options={"exchange": "binance", "base_url": "http://127.0.0.1:9"})
    while not (work := look(store, away)).count(State.GIVEN_UP):
        fetch(store, away, work.due if work.items.height else None, run_id=str(clock.now))
        work = look(store, away)
        assert work.due.is_empty()
        clock.now = work.next or clock.now
    assert work.count(State.GIVEN_UP) == 10
    clock.now += DAY
    assert look(store, away).count(State.GIVEN_UP) == 10

    # A schedule fetches something else.
    fetch(store, source(sim), pl.DataFrame({"symbol": [BTC], "session": [date(2024, 1, 1)]}))
    back = look(store, source(sim))
    assert (back.due.height, back.items.height) == (9, 9)
    fetch(store, source(sim), back.due)
    assert look(store, source(sim)).items.is_empty()


def test_a_run_that_died_before_it_could_ask_counts_as_an_attempt(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    fail(sim, ETH)
    fetch(store, source(sim), run_id="first")
    clock.now += 2 * HOUR
    died = pl.DataFrame([(ETH, date(2024, 1, 1), date(2024, 1, 4), clock.now, "died")], schema=ASKED, orient="row")
    assert look(store, source(sim)).due.height == 5
    work = look(store, source(sim), asked=died)
    assert work.items["attempts"].to_list() == [2, 2, 2, 1, 1]
    assert work.due["session"].to_list() == [date(2024, 1, 4), date(2024, 1, 5)]
    # One that asked before it died leaves both, and is one attempt.
    fetch(store, source(sim), work.items.head(3), run_id="died")
    assert look(store, source(sim), asked=died).items["attempts"].to_list() == [2, 2, 2, 1, 1]


def test_what_a_failed_run_never_came_to_ask_for_is_open(sim: Simulation, store: LakeStore, clock: SetClock) -> None:
    killed = pl.DataFrame([(ETH, date(2024, 1, 2), date(2024, 1, 4), clock.now, "killed")], schema=ASKED, orient="row")
    work = look(store, source(sim), failed=killed)
    assert work.items.select("symbol", "session", "attempts", "state").rows() == [
        (ETH, date(2024, 1, day), 1, "waiting") for day in (2, 3)
    ]
    clock.now += HOUR
    due = look(store, source(sim), failed=killed).due
    assert due.height == 2
    fetch(store, source(sim), due)
    assert look(store, source(sim), failed=killed).items.is_empty()


def test_what_the_vendors_day_did_not_suffice_for_is_open_and_waits_for_the_next_one(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    fail(sim, ETH)
    fetch(store, source(sim), pl.DataFrame({"symbol": [ETH], "session": [date(2024, 1, 1)]}))
    until = clock.now + 5 * HOUR
    days = (date(2024, 1, 1), date(2024, 1, 4))
    runs = [(ETH, *days, clock.now - HOUR, "one", until - DAY), (ETH, *days, clock.now, "two", until)]
    deferred = pl.DataFrame(runs, schema=DEFERRED, orient="row")
    work = look(store, source(sim), deferred=deferred)
    assert work.items.select("session", "why", "attempts", "next", "state").rows() == [
        # One that failed is asked for no sooner, either.
        (date(2024, 1, 1), "failed before", 1, until, "waiting"),
        (date(2024, 1, 2), "deferred", 2, until, "waiting"),
        (date(2024, 1, 3), "deferred", 2, until, "waiting"),
    ]
    assert work.items["since"].to_list()[1:] == [clock.now - HOUR] * 2 and work.next == until
    clock.now = until
    assert look(store, source(sim), deferred=deferred).due.height == 3
    sim.faults.clear()
    fetch(store, source(sim), work.items)
    assert look(store, source(sim), deferred=deferred).items.is_empty()


def test_gaps_that_an_incident_explains_are_not_open(sim: Simulation, tmp_path: Path, clock: SetClock) -> None:
    sim.plant("gap", BTC, start="2024-01-03T05:00Z", end="2024-01-03T08:00Z")
    (tmp_path / "incidents.yaml").write_text(
        "- {source: sim, from: 2024-01-03T05:00Z, to: 2024-01-03T08:00Z, kind: exchange_outage, reason: moved, evidence: mail}\n"
    )
    (tmp_path / "gb.yaml").write_text("lake: data\nsources: {}\n")
    explained = LakeStore.at(tmp_path / "data", clock=clock, incidents=ProjectIncidents(tmp_path / "gb.yaml"))
    fetch(explained, source(sim))
    assert look(explained, source(sim)).items.is_empty()
    assert look(LakeStore.at(tmp_path / "data", clock=clock), source(sim)).items.height == 1


def test_an_answer_of_long_ago_that_a_day_is_empty_is_asked_for_once_a_month(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    sim.plant("gap", BTC, start="2024-01-03T00:00Z", end="2024-01-04T00:00Z")
    chosen = source(sim, gap_policy="no_trade")
    fetch(store, chosen)
    assert look(store, chosen).items.is_empty()
    clock.now += 31 * DAY
    work = look(store, chosen)
    assert work.items.select("session", "attempts", "state").rows() == [(date(2024, 1, 3), 0, "due")]
    fetch(store, chosen, work.due)
    assert look(store, chosen).items.is_empty()


def test_a_clock_that_is_set_back_brings_neither_a_storm_nor_a_standstill(
    sim: Simulation, store: LakeStore, clock: SetClock
) -> None:
    fail(sim, ETH)
    clock.now += 400 * DAY
    fetch(store, source(sim), run_id="first")
    clock.now = NOW
    asked = 0
    for number in range(12):
        clock.now += timedelta(minutes=50)
        if (due := look(store, source(sim)).due).height:
            fetch(store, source(sim), due, run_id=f"run {number}")
            asked += 1
    assert asked == 2  # at once, as nobody knows when it was, and after the second wait


@pytest.mark.parametrize(
    ("calendar", "resolution"),
    [
        ("XNYS", Resolution.HOUR),
        ("XNYS", Resolution.DAY),
        ("CMES", Resolution.HOUR),
        ("FX", Resolution.DAY),
        ("XTKS", Resolution.HOUR),
    ],
)
def test_every_session_counts_for_itself_on_every_calendar_over_summer_time_half_days_and_listings(
    store: LakeStore, clock: SetClock, calendar: str, resolution: Resolution
) -> None:
    # Summer time ends, Thanksgiving, and the half day after it; nobody answers.
    chosen = SourceSettings.model_validate(
        {
            "name": "away", "provider": "ccxt", "options": {"exchange": "binance", "base_url": "http://127.0.0.1:9"},
            "asset_class": "crypto", "calendar": calendar, "start": "2024-10-24", "end": "2024-12-03", "retries": 0,
            "symbols": [BTC, {"code": ETH, "listed_from": "2024-10-30", "listed_until": "2024-11-29"}],
        }
    )  # fmt: skip
    clock.now = at("2024-12-10T12:00:00")
    days = (date(2024, 10, 25), date(2024, 10, 28), date(2024, 11, 1), date(2024, 11, 4), date(2024, 11, 28))
    known = chosen.rules(resolution).calendar.sessions(chosen.start, date(2024, 12, 3))
    sessions = [day for day in known if day in (*days, date(2024, 11, 29), date(2024, 12, 2))]
    symbols = chosen.instruments
    for session in sessions:
        jobs = [Job(symbol, session, session + DAY) for symbol in symbols]
        ingest(store, chosen, resolution, jobs, run_id=f"daily {session}")

    def attempts() -> dict[tuple[str, date], int]:
        items = find_open_work(store, chosen, resolution, symbols, HEALING).items
        return {(code, session): count for code, session, count in items.select("symbol", "session", "attempts").rows()}

    listed = [day for day in sessions if date(2024, 10, 30) <= day < date(2024, 11, 29)]
    assert attempts() == {(BTC, day): 1 for day in sessions} | {(ETH, day): 1 for day in listed}
    clock.now += 2 * HOUR
    again = next(day for day in sessions if day >= date(2024, 11, 1))
    ingest(store, chosen, resolution, [Job(symbols[0], again, again + DAY)], run_id="again")
    assert {place for place, count in attempts().items() if count == 2} == {(BTC, again)}


class Day:
    """One step of a life: how long until somebody looks again, whether the vendor is well, and whether the asker dies."""

    def __init__(self, minutes: int, vendor: str, dies: str) -> None:
        self.wait, self.vendor, self.dies = timedelta(minutes=minutes), vendor, dies

    def __repr__(self) -> str:
        return f"Day({self.wait}, {self.vendor}, {self.dies})"


_LIVES = st.lists(
    st.builds(
        Day,
        minutes=st.sampled_from([1, 20, 61, 60 * 5, 60 * 25, 60 * 80]),
        vendor=st.sampled_from(["well", "one fails", "all fail", "refuses"]),
        dies=st.sampled_from(["", "", "before", "two at once"]),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(life=_LIVES)
def test_whatever_happens_nothing_is_asked_for_sooner_or_more_often_than_it_was_said(
    exchange: Simulation, tmp_path_factory: pytest.TempPathFactory, life: list[Day]
) -> None:
    exchange.reset()
    exchange.set_now(NOW)
    clock = SetClock(NOW)
    store = LakeStore.at(tmp_path_factory.mktemp("life"), clock=clock)
    chosen = source(exchange, end="2024-01-03")
    fail(exchange, ETH)
    exchange.plant("gap", BTC, start="2024-01-01T05:00Z", end="2024-01-01T08:00Z")
    fetch(store, chosen, run_id="first")
    runs: list[tuple[str, date, date, datetime, str]] = []
    asked: dict[tuple[str, date], list[datetime]] = {}

    def look_again() -> OpenWork:
        return look(store, chosen, asked=pl.DataFrame(runs, schema=ASKED, orient="row"))

    for number, day in enumerate(life):
        clock.now += day.wait
        exchange.faults.clear()
        if day.vendor != "well":
            fail(exchange, ETH, status=404 if day.vendor == "refuses" else 503)
        if day.vendor == "all fail":
            fail(exchange, BTC)
        due = look_again().due
        for code, session in due.select("symbol", "session").iter_rows():
            asked.setdefault((code, session), []).append(clock.now)
            runs.append((code, session, session + DAY, clock.now, f"run {number}"))
        if day.dies != "before":
            # A second daemon with a history of its own, of which this one knows by the lake alone.
            for other in ("", " of another")[: 1 + (day.dies == "two at once")]:
                fetch(store, chosen, due, run_id=f"run {number}{other}")
    for moments in asked.values():
        assert len(moments) < MOST
        for place, (one, following) in enumerate(pairwise(moments)):
            assert following - one >= HEALING.after[place]

    exchange.reset()
    exchange.set_now(NOW)
    while (work := look_again()).next or work.due.height:
        if work.due.is_empty():
            clock.now = work.next or clock.now
        else:
            fetch(store, chosen, work.due)
    # A vendor that recovers leaves nothing open but what was given up before.
    assert set(work.items["state"]) <= {State.GIVEN_UP.value}
