"""Whatever goes wrong with a connection: exact data or a typed error, never an empty or partial answer taken for truth.

Every case runs the whole way from gb.yaml through the provider into a lake, once for each transport: ccxt, yfinance, and the
client that the other vendors share. Answers, pages and data, which every vendor has in its own way, are in
`test_fault_matrix_answers`, `_pages` and `_data`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from gb_pipeline.errors import PermanentVendorError, RateLimited, TransientVendorError
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.matrix import BY_TRANSPORT, NOW, Hurt, Run, Trouble
from gb_pipeline_tests.providers.vendors import PAIRS, SHARES, Vendor


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Simulation]:
    """Another host, to which nobody may be led."""
    with Simulation(symbols=[], stocks=[]) as simulation:
        yield simulation


@pytest.fixture(scope="module", params=BY_TRANSPORT)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    chosen: Vendor = request.param
    return chosen


# --- on the way -----------------------------------------------------------------------------------------------------------

ON_THE_WAY = {
    "truncated body": Trouble({"action": "truncate"}),
    # Clients ask again by themselves where a connection that was idle turns out to be dead.
    "a reset connection": Trouble({"action": "reset"}, most_hits=4),
    "a redirect to another host": Trouble({"action": "redirect"}),
    "2 GB": Trouble({"action": "flood"}, PermanentVendorError, passes=False),
    "2 GB in 2 MB": Trouble(
        {"action": "flood", "headers": {"Content-Encoding": "gzip"}}, PermanentVendorError, passes=False
    ),
}
# Nothing is asked twice here, and nobody is hurt once: that would only be waiting for longer.
TOO_SLOW = {
    "a slow body": Trouble({"action": "slow", "delay": 60}, passes=None),
    "no answer": Trouble({"action": "hang"}, passes=None),
}


@pytest.fixture(scope="module")
def on_the_way(
    vendor: Vendor, running: Simulation, elsewhere: Simulation, tmp_path_factory: pytest.TempPathFactory
) -> Hurt:
    led_away = Trouble({"action": "redirect", "headers": {"Location": elsewhere.url}})
    troubles = ON_THE_WAY | {"a redirect to another host": led_away}
    return Hurt(troubles, vendor, running, tmp_path_factory.mktemp(vendor.name))


@pytest.fixture(scope="module")
def too_slow(vendor: Vendor, running: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Hurt:
    return Hurt(TOO_SLOW, vendor, running, tmp_path_factory.mktemp(vendor.name), timeout_seconds=2, retries=0)


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_what_goes_wrong_on_the_way_is_an_error_and_what_passes_leaves_exact_data(
    on_the_way: Hurt, elsewhere: Simulation, name: str
) -> None:
    on_the_way.check(name)
    assert not elsewhere.requests


@pytest.mark.parametrize("name", TOO_SLOW)
def test_what_takes_too_long_is_an_error(too_slow: Hurt, name: str) -> None:
    too_slow.check(name)


# --- patience ---------------------------------------------------------------------------------------------------------------


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
        seen = run.requests(symbol)
        refused = next(at for at, entry in enumerate(seen) if entry["status"] == 429)
        wait = earliest if earliest > 1.0 else seen[refused]["at_wall"] + earliest
        assert seen[refused + 1]["at_wall"] >= wait - 0.05


@pytest.mark.parametrize("banned", [0, 3], ids=["first", "last"])
def test_a_ban_for_a_day_is_an_error_at_once_for_everybody_after(
    vendor: Vendor, sim: Simulation, tmp_path: Path, banned: int
) -> None:
    symbols = vendor.symbols(4)
    ban = sim.faults.add(match=vendor.asks(symbols[banned]), status=418, headers={"Retry-After": "86400"}, times=-1)
    run = Run(vendor, sim, tmp_path)
    # It comes back, so nobody waited for the day to end.
    run.ingest(*symbols, max_concurrency=1)
    assert ban.hits == 1
    for at, symbol in enumerate(symbols):
        if at < banned:
            run.check_exact(symbol)
        else:
            run.check_error(symbol, RateLimited)
            assert len(run.requests(symbol)) == (at == banned)


def test_a_certificate_that_nobody_trusts_is_an_error(vendor: Vendor, tmp_path: Path) -> None:
    with Simulation(seed=7, symbols=PAIRS[:2], stocks=SHARES[:1], tls=True) as sim:
        sim.set_now(NOW)
        (symbol,) = vendor.symbols(1)
        run = Run(vendor, sim, tmp_path)
        run.ingest(symbol)
        run.check_error(symbol, TransientVendorError)
        assert "certificate" in str(run.outcomes[symbol.code].error).lower()
        assert not sim.requests
