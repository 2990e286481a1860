"""A vendor that divides its history by every new split: the lake follows it, records it, and can undo it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from gb_pipeline import Lake
from gb_pipeline.config.settings import SourceSettings
from gb_pipeline.errors import ConfigError, LakeError, ReadError
from gb_pipeline.ingest.bars import ingest
from gb_pipeline.ingest.corporate_actions import ActionsOutcome
from gb_pipeline.ingest.fetch_actions import ingest_actions
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.lake import fetches
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES, Adjustment
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.yahoo.provider import YahooProvider
from gb_pipeline.quality.rules import BarRules
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.actions import received, split
from gb_pipeline_tests.bars import at, day, minutes
from gb_pipeline_tests.ingest.clock import stop_at

pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
AAPL, KO = Symbol.equity("AAPL"), Symbol.equity("KO")
EX_DATE = date(2024, 6, 10)
FRIDAY, PRE_OPEN, MONDAY, TUESDAY = (
    at(text) for text in ("2024-06-07T22:00", "2024-06-10T11:00", "2024-06-10T22:00", "2024-06-11T22:00")
)
# Everything of Friday evening is stored by then.
FRIDAY_NIGHT = FRIDAY + timedelta(minutes=1)
START = date(2024, 6, 3)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=11, symbols=["BTC-USD"], stocks=["AAPL", "KO"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(FRIDAY)
    running.plant("split", "AAPL", ex_date="2024-06-10", to="4", from_="1")
    return running


def source(sim: Simulation, **settings: object) -> SourceSettings:
    body = {
        "name": "yahoo",
        "provider": "yahoo",
        "options": {"base_url": sim.url},
        "asset_class": "equity",
        "calendar": "XNYS",
        "alignment": "session",
        "start": str(START),
        "symbols": ["AAPL", "KO"],
        "resolutions": ["1d", "1h"],
        "retries": 0,
        "gap_policy": "no_trade",
    }
    return SourceSettings.model_validate(body | settings)


def fetch(
    sim: Simulation, store: LakeStore, first: date, end: date, now: datetime, resolution: str = "1d", **more: object
) -> list[Outcome]:
    sim.set_now(now)
    jobs = [Job(symbol, first, end) for symbol in (AAPL, KO)]
    return ingest(stop_at(store, now), source(sim, **more), Resolution(resolution), jobs)


def history(sim: Simulation, store: LakeStore, resolution: str = "1d") -> None:
    assert all(outcome.ok for outcome in fetch(sim, store, START, date(2024, 6, 8), FRIDAY, resolution))


def traded(sim: Simulation, symbol: str, start: date, end: date, interval: str = "1d") -> list[tuple]:
    """What was traded, from the simulated market itself."""
    first, last = (int(datetime(d.year, d.month, d.day, 4, tzinfo=UTC).timestamp() * 1000) for d in (start, end))
    bars = sim.stocks.bars(symbol, interval, first, last, aligned="session")
    return [tuple(Decimal(text) for text in (bar.open, bar.high, bar.low, bar.close, bar.volume)) for bar in bars]


def served(store: LakeStore, symbol: str, resolution: str = "1d", **how: object) -> list[tuple]:
    frame = Lake(store).bars(symbol, resolution, **how)
    return frame.select(pl.col(PRICES).round(2), pl.col("volume").round(0)).rows()


def charts(sim: Simulation) -> int:
    return sum("/chart/" in request["path"] for request in sim.requests)


def test_the_series_says_that_it_is_split_adjusted(sim: Simulation, store: LakeStore) -> None:
    history(sim, store)
    with pytest.raises(LakeError, match="stored with split prices, these are raw"):
        store.write_bars("yahoo", "AAPL", Resolution.DAY, day("2024-06-03"), minutes("2024-06-03", 1, symbol="AAPL"))
    rules = BarRules(resolution=Resolution.DAY, adjustment=Adjustment.RAW)
    with pytest.raises(LakeError):
        LakeStore(store.storage).write_bars(
            "yahoo", "AAPL", Resolution.DAY, day("2024-06-03"), minutes("2024-06-03", 1, symbol="AAPL"), rules=rules
        )


def test_a_setting_that_contradicts_the_vendor_is_refused(sim: Simulation, store: LakeStore) -> None:
    with pytest.raises(ConfigError, match="serves split prices"):
        fetch(sim, store, START, date(2024, 6, 8), FRIDAY, adjustment="raw")


@pytest.mark.parametrize("resolution", ["1d", "1h"])
def test_a_split_between_two_fetches_restates_history_before_anything_newer_is_stored(
    sim: Simulation, store: LakeStore, resolution: str
) -> None:
    history(sim, store, resolution)
    before = traded(sim, "AAPL", START, date(2024, 6, 8), resolution)
    assert served(store, "AAPL", resolution) == before
    assert all(outcome.ok for outcome in fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY, resolution))
    lake = Lake(store)
    restated = lake.restatements("yahoo", "AAPL", resolution)
    assert restated.height == len(before)
    assert (restated["old_close"] / restated["new_close"]).round(3).unique().to_list() == [Decimal(4)]
    assert lake.bars("KO", resolution, as_of=FRIDAY_NIGHT).height == len(before)
    splits = lake.corporate_actions("AAPL", kind="split")
    assert splits.select("ex_date", "split_to", "split_from", "known_at").rows() == [(EX_DATE, 4, 1, MONDAY)]
    # As traded, on both sides of the split and to the tick; and as it was known before it.
    assert served(store, "AAPL", resolution, adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY, resolution)
    assert served(store, "AAPL", resolution, as_of=FRIDAY_NIGHT) == before
    assert served(store, "AAPL", resolution, as_of=FRIDAY_NIGHT, adjustment="raw") == before
    stored = lake.bars("AAPL", resolution)
    assert lake.bars("AAPL", resolution, adjustment="split").equals(stored)
    assert stored["close"].max() < Decimal("0.5") * before[0][3]
    floats = lake.bars("AAPL", resolution, adjustment="raw", as_float=True)
    exact = lake.bars("AAPL", resolution, adjustment="raw")
    assert floats["close"].to_list() == [float(value) for value in exact["close"]]
    assert lake.scan_bars("AAPL", resolution, adjustment="raw").filter(pl.col("close") > 0).collect().equals(exact)
    assert lake.arrow("AAPL", resolution, adjustment="raw")["close"].to_pylist() == exact["close"].to_list()
    # A symbol without a split is what it was, whatever is asked for, and beside one that has one.
    both = lake.bars(["AAPL", "KO"], resolution, adjustment="raw")
    assert both.filter(pl.col("symbol") == "KO").equals(lake.bars("KO", resolution))
    assert both.filter(pl.col("symbol") == "AAPL").equals(exact)


def test_the_outcome_says_which_split_changed_which_range(sim: Simulation, store: LakeStore) -> None:
    history(sim, store)
    history(sim, store, "1h")
    sim.set_now(MONDAY)
    aapl, ko = ingest_actions(stop_at(store, MONDAY), source(sim), run_id="r1")
    assert (aapl.new, aapl.restated_by_split, aapl.ok, ko.refetched) == (1, (EX_DATE,), True, ())
    assert [(item.resolution, item.outcome.start, item.outcome.end) for item in aapl.refetched] == [
        (Resolution.HOUR, START, date(2024, 6, 8)),
        (Resolution.DAY, START, date(2024, 6, 8)),
    ]
    assert sum(session.restated for item in aapl.refetched for session in item.outcome.sessions) == 5 + 35
    asked = charts(sim)
    again = ingest_actions(stop_at(store, TUESDAY), source(sim))
    assert [outcome.refetched for outcome in again] == [(), ()]
    assert charts(sim) == asked + 2


def test_every_question_leaves_a_row(sim: Simulation, store: LakeStore) -> None:
    history(sim, store)
    rows = fetches.read(store.tables, "yahoo").select("symbol", "kind", "outcome", "normaliser").sort("symbol", "kind")
    assert rows.rows() == [
        (code, kind, outcome, "yahoo/2")
        for code in ("AAPL", "KO")
        for kind, outcome in (("bars", "ok"), ("corporate_actions", "empty"))
    ]


def test_before_the_open_of_the_ex_date_nothing_has_happened_yet(sim: Simulation, store: LakeStore) -> None:
    history(sim, store)
    fetch(sim, store, START, date(2024, 6, 8), PRE_OPEN)
    assert Lake(store).corporate_actions("AAPL", kind="split").is_empty()
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, date(2024, 6, 8))
    fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY)
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY)


def test_a_first_fetch_after_a_split_fetches_nothing_twice(sim: Simulation, store: LakeStore) -> None:
    fetch(sim, store, START, EX_DATE + DAY, MONDAY)
    bars = fetches.read(store.tables, "yahoo", ["AAPL"]).filter(pl.col("kind") == "bars")
    assert (bars.height, Lake(store).restatements().height) == (1, 0)
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY)


def test_if_the_splits_cannot_be_had_no_bar_is_stored(sim: Simulation, store: LakeStore) -> None:
    history(sim, store)
    sim.set_now(MONDAY)
    sim.faults.add(match="chart/AAPL", status=503)
    aapl, ko = fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY)
    assert (aapl.ok, ko.ok) == (False, True)
    assert [session.status for session in aapl.sessions] == [SessionStatus.FAILED]
    assert served(store, "AAPL") == traded(sim, "AAPL", START, date(2024, 6, 8))
    assert all(outcome.ok for outcome in fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY + timedelta(hours=1)))
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY)


def test_if_history_cannot_be_fetched_again_nothing_newer_joins_it_and_the_next_run_repairs_it(
    sim: Simulation, store: LakeStore
) -> None:
    history(sim, store)
    sim.set_now(MONDAY)
    # The first question is about the actions.
    sim.faults.add(match="chart/AAPL", status=503, skip=1)
    aapl, _ = fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY)
    assert aapl.error is not None and "before a split" in aapl.error.what
    assert served(store, "AAPL") == traded(sim, "AAPL", START, date(2024, 6, 8))
    # The split is known and the bars are of before it: un-adjusting must not multiply them.
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, date(2024, 6, 8))
    due = [(price / 4).quantize(Decimal("0.01")) for _, _, _, price, _ in traded(sim, "AAPL", START, date(2024, 6, 8))]
    split = Lake(store).bars("AAPL", "1d", adjustment="split")["close"].round(2).to_list()
    assert all(abs(one - other) <= Decimal("0.01") for one, other in zip(split, due, strict=True))
    (aapl, _) = fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY + timedelta(hours=1))
    assert aapl.ok
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY)


def test_bars_of_before_and_after_a_split_are_never_read_as_one_series(sim: Simulation, store: LakeStore) -> None:
    history(sim, store)
    # Somebody writes past `ingest`: only then can newer bars stand beside stale ones.
    rules = BarRules(
        resolution=Resolution.DAY, calendar=source(sim).rules(Resolution.DAY).calendar, adjustment=Adjustment.SPLIT
    )
    frame = minutes("2024-06-10", 1, symbol="AAPL")
    stop_at(store, MONDAY).write_bars("yahoo", "AAPL", Resolution.DAY, day("2024-06-10"), frame, rules=rules)
    sim.set_now(MONDAY)
    sim.faults.add(match="chart/AAPL", status=503, skip=1)
    outcome: ActionsOutcome = ingest_actions(stop_at(store, MONDAY), source(sim), ["AAPL"])[0]
    assert not outcome.ok
    lake = Lake(store)
    for read in (lake.bars, lake.scan_bars, lake.arrow):
        with pytest.raises(ReadError, match="before a split"):
            read("AAPL", "1d")
    assert lake.bars("AAPL", "1d", end="2024-06-08").height == 5
    assert lake.bars("KO", "1d").height == 5
    assert lake.bars("AAPL", "1d", adjustment="split")["close"].to_list()[-1] == Decimal("100.75")
    assert lake.bars("AAPL", "1d", as_of=FRIDAY_NIGHT).height == 5


def test_history_that_the_vendor_no_longer_has_stays_readable_by_its_own_splits(
    sim: Simulation, store: LakeStore
) -> None:
    settings = {"resolutions": ["15m"]}
    early, late = date(2024, 4, 12), date(2024, 4, 13)
    assert all(o.ok for o in fetch(sim, store, early, late, at("2024-04-12T22:00"), "15m", **settings))
    before = traded(sim, "AAPL", early, late, "15m")
    aapl, _ = fetch(sim, store, EX_DATE, EX_DATE + DAY, at("2024-06-20T22:00"), "15m", **settings)
    assert aapl.ok, aapl.error
    lake = Lake(store)
    assert served(store, "AAPL", "15m", end=late, adjustment="raw") == before
    after = traded(sim, "AAPL", EX_DATE, EX_DATE + DAY, "15m")
    assert served(store, "AAPL", "15m", adjustment="raw") == [*before, *after]
    with pytest.raises(ReadError, match="before a split"):
        lake.bars("AAPL", "15m")
    split = lake.bars("AAPL", "15m", end=late, adjustment="split")
    assert split["close"][0] == before[0][3] / 4
    calls = charts(sim)
    fetch(sim, store, EX_DATE, EX_DATE + DAY, at("2024-06-20T23:00"), "15m", **settings)
    assert charts(sim) == calls + 4, "what is lost is not asked for again"


def test_a_split_that_takes_effect_between_the_two_questions_of_one_run_is_settled_by_the_next(
    sim: Simulation, store: LakeStore
) -> None:
    history(sim, store)
    # At 13:00Z the vendor has no split yet, when its bars are asked for it has.
    sim.set_now(at("2024-06-10T13:00"))
    ingest_actions(stop_at(store, at("2024-06-10T13:00")), source(sim))
    sim.set_now(at("2024-06-10T15:00"))
    fresh = _without_actions(sim, store, at("2024-06-10T15:00"))
    assert fresh.ok
    assert Lake(store).corporate_actions("AAPL", kind="split").is_empty()
    fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY)
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY)
    assert Lake(store).bars("AAPL", "1d").height == 6
    bars = fetches.read(store.tables, "yahoo", ["AAPL"]).filter(pl.col("kind") == "bars").height
    fetch(sim, store, date(2024, 6, 11), date(2024, 6, 12), TUESDAY)
    assert fetches.read(store.tables, "yahoo", ["AAPL"]).filter(pl.col("kind") == "bars").height == bars + 1


class Overtaken:
    """While its bars are on their way, another process learns of the split."""

    def __init__(self, provider: YahooProvider, store: LakeStore) -> None:
        self.provider, self.store = provider, store
        self.name, self.adjustment, self.normaliser = provider.name, provider.adjustment, provider.normaliser

    def __getattr__(self, name: str) -> object:
        return getattr(self.provider, name)

    async def fetch_bars(self, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
        answer = await self.provider.fetch_bars(symbol, window, resolution)
        told = received(split("2024-06-10", "4", label="split"))
        learned, until = at("2024-06-10T13:31"), at("2024-06-11T00:00")
        other = LakeStore(self.store.storage, clock=lambda: learned)
        other.write_actions("yahoo", "AAPL", (START, until.date()), told)
        row = fetches.FetchRecord(
            "yahoo", "AAPL", "", FRIDAY, until, learned, fetches.FetchOutcome.OK, kind="corporate_actions"
        )
        other.record_fetches([row])
        return answer


def test_bars_that_a_split_overtook_on_their_way_are_not_taken_for_newer_ones(
    sim: Simulation, store: LakeStore
) -> None:
    history(sim, store)
    before_open = at("2024-06-10T13:00")
    sim.set_now(before_open)
    provider = Overtaken(YahooProvider(base_url=sim.url), store)
    jobs = [Job(AAPL, date(2024, 6, 6), date(2024, 6, 8))]
    (outcome,) = ingest(stop_at(store, before_open), source(sim), Resolution.DAY, jobs, provider=provider)  # type: ignore[arg-type]
    assert outcome.error is not None and "a split became known" in outcome.error.what
    newest = fetches.read(store.tables, "yahoo", ["AAPL"]).filter(pl.col("kind") == "bars").row(-1, named=True)
    assert (newest["outcome"], newest["error"]) == ("error", "TransientVendorError")
    fetch(sim, store, EX_DATE, EX_DATE + DAY, MONDAY)
    assert served(store, "AAPL", adjustment="raw") == traded(sim, "AAPL", START, EX_DATE + DAY)


def _without_actions(sim: Simulation, store: LakeStore, now: datetime) -> Outcome:
    """Bars of history, by the code that fetches it again, as if the question about splits had come a moment earlier."""
    import asyncio

    from gb_pipeline.ingest.bars import refetch
    from gb_pipeline.providers.registry import build_provider

    async def run() -> Outcome:
        provider = build_provider(source(sim))
        try:
            jobs = [Job(AAPL, START, date(2024, 6, 8))]
            done = await refetch(stop_at(store, now), source(sim), Resolution.DAY, jobs, provider=provider, run_id=None)
        finally:
            await provider.aclose()
        return done[0]

    return asyncio.run(run())


@pytest.mark.parametrize("resolution", ["1d", "1h"])
@pytest.mark.parametrize(("to", "from_", "shown"), [("4", "1", "0.2"), ("1", "10", "9.")])
def test_a_split_that_yahoo_lists_and_has_not_applied_is_said(
    sim: Simulation, store: LakeStore, resolution: str, to: str, from_: str, shown: str
) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-05", to=to, from_=from_, applied=False)
    outcome, other = fetch(sim, store, START, date(2024, 6, 8), FRIDAY, resolution)
    assert (outcome.ok, other.advice) == (True, None)
    assert outcome.advice is not None
    assert f"2024-06-05, just as a split of {to}:{from_} would make them, which yahoo lists" in outcome.advice.what
    assert f"by a factor of {shown}" in outcome.advice.what
    assert "gb fetch yahoo AAPL --again" in outcome.advice.fix


def test_of_a_split_that_yahoo_has_applied_nothing_is_said(sim: Simulation, store: LakeStore) -> None:
    sim.plant("split", "AAPL", ex_date="2024-06-05", to="4")
    outcome, _ = fetch(sim, store, START, date(2024, 6, 8), FRIDAY)
    assert (outcome.ok, outcome.advice) == (True, None)
