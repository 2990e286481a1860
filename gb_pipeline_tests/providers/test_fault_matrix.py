"""Whatever goes wrong at any vendor: exact data or a typed error, never an empty or partial answer taken for truth.

Every case runs the whole way from gb.yaml through the provider into a lake, with two symbols: one that is hurt for good,
and one that is hurt once. All cases of a vendor share one run, so that each also shows that the others are left alone.
Every question leaves a row in `fetches`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.errors import (
    HistoryNotAvailable,
    NoDataInRange,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    UnknownSeries,
    VendorError,
)
from gb_pipeline.ingest.job import Job, Outcome
from gb_pipeline.ingest.pipeline import ingest
from gb_pipeline.lake import fetches, restatements
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.providers.transport import Policy
from gb_pipeline.reading.lake import Lake
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.faults import Fault
from gb_pipeline_tests.providers.vendors import DAY, PAIRS, SHARES, VENDORS, Truth, Vendor

NOW = "2024-06-13T01:00:00Z"
# Requests of one case; whoever needs more is going round in circles.
MOST_REQUESTS = 100
# The longest file of the suite: vendors of pairs and vendors of shares may run at the same time.
ALL = [
    pytest.param(
        vendor, id=vendor.name, marks=pytest.mark.xdist_group(f"faults of {'shares' if vendor.shares else 'pairs'}")
    )
    for vendor in VENDORS
]
OF_SHARES = [param for vendor, param in zip(VENDORS, ALL, strict=True) if vendor.shares]


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=PAIRS, stocks=SHARES) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Simulation]:
    """Another host, to which nobody may be led."""
    with Simulation(symbols=[], stocks=[]) as simulation:
        yield simulation


@pytest.fixture(scope="module", autouse=True)
def _hasty() -> Iterator[None]:
    """Repeats come at once: how long they wait is specified elsewhere."""
    made = Policy.of

    def of(*given: Any, **named: Any) -> Policy:
        return replace(made(*given, **named), shortest_wait=0.001, longest_wait=0.002)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Policy, "of", of)
        yield


@pytest.fixture(scope="module", params=ALL)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    chosen: Vendor = request.param
    return chosen


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


class Run:
    """What one or several ingestions of one vendor led to, in a lake of their own."""

    def __init__(self, vendor: Vendor, sim: Simulation, root: Path, resolution: Resolution | None = None) -> None:
        self.vendor, self.sim = vendor, sim
        self.store = LakeStore.at(root)
        self.resolution = resolution or vendor.resolution
        self.outcomes: dict[str, Outcome] = {}
        self.truths: dict[str, Truth] = {}
        self.runs = 0

    def ingest(self, *symbols: Symbol, day: date = DAY, days: int = 1, **settings: Any) -> Outcome:
        """Run it; the outcome of the first symbol."""
        source = self.vendor.source(self.sim, symbols=[symbol.code for symbol in symbols], **settings)
        jobs = [Job(symbol, day, day + timedelta(days=days)) for symbol in symbols]
        # Calls are told apart by their time.
        self.runs += 1
        now = datetime.fromtimestamp(self.sim.stocks.now / 1000 + self.runs / 1000, UTC)
        outcomes = ingest(self.store, source, self.resolution, jobs, now=now)
        self.outcomes |= {symbol.code: outcome for symbol, outcome in zip(symbols, outcomes, strict=True)}
        self.truths |= {symbol.code: self.vendor.truth(self.sim, symbol, self.resolution, day) for symbol in symbols}
        vars(self).pop("stored", None)
        return outcomes[0]

    @cached_property
    def stored(self) -> dict[str, Truth]:
        """All bars of the lake, by symbol."""
        try:
            known = Lake(self.store).bars(None, self.resolution, source=self.vendor.name)
        except (UnknownSeries, NoDataInRange):
            return {}
        rows = known.select("symbol", pl.col("timestamp").dt.epoch("ms"), "open", "high", "low", "close", "volume")
        found: dict[str, Truth] = {}
        for code, stamp, *values in rows.iter_rows():
            found.setdefault(code, {})[stamp] = tuple(values)
        return found

    def fetched(self, symbol: Symbol, kind: str = "bars") -> list[tuple[str, int, str | None]]:
        """The rows of `fetches` of a kind: outcome, rows, error."""
        rows = fetches.read(self.store.tables, symbols=[symbol.code]).filter(pl.col("kind") == kind)
        return rows.select("outcome", "rows", "error").rows()

    def check_exact(self, symbol: Symbol) -> None:
        outcome, truth = self.outcomes[symbol.code], self.truths[symbol.code]
        assert outcome.error is None
        assert truth
        assert self.stored.get(symbol.code) == truth
        assert outcome.sessions[0].status is SessionStatus.COMPLETE
        assert self.fetched(symbol)[-1] == ("ok", outcome.rows, None)

    def check_error(self, symbol: Symbol, kind: type[VendorError]) -> None:
        outcome = self.outcomes[symbol.code]
        assert isinstance(outcome.error, kind), outcome.error
        assert outcome.error.what
        assert outcome.error.fix
        assert symbol.code not in self.stored
        assert [session.status for session in outcome.sessions] == [SessionStatus.FAILED]
        # A vendor of adjusted prices is asked for splits first, and for no bars where it does not answer.
        bars, actions = self.fetched(symbol), self.fetched(symbol, "corporate_actions")
        assert (bars or actions)[-1] == ("error", 0, type(outcome.error).__name__)
        assert all(row[0] == "error" for row in bars)


# --- on the way -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """What happens to a request, what becomes of it, and whether the next attempt may succeed."""

    fault: dict[str, Any]
    kind: type[VendorError] = TransientVendorError
    passes: bool = True


ON_THE_WAY = {
    "429 in seconds": Trouble({"status": 429, "headers": {"Retry-After": "0"}}, RateLimited),
    "429 until a date": Trouble(
        {"status": 429, "headers": {"Retry-After": format_datetime(datetime(2024, 1, 1, tzinfo=UTC), usegmt=True)}},
        RateLimited,
    ),
    "429 without a time": Trouble({"status": 429}, RateLimited),
    "418": Trouble({"status": 418, "headers": {"Retry-After": "0"}}, RateLimited),
    "401": Trouble({"status": 401}, NotEntitled, passes=False),
    "403": Trouble({"status": 403}, NotEntitled, passes=False),
    "451": Trouble({"status": 451}, PermanentVendorError, passes=False),
    "500": Trouble({"status": 500}),
    "503": Trouble({"status": 503}),
    "html with 200": Trouble({"body": "<html><body>Be right back</body></html>"}),
    "html with 503": Trouble({"body": "<html><body>Be right back</body></html>", "status": 503}),
    "truncated json": Trouble({"action": "cut"}),
    "truncated body": Trouble({"action": "truncate"}),
    "an empty body": Trouble({"body": ""}),
    "null": Trouble({"body": "null"}),
    "an empty list": Trouble({"body": "[[]]"}),
    "an unknown object": Trouble({"body": '{"maintenance":true}'}),
    "a reset connection": Trouble({"action": "reset"}),
    "a redirect to another host": Trouble({"action": "redirect"}),
    "2 GB": Trouble({"action": "flood"}, PermanentVendorError, passes=False),
    "2 GB in 2 MB": Trouble(
        {"action": "flood", "headers": {"Content-Encoding": "gzip"}}, PermanentVendorError, passes=False
    ),
}
# Nothing is asked twice here, and nobody is hurt once: that would only be waiting for longer.
TOO_SLOW = {
    "a slow body": Trouble({"action": "slow", "delay": 60}, passes=False),
    "no answer": Trouble({"action": "hang"}, passes=False),
}


class Hurt(Run):
    """One run with all troubles of a kind at once: two symbols each, and one that nothing happens to."""

    def __init__(self, troubles: dict[str, Trouble], *given: Any, **settings: Any) -> None:
        super().__init__(*given)
        symbols = self.vendor.symbols(2 * len(troubles) + 1)
        # Spelled differently by every vendor of shares.
        self.well = Symbol.equity("BRK.B") if self.vendor.shares else symbols[-1]
        symbols.pop()
        self.cases = {name: (symbols[2 * at], symbols[2 * at + 1]) for at, name in enumerate(troubles)}
        self.faults: dict[str, tuple[Fault, Fault]] = {}
        for name, trouble in troubles.items():
            lasting, passing = (self.vendor.asks(symbol) for symbol in self.cases[name])
            self.faults[name] = (
                self.sim.faults.add(match=lasting, times=-1, **trouble.fault),
                self.sim.faults.add(match=passing, times=int(trouble.passes), **trouble.fault),
            )
        self.ingest(*symbols, self.well, **settings)

    def check(self, name: str, trouble: Trouble) -> None:
        hurt, delayed = self.cases[name]
        self.check_error(hurt, trouble.kind)
        self.check_exact(delayed)
        self.check_exact(self.well)
        lasting, passing = self.faults[name]
        if trouble.passes:
            # Clients ask again by themselves where a connection that was idle turns out to be dead.
            assert lasting.hits in ({2} if trouble.fault.get("action") != "reset" else {2, 3, 4})
            assert passing.hits == 1
        else:
            assert lasting.hits == 1


def hurt(
    troubles: dict[str, Trouble], vendor: Vendor, sim: Simulation, tmp: pytest.TempPathFactory, **settings: Any
) -> Hurt:
    sim.reset()
    sim.set_now(NOW)
    return Hurt(troubles, vendor, sim, tmp.mktemp(vendor.name), **settings)


@pytest.fixture(scope="module")
def on_the_way(
    vendor: Vendor, running: Simulation, elsewhere: Simulation, tmp_path_factory: pytest.TempPathFactory
) -> Hurt:
    ON_THE_WAY["a redirect to another host"].fault["headers"] = {"Location": elsewhere.url}
    return hurt(ON_THE_WAY, vendor, running, tmp_path_factory)


@pytest.fixture(scope="module")
def too_slow(vendor: Vendor, running: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Hurt:
    return hurt(TOO_SLOW, vendor, running, tmp_path_factory, timeout_seconds=2, retries=0)


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_what_goes_wrong_on_the_way_is_an_error_and_what_passes_leaves_exact_data(
    on_the_way: Hurt, elsewhere: Simulation, name: str
) -> None:
    on_the_way.check(name, ON_THE_WAY[name])
    assert not elsewhere.requests


@pytest.mark.parametrize("name", TOO_SLOW)
def test_what_takes_too_long_is_an_error(too_slow: Hurt, name: str) -> None:
    too_slow.check(name, TOO_SLOW[name])


def test_errors_with_a_good_status_are_errors(
    vendor: Vendor, running: Simulation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    troubles = {body: Trouble({"body": body}, kind) for body, kind in vendor.errors}
    run = hurt(troubles, vendor, running, tmp_path_factory)
    for name, (lasting, passing) in run.cases.items():
        run.check_error(lasting, troubles[name].kind)
        error = run.outcomes[passing.code].error
        if error is None:
            run.check_exact(passing)
        else:
            run.check_error(passing, troubles[name].kind)
    run.check_exact(run.well)


def test_a_vendor_that_asks_for_patience_gets_it(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    in_seconds, until_date = vendor.symbols(2)
    until = datetime.fromtimestamp(int(time.time()) + 1, UTC)
    sim.faults.add(match=vendor.asks(in_seconds), status=429, headers={"Retry-After": "1"})
    sim.faults.add(
        match=vendor.asks(until_date), status=429, headers={"Retry-After": format_datetime(until, usegmt=True)}
    )
    run = Run(vendor, sim, tmp_path)
    run.ingest(in_seconds, until_date)
    for symbol, earliest in ((in_seconds, 1.0), (until_date, until.timestamp())):
        run.check_exact(symbol)
        name = vendor.spelling(symbol)
        seen = [entry for entry in sim.requests if name in str(entry["path"]) + str(entry["query"])]
        refused = next(at for at, entry in enumerate(seen) if entry["status"] == 429)
        wait = earliest if earliest > 1.0 else seen[refused]["at_wall"] + earliest
        assert seen[refused + 1]["at_wall"] >= wait - 0.05


def test_a_ban_for_a_day_is_an_error_at_once_for_everybody(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    banned, *others = vendor.symbols(4)
    sim.faults.add(match=vendor.asks(banned), status=418, headers={"Retry-After": "86400"}, times=-1)
    run = Run(vendor, sim, tmp_path)
    begun = time.monotonic()
    run.ingest(banned, *others)
    run.check_error(banned, RateLimited)
    for symbol in others:
        if run.outcomes[symbol.code].error is None:
            run.check_exact(symbol)
        else:
            run.check_error(symbol, RateLimited)
    assert time.monotonic() - begun < 10


def test_a_certificate_that_nobody_trusts_is_an_error(vendor: Vendor, tmp_path: Path) -> None:
    with Simulation(seed=7, symbols=PAIRS[:2], stocks=SHARES[:1], tls=True) as sim:
        sim.set_now(NOW)
        (symbol,) = vendor.symbols(1)
        run = Run(vendor, sim, tmp_path)
        run.ingest(symbol)
        run.check_error(symbol, TransientVendorError)
        assert "certificate" in str(run.outcomes[symbol.code].error).lower()
        assert not sim.requests


# --- pages ------------------------------------------------------------------------------------------------------------------

PAGES = {
    "shuffle_rows": (),
    "overlap_page": (),
    "duplicate_page": (TransientVendorError, HistoryNotAvailable),
    "endless_next": (TransientVendorError,),
}


@pytest.fixture(scope="module")
def pages(vendor: Vendor, running: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Run:
    running.reset()
    running.set_now(NOW)
    running.stocks.page_limit = vendor.page_limit
    run = Run(vendor, running, tmp_path_factory.mktemp(vendor.name), vendor.paged)
    symbols = vendor.symbols(3 * len(PAGES))
    for at, trouble in enumerate(PAGES):
        # The first page, another page, and every page from the second on, if there is one.
        for symbol, skip, times in zip(symbols[3 * at :], (0, 1, 1), (1, 1, -1), strict=False):
            running.faults.add(match=vendor.asks(symbol), action=trouble, skip=skip, times=times)
    run.ingest(*symbols)
    return run


@pytest.mark.parametrize("trouble", PAGES)
@pytest.mark.parametrize("where", ["first page", "another page", "all other pages"])
def test_a_wrong_page_is_made_right_or_is_an_error(pages: Run, vendor: Vendor, trouble: str, where: str) -> None:
    at = ["first page", "another page", "all other pages"].index(where)
    symbol = vendor.symbols(3 * len(PAGES))[3 * list(PAGES).index(trouble) + at]
    if pages.outcomes[symbol.code].error is None:
        pages.check_exact(symbol)
    else:
        pages.check_error(symbol, VendorError)
        assert isinstance(pages.outcomes[symbol.code].error, PAGES[trouble])
    name = vendor.spelling(symbol)
    asked = [entry for entry in pages.sim.requests if name in str(entry["path"]) + str(entry["query"])]
    assert len(asked) < MOST_REQUESTS


# --- what the data itself does ------------------------------------------------------------------------------------------


def test_the_bar_in_progress_is_not_stored(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    (symbol,) = vendor.symbols(1)
    sim.set_now(f"{DAY}T15:02:20Z")
    run = Run(vendor, sim, tmp_path)
    assert run.ingest(symbol).error is None
    assert run.resolution.duration is not None
    step, now = round(run.resolution.duration.total_seconds() * 1000), sim.stocks.now
    closed = {stamp: row for stamp, row in run.truths[symbol.code].items() if stamp + step <= now}
    assert 0 < len(closed) == len(run.truths[symbol.code]) - 1
    assert run.stored[symbol.code] == closed
    sim.set_now(NOW)
    assert run.ingest(symbol).sessions[0].restated == 0
    run.check_exact(symbol)


def test_a_restated_bar_is_taken_over_and_counted(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    (symbol,) = vendor.symbols(1)
    run = Run(vendor, sim, tmp_path)
    assert run.ingest(symbol).sessions[0].restated == 0
    before = run.stored[symbol.code]
    sim.plant("restatement", symbol.code, start=f"{DAY}T15:00Z", values={"volume": "123456789"})
    assert run.ingest(symbol).sessions[0].restated == 1
    run.check_exact(symbol)
    assert sum(run.stored[symbol.code][stamp] != row for stamp, row in before.items()) == 1


def test_history_that_begins_later_is_what_there_is(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    within, after = vendor.symbols(2)
    sim.plant("listing", within.code, start=f"{DAY}T15:00Z")
    sim.plant("listing", after.code, start=f"{DAY + timedelta(days=1)}T00:00Z")
    run = Run(vendor, sim, tmp_path)
    run.ingest(within, after)
    assert run.outcomes[within.code].error is None
    assert run.stored[within.code] == run.truths[within.code]
    assert run.outcomes[within.code].sessions[0].status is SessionStatus.PARTIAL
    assert after.code not in run.stored
    error = run.outcomes[after.code].error
    assert error is None or isinstance(error, HistoryNotAvailable)
    assert run.fetched(after)[-1] == (("empty", 0, None) if error is None else ("error", 0, "HistoryNotAvailable"))


def test_a_day_without_trades_is_empty_and_not_an_error(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    (symbol,) = vendor.symbols(1)
    sim.plant("gap", symbol.code, start=f"{DAY}T00:00Z", end=f"{DAY + timedelta(days=1)}T04:00Z")
    run = Run(vendor, sim, tmp_path)
    assert run.ingest(symbol).error is None
    assert run.truths[symbol.code] == {}
    assert symbol.code not in run.stored
    assert run.outcomes[symbol.code].sessions[0].status is SessionStatus.EMPTY
    assert run.fetched(symbol) == [("empty", 0, None)]


def test_fractions_and_exponents_are_exact(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    fraction, exponent = vendor.symbols(2)
    if vendor.shares:
        sim.plant("fractional", fraction.code, start=f"{DAY}T15:00Z")
    prices = dict.fromkeys(("open", "high", "low", "close"), "1.2345E+2")
    for minute in range(5):
        # In an aggregate every minute counts.
        stamp = f"{DAY}T15:{minute:02}Z"
        sim.plant("bad", exponent.code, start=stamp, values={**prices, "volume": "1.5e3"})
    run = Run(vendor, sim, tmp_path, vendor.paged)
    run.ingest(fraction, exponent)
    run.check_exact(fraction)
    assert any(row[4] % 1 for row in run.stored[fraction.code].values())
    run.check_exact(exponent)
    if vendor.paged is Resolution.MINUTE:
        assert list(run.stored[exponent.code].values()).count((*[Decimal("123.45")] * 4, Decimal(1500))) == 5


@pytest.mark.parametrize("vendor", OF_SHARES, indirect=True)
def test_a_split_between_two_fetches_leaves_what_the_vendor_serves(
    vendor: Vendor, sim: Simulation, tmp_path: Path
) -> None:
    (symbol,) = vendor.symbols(1)
    run = Run(vendor, sim, tmp_path)
    run.ingest(symbol)
    before = run.stored[symbol.code]
    sim.plant("split", symbol.code, ex_date=str(DAY + timedelta(days=1)), to="4")
    run.ingest(symbol)
    run.check_exact(symbol)
    assert (run.stored[symbol.code] != before) == vendor.adjusted
    # Whoever reads as of yesterday still gets what was true then.
    assert restatements.read(run.store.tables).height == (len(before) if vendor.adjusted else 0)


@pytest.mark.parametrize("vendor", OF_SHARES, indirect=True)
def test_a_holiday_is_neither_asked_for_nor_missed(vendor: Vendor, sim: Simulation, tmp_path: Path) -> None:
    sim.set_now("2024-06-21T01:00Z")
    (symbol,) = vendor.symbols(1)
    run = Run(vendor, sim, tmp_path)
    outcome = run.ingest(symbol, day=date(2024, 6, 18), days=3)
    assert [session.status for session in outcome.sessions] == [
        SessionStatus.COMPLETE, SessionStatus.CLOSED, SessionStatus.COMPLETE,
    ]  # fmt: skip
    assert run.stored[symbol.code] == {
        stamp: row
        for day in (18, 19, 20)
        for stamp, row in vendor.truth(sim, symbol, run.resolution, date(2024, 6, day)).items()
    }
    assert run.fetched(symbol) == [("ok", outcome.rows, None)]


@pytest.mark.parametrize("vendor", OF_SHARES, indirect=True)
async def test_a_holiday_asked_for_is_a_well_formed_nothing(vendor: Vendor, sim: Simulation) -> None:
    sim.set_now("2024-06-21T01:00Z")
    (symbol,) = vendor.symbols(1)
    provider = build_provider(vendor.source(sim))
    answer = await provider.fetch_bars(symbol, vendor.window(date(2024, 6, 19)), vendor.resolution)
    assert (answer.frame.height, answer.calls > 0) == (0, True)
    await provider.aclose()
