"""The session under ccxt: bearable sizes, and redirects that stay where they are."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from gb_pipeline.errors import PermanentVendorError, TransientVendorError
from gb_pipeline.providers.ccxt.session import strict_session
from gb_pipeline.providers.http.client import MOST_BYTES
from gb_pipeline.simulation import Simulation

TIME = "/api.binance.com/api/v3/time"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(symbols=["BTC-USDT"], stocks=[]) as running:
        yield running


@pytest.fixture
async def session(sim: Simulation) -> AsyncIterator[aiohttp.ClientSession]:
    sim.reset()
    async with strict_session(aiohttp.TCPConnector(), trust_env=False, here_only=False) as made:
        yield made


async def text(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


async def test_a_redirect_within_the_host_is_followed(sim: Simulation, session: aiohttp.ClientSession) -> None:
    sim.faults.add(action="redirect", match="/old", headers={"Location": TIME})
    assert "serverTime" in await text(session, f"{sim.url}/old")


@pytest.mark.parametrize(
    "place", ["http://localhost:9/", "https://elsewhere.invalid/?key=secret", "//elsewhere.invalid/x"]
)
async def test_a_redirect_to_another_host_is_an_error_and_nobody_is_asked_there(
    sim: Simulation, session: aiohttp.ClientSession, place: str
) -> None:
    sim.faults.add(action="redirect", headers={"Location": place})
    with pytest.raises(TransientVendorError, match="redirects to") as caught:
        await text(session, sim.url + TIME)
    assert "secret" not in str(caught.value)
    # The connection is as good as new.
    assert "serverTime" in await text(session, sim.url + TIME)


async def test_on_loopback_no_redirect_is_followed_at_all(sim: Simulation) -> None:
    sim.reset()
    sim.faults.add(action="redirect", headers={"Location": TIME})
    async with strict_session(aiohttp.TCPConnector(), trust_env=False, here_only=True) as session:
        with pytest.raises(TransientVendorError, match="redirects to"):
            await text(session, f"{sim.url}/old")


@pytest.mark.parametrize("packed", [False, True])
async def test_two_gigabytes_are_cut_off_early(
    sim: Simulation, session: aiohttp.ClientSession, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    feed = aiohttp.StreamReader.feed_data

    def counting(self: aiohttp.StreamReader, data: bytes, *rest: Any) -> Any:
        taken.append(len(data))
        return feed(self, data, *rest)

    monkeypatch.setattr(aiohttp.StreamReader, "feed_data", counting)
    sim.faults.add(action="flood", headers={"Content-Encoding": "gzip"} if packed else {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PermanentVendorError, match="more than 64 MB and was cut off"):
        await text(session, sim.url + TIME)
    assert MOST_BYTES < sum(taken) < 2 * MOST_BYTES
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 3 * MOST_BYTES


async def test_a_large_answer_is_whole(sim: Simulation, session: aiohttp.ClientSession) -> None:
    sim.faults.add(action="flood", size=5_000_000)
    assert len(await text(session, sim.url + TIME)) == 5_000_001
