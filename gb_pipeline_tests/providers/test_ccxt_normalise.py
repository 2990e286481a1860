"""Answers that were kept are read as they were when they came: the same bodies make the same bars, without the exchange."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline.errors import PermanentVendorError, VendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.symbol import Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.ccxt.provider import CcxtProvider
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.simulation import Simulation

KEEPING = Policy(timeout=5, retries=2, shortest_wait=0.001, longest_wait=0.002, keep_raw=True)
DAY = datetime(2024, 1, 2, tzinfo=UTC)
MINUTE = Resolution.MINUTE
# binanceus has no layout of its own here: ccxt reads it.
EXCHANGES = {"binance": "USDT", "coinbase": "USD", "kraken": "USD", "binanceus": "USDT"}


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=11, symbols=["BTC-USDT", "BTC-USD", "BTC-USDT-PERP"]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    return running


async def fetched(sim: Simulation, exchange: str, symbol: Symbol, window: Window, resolution: Resolution) -> Fetched:
    # Kraken serves its newest 720 bars only.
    sim.exchange.set_now(window.end + timedelta(seconds=30) if exchange == "kraken" else "2024-06-01T00:00:30Z")
    provider = CcxtProvider(exchange, base_url=sim.url, policy=KEEPING)
    try:
        return await provider.fetch_bars(symbol, window, resolution)
    finally:
        await provider.aclose()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(EXCHANGES)),
    st.integers(0, 1439),
    st.integers(1, 700),
    st.sampled_from([MINUTE, Resolution.MINUTE_5]),
    st.sampled_from([None, 333, 40]),
    st.booleans(),
)
async def test_bodies_of_a_fetch_make_the_frame_of_that_fetch(
    sim: Simulation, exchange: str, first: int, length: int, resolution: Resolution, page_limit: int | None, odd: bool
) -> None:
    sim.reset()
    code = f"BTC-{EXCHANGES[exchange]}"
    start = DAY + timedelta(minutes=first)
    window = Window(start, start + timedelta(minutes=length))
    if odd:
        sim.plant("gap", code, start=start + timedelta(minutes=5), end=start + timedelta(minutes=60))
        sim.plant("bad", code, start=start + timedelta(minutes=70), repeat=2)
        sim.plant("bad", code, start=start + timedelta(minutes=80), values={"open": "n/a"})
    if exchange == "binanceus":
        sim.exchange.page_limit = page_limit
    came = await fetched(sim, exchange, Symbol.crypto(code), window, resolution)
    asked = len(sim.requests)
    # An instance of its own, on an address where nobody answers: no request, and nothing that the other one learnt.
    elsewhere = CcxtProvider(exchange, base_url="http://127.0.0.1:9")
    again = elsewhere.normalise(Symbol.crypto(code), window, resolution, came.bodies)
    assert_frame_equal(again, came.frame)
    assert len(sim.requests) == asked
    assert hashlib.sha256(b"".join(came.bodies)).hexdigest() == came.response_hash


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_a_window_in_which_no_bar_begins_is_empty(sim: Simulation, exchange: str) -> None:
    window = Window(DAY + timedelta(minutes=1), DAY + timedelta(minutes=2))
    came = await fetched(sim, exchange, Symbol.crypto(f"BTC-{EXCHANGES[exchange]}"), window, Resolution.MINUTE_5)
    assert came.frame.is_empty()


@pytest.mark.parametrize("exchange", ["binance", "binanceus"])
async def test_several_pages_and_a_perpetual(sim: Simulation, exchange: str) -> None:
    perpetual, window = Symbol.crypto("BTC-USDT-PERP"), Window(DAY, DAY + timedelta(days=2))
    symbol = perpetual if exchange == "binance" else Symbol.crypto("BTC-USDT")
    came = await fetched(sim, exchange, symbol, window, MINUTE)
    assert (came.frame.height, len(came.bodies) > 2) == (2880, True)
    assert_frame_equal(CcxtProvider(exchange).normalise(symbol, window, MINUTE, came.bodies), came.frame)


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_bodies_of_something_else_are_refused(sim: Simulation, exchange: str) -> None:
    symbol, window = Symbol.crypto(f"BTC-{EXCHANGES[exchange]}"), Window(DAY, DAY + timedelta(hours=6))
    bodies = (await fetched(sim, exchange, symbol, window, MINUTE)).bodies
    reader = CcxtProvider(exchange)
    for wrong in ((), bodies[:-1], (*bodies, bodies[-1]), (*bodies[:-1], b"<html>"), (*bodies[:-1], b"\xff\x00")):
        with pytest.raises(VendorError):
            reader.normalise(symbol, window, MINUTE, wrong)
    with pytest.raises(PermanentVendorError, match="no bars of"):
        reader.normalise(symbol, window, Resolution.TICK, bodies)


async def test_nothing_is_kept_unless_the_source_says_so(sim: Simulation) -> None:
    provider = CcxtProvider("coinbase", base_url=sim.url)
    came = await provider.fetch_bars(Symbol.crypto("BTC-USD"), Window(DAY, DAY + timedelta(hours=1)), MINUTE)
    await provider.aclose()
    assert came.bodies == ()
    assert came.frame.height == 60
