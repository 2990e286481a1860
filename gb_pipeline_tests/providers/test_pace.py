"""One pace and one pause for all processes, as the vendor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gb_pipeline.errors import RateLimited
from gb_pipeline.providers.http import HttpClient
from gb_pipeline.providers.pace import Hold, Pace
from gb_pipeline.providers.transport import Policy, Transport
from gb_pipeline.settings import RateLimit
from gb_pipeline.simulation import Simulation

PROCESSES, CALLS, SECONDS, WINDOWS = 4, 20, 5.0, 3
_START: list[Barrier] = []


def _remember(start: Barrier) -> None:
    _START.append(start)


def _ask(url: str, state_dir: str) -> None:
    """What one process of an ingestion does: several symbols at once, one vendor key; more than can be had in the time."""

    async def work() -> None:
        transport = Transport("the key", Policy(state_dir=Path(state_dir)))
        client = HttpClient("binance", transport, base_url=url)
        # Connections are open before the vendor counts: to open one takes a busy machine longer than any room that is left.
        await asyncio.gather(*(client.get("https://api.binance.com/api/v3/ping") for _ in range(CALLS)))
        transport.policy = replace(transport.policy, rate=RateLimit(calls=CALLS, seconds=SECONDS))
        await asyncio.to_thread(_START[0].wait)
        asking = [client.get("https://api.binance.com/api/v3/time") for _ in range(CALLS * WINDOWS)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS * (WINDOWS + 0.2)):
                await asyncio.gather(*asking)
        await client.aclose()
        transport.close()

    asyncio.run(work())


def test_four_processes_with_one_key_never_exceed_the_limit_and_use_nine_tenths_of_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        Simulation(symbols=["BTC-USDT"]) as vendor,
        context.Pool(PROCESSES, _remember, (context.Barrier(PROCESSES),)) as pool,
    ):
        pool.starmap(_ask, [(vendor.url, str(tmp_path))] * PROCESSES, chunksize=1)
        pool.close()
        pool.join()
        arrived = sorted(request["at"] / 1000 for request in vendor.requests if request["path"].endswith("time"))

    most = max(sum(1 for other in arrived if first <= other < first + SECONDS) for first in arrived)
    assert most <= CALLS
    measured = [moment for moment in arrived if moment < arrived[0] + SECONDS * WINDOWS]
    used = len(measured) / (CALLS * WINDOWS)
    assert 0.9 <= used <= 1, f"{used:.0%} of the limit was used"


async def test_a_pause_longer_than_anybody_waits_is_remembered_for_all_processes(tmp_path: Path) -> None:
    policy = Policy(state_dir=tmp_path, longest_retry_after=60)

    async def banned() -> None:
        raise RateLimited("banned", retry_after=3600)

    with pytest.raises(RateLimited, match="banned"):
        await Transport("the key", policy).call(banned)
    with pytest.raises(RateLimited, match=r"the key asked to be left alone until .*; nothing was sent") as refused:
        await Transport("the key", policy).admit()
    assert refused.value.retry_after is not None
    assert 3590 < refused.value.retry_after <= 3600
    assert "the_key.hold" in refused.value.fix
    await Transport("another key", policy).admit()


async def test_being_told_of_a_pause_again_does_not_lengthen_it(tmp_path: Path) -> None:
    policy = Policy(state_dir=tmp_path, longest_retry_after=60)
    transport = Transport("the key", policy)
    Hold("the key", tmp_path).extend(3600)
    before = (tmp_path / "rate_limits" / "the_key.hold").read_text()
    for _ in range(3):
        with pytest.raises(RateLimited):
            await transport.call(transport.admit)
    assert (tmp_path / "rate_limits" / "the_key.hold").read_text() == before


def test_the_longer_of_two_pauses_holds(tmp_path: Path) -> None:
    Hold("x", tmp_path).extend(100)
    Hold("x", tmp_path).extend(1)
    assert 99 < Hold("x", tmp_path).left() <= 100


@pytest.mark.parametrize("asked", [10**9, float("inf")])
def test_no_vendor_can_ban_us_for_years(tmp_path: Path, asked: float) -> None:
    hold = Hold("x", tmp_path)
    hold.extend(asked)
    assert hold.left() <= 3 * 86_400


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "nan nan"])
def test_a_broken_pause_is_none(tmp_path: Path, text: str) -> None:
    hold = Hold("x", tmp_path)
    (tmp_path / "rate_limits" / "x.hold").write_text(text)
    assert hold.left() == 0


def test_a_clock_that_was_set_back_makes_no_pause(tmp_path: Path) -> None:
    made = time.time() + 3600
    (tmp_path / "rate_limits").mkdir()
    (tmp_path / "rate_limits" / "x.hold").write_text(f"{made} {made + 60}")
    assert Hold("x", tmp_path).left() == 0


def test_the_pace_forgets_what_lies_behind_it(tmp_path: Path) -> None:
    async def many() -> int:
        pace = Pace("x", RateLimit(calls=1000, seconds=0.1), tmp_path)
        for _ in range(1500):
            await pace.turn()
        count: int = pace._bucket.count()  # type: ignore[assignment]
        pace.close()
        return count

    assert asyncio.run(many()) < 1500
