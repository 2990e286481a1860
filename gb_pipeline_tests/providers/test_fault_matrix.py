"""Whatever goes wrong on the way to any vendor: exact data or a typed error, never an empty or partial answer taken for truth.

Every case runs the whole way from gb.yaml through the provider into a lake, with two symbols: one that is hurt for good,
and one that is hurt once. All cases of a vendor share one run, so that each also shows that the others are left alone.
Every question leaves a row in `fetches`. What the data itself does is in `test_fault_matrix_data`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from gb_pipeline.errors import (
    HistoryNotAvailable,
    NotEntitled,
    PermanentVendorError,
    RateLimited,
    TransientVendorError,
    VendorError,
)
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.faults import Fault
from gb_pipeline_tests.providers.matrix import ALL, NOW, Run, hasty
from gb_pipeline_tests.providers.vendors import PAIRS, SHARES, Vendor

# Requests of one case; whoever needs more is going round in circles.
MOST_REQUESTS = 100


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with hasty(), Simulation(seed=7, symbols=PAIRS, stocks=SHARES) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Simulation]:
    """Another host, to which nobody may be led."""
    with Simulation(symbols=[], stocks=[]) as simulation:
        yield simulation


@pytest.fixture(scope="module", params=ALL)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    chosen: Vendor = request.param
    return chosen


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


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
    # It comes back, so nobody waited for the day to end.
    run.ingest(banned, *others)
    run.check_error(banned, RateLimited)
    refused = [entry for entry in sim.requests if entry["status"] == 418]
    assert len(refused) == 1
    for symbol in others:
        if run.outcomes[symbol.code].error is None:
            run.check_exact(symbol)
        else:
            run.check_error(symbol, RateLimited)


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
