"""What vendors' data itself does: exact data or a typed error, never an empty or partial answer taken for truth.

The other half of the fault matrix: bars in progress, restatements, listings, silent days, fractions, exponents, splits and
holidays, the same for every vendor and from gb.yaml into a lake.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gb_pipeline.lake import versions
from gb_pipeline.lake.report import SessionStatus
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.matrix import ALL, NOW, OF_SHARES, Run
from gb_pipeline_tests.providers.vendors import DAY, Vendor


@pytest.fixture(scope="module", params=ALL)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    chosen: Vendor = request.param
    return chosen


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
    if vendor.before_listing is None:
        assert run.outcomes[after.code].error is None
        assert run.fetched(after)[-1] == ("empty", 0, None)
    else:
        run.check_error(after, vendor.before_listing)


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
    assert versions.restatements(run.store.tables).height == (len(before) if vendor.adjusted else 0)


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
    assert run.fetched(symbol) == [("ok", outcome.counts.received, None)]


@pytest.mark.parametrize("vendor", OF_SHARES, indirect=True)
async def test_a_holiday_asked_for_is_a_well_formed_nothing(vendor: Vendor, sim: Simulation) -> None:
    sim.set_now("2024-06-21T01:00Z")
    (symbol,) = vendor.symbols(1)
    provider = build_provider(vendor.source(sim))
    answer = await provider.fetch_bars(symbol, vendor.window(date(2024, 6, 19)), vendor.resolution)
    assert (answer.frame.height, answer.calls > 0) == (0, True)
    await provider.aclose()
