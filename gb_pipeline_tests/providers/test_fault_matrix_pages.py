"""Pages whose rows come in disorder, twice, not at all or without end: made right, asked for again, or an error.

Every vendor has the cases that can hit it: other pages where a session takes several, pages without end where an answer names the
next one, lost rows where it counts them. Each case says which of the three it is, and the simulation counts what it hit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gb_pipeline.errors import TransientVendorError
from gb_pipeline.simulation import Simulation
from gb_pipeline.simulation.faults import Fault
from gb_pipeline_tests.providers.matrix import NOW, Run
from gb_pipeline_tests.providers.vendors import VENDORS, Vendor

# Requests of one case; whoever needs more is going round in circles.
MOST_REQUESTS = 100
FIRST, ANOTHER, LAST, ALL_OTHERS = "first page", "another page", "last page", "all other pages"
EVERY = "every page"


@dataclass(frozen=True)
class Case:
    """What happens to which pages of a vendor, and whether it stays wrong when it is asked again."""

    trouble: str
    where: str
    lasts: bool
    applies: Callable[[Vendor], bool]

    def plant(self, vendor: Vendor, sim: Simulation, match: str) -> Fault:
        skip = {FIRST: 0, EVERY: 0, LAST: vendor.pages - 1}.get(self.where, 1)
        times = -1 if self.where in {ALL_OTHERS, EVERY} else 1
        return sim.faults.add(match=match, action=self.trouble, skip=skip, times=times)


def _paged(vendor: Vendor) -> bool:
    return vendor.pages > 1


def _repeats_first(vendor: Vendor) -> bool:
    """Where a cursor leads, nothing comes before the first page."""
    return not vendor.cursors


def _asks_by_time(vendor: Vendor) -> bool:
    """Where a page is a stretch of time, whatever it holds."""
    return _paged(vendor) and not vendor.cursors and vendor.name in {"binance", "coinbase"}


CASES = [
    Case("shuffle_rows", FIRST, False, lambda _: True),
    Case("shuffle_rows", ANOTHER, False, _paged),
    Case("shuffle_rows", ALL_OTHERS, False, _paged),
    Case("overlap_page", FIRST, False, lambda vendor: vendor.reaches_back),
    Case("overlap_page", ANOTHER, False, _paged),
    Case("overlap_page", ALL_OTHERS, False, _paged),
    Case("duplicate_page", FIRST, False, _repeats_first),
    Case("duplicate_page", ANOTHER, False, _paged),
    Case("duplicate_page", ALL_OTHERS, True, _paged),
    Case("endless_next", LAST, False, lambda vendor: vendor.cursors),
    Case("endless_next", ALL_OTHERS, True, lambda vendor: vendor.cursors),
    Case("drop_rows", FIRST, False, lambda vendor: vendor.counts_rows),
    Case("drop_rows", ANOTHER, False, lambda vendor: vendor.counts_rows),
    Case("drop_rows", ALL_OTHERS, True, lambda vendor: vendor.counts_rows),
    Case("oldest_rows", EVERY, False, _asks_by_time),
    Case("newest_rows", EVERY, False, _asks_by_time),
    Case("newest_rows", ANOTHER, False, _asks_by_time),
]


@pytest.fixture(scope="module")
def runs(running: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Vendor], dict[Case, Outcome]]:
    """All cases of a vendor in one run, each with a symbol of its own; made when its first case asks."""
    made: dict[str, dict[Case, Outcome]] = {}

    def of(vendor: Vendor) -> dict[Case, Outcome]:
        if vendor.name not in made:
            made[vendor.name] = _run(vendor, running, tmp_path_factory)
        return made[vendor.name]

    return of


@dataclass(frozen=True)
class Outcome:
    """What became of one case."""

    run: Run
    at: int
    fault: Fault
    requests: int

    def check(self, case: Case) -> None:
        symbol = self.run.vendor.symbols(self.at + 1)[self.at]
        assert self.fault.hits >= 1
        assert self.requests < MOST_REQUESTS
        if case.lasts:
            self.run.check_error(symbol, TransientVendorError)
        else:
            self.run.check_exact(symbol)


def _run(vendor: Vendor, sim: Simulation, tmp: pytest.TempPathFactory) -> dict[Case, Outcome]:
    sim.reset()
    sim.set_now(NOW)
    sim.stocks.page_limit = vendor.page_limit
    run = Run(vendor, sim, tmp.mktemp(vendor.name), vendor.paged)
    cases = [case for case in CASES if case.applies(vendor)]
    symbols = vendor.symbols(len(cases))
    faults = [case.plant(vendor, sim, vendor.asks(symbol)) for case, symbol in zip(cases, symbols, strict=True)]
    run.ingest(*symbols)
    return {
        case: Outcome(run, at, fault, len(run.requests(symbol)))
        for at, (case, symbol, fault) in enumerate(zip(cases, symbols, faults, strict=True))
    }


@pytest.mark.parametrize(
    ("vendor", "case"),
    [
        pytest.param(vendor, case, id=f"{vendor.name}-{case.trouble}-{case.where}")
        for vendor in VENDORS
        for case in CASES
        if case.applies(vendor)
    ],
)
def test_a_wrong_page_is_made_right_or_asked_for_again_and_is_an_error_where_it_stays_wrong(
    runs: Callable[[Vendor], dict[Case, Outcome]], vendor: Vendor, case: Case
) -> None:
    runs(vendor)[case].check(case)
