"""At every vendor, kept bodies make the frame of the fetch that they came with: without the vendor, and without a key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from polars.testing import assert_frame_equal

from gb_pipeline.errors import VendorError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline.providers.base import Fetched
from gb_pipeline.providers.registry import build_provider
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.vendors import DAY, PAIRS, SHARES, VENDORS, Vendor

NOW = "2024-06-13T01:00:00Z"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    with Simulation(seed=9, symbols=PAIRS[:8], stocks=SHARES[:4]) as simulation:
        yield simulation


@pytest.fixture
def sim(running: Simulation) -> Simulation:
    running.reset()
    running.set_now(NOW)
    return running


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    chosen: Vendor = request.param
    return chosen


async def fetched(vendor: Vendor, sim: Simulation, window: Window, resolution: Resolution) -> Fetched:
    provider = build_provider(vendor.source(sim, symbols=[vendor.symbols(1)[0].code], keep_raw=True))
    try:
        return await provider.fetch_bars(vendor.symbols(1)[0], window, resolution)
    finally:
        await provider.aclose()


@pytest.mark.parametrize("resolution", [Resolution.MINUTE, Resolution.MINUTE_5, Resolution.DAY])
@pytest.mark.parametrize("small_pages", [False, True])
async def test_kept_bodies_make_the_frame_of_their_fetch(
    vendor: Vendor, sim: Simulation, resolution: Resolution, small_pages: bool
) -> None:
    symbol, window = vendor.symbols(1)[0], vendor.window()
    if resolution is Resolution.DAY and vendor.name != "kraken":
        window = Window.of(date(2024, 5, 20), DAY + timedelta(days=1))
    if vendor.name == "kraken" and resolution is Resolution.MINUTE:
        # It serves its newest 720 bars.
        window = Window.of("2024-06-12T20:00Z", "2024-06-12T23:00Z")
    if small_pages:
        sim.stocks.page_limit = vendor.page_limit
    asking = build_provider(vendor.source(sim, symbols=[symbol.code]))
    supported = asking.supports(symbol, resolution)
    await asking.aclose()
    if not supported:
        pytest.skip(f"{vendor.name} has no {resolution}")
    sim.plant("gap", symbol.code, start="2024-06-11T15:00Z", end="2024-06-11T15:20Z")
    came = await fetched(vendor, sim, window, resolution)
    assert came.frame.height
    assert hashlib.sha256(b"".join(came.bodies)).hexdigest() == came.response_hash
    asked = len(sim.requests)
    keyless = vendor.source(sim, symbols=[symbol.code])
    options = {name: value for name, value in keyless.options.items() if name not in {"key", "secret"}}
    reader = build_provider(keyless.model_copy(update={"options": options}))
    assert_frame_equal(reader.normalise(symbol, window, resolution, came.bodies), came.frame)
    await reader.aclose()
    assert len(sim.requests) == asked


async def test_bodies_that_are_not_whole_are_refused(vendor: Vendor, sim: Simulation) -> None:
    symbol, window = vendor.symbols(1)[0], vendor.window()
    bodies = (await fetched(vendor, sim, window, vendor.resolution)).bodies
    reader = build_provider(vendor.source(sim, symbols=[symbol.code]))
    for wrong in (
        (*bodies[:-1], b""),
        (*bodies[:-1], b"<html>"),
        (*bodies[:-1], bodies[-1][: len(bodies[-1]) // 2]),
    ):
        with pytest.raises(VendorError):
            reader.normalise(symbol, window, vendor.resolution, wrong)
    await reader.aclose()
