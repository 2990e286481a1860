"""One pace and one pause for all processes, as the vendor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sqlite3
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import RateLimited
from gb_pipeline.providers.http.client import HttpClient
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.rate_limit import Cooldown, RateLimiter
from gb_pipeline.providers.http.transport import Transport
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.providers.set_clock import SetClock, most_within

PROCESSES, CALLS, SECONDS, WINDOWS = 4, 20, 1.0, 3
_START: list[Barrier] = []


def _remember(start: Barrier) -> None:
    _START.append(start)


def _ask(url: str, state_dir: str) -> None:
    """What one process of an ingestion does: several symbols at once, one vendor key."""

    async def work() -> None:
        policy = Policy(state_dir=Path(state_dir), rate=RateLimit(calls=CALLS, seconds=SECONDS), timeout=120)
        transport = Transport("the key", policy)
        # Whoever opens the file forgets what is old: all have it open before the first turn is taken.
        transport._pace = RateLimiter("the key", RateLimit(calls=CALLS, seconds=SECONDS), Path(state_dir))
        client = HttpClient("binance", transport, base_url=url)
        await asyncio.to_thread(_START[0].wait)
        asking = [client.get("https://api.binance.com/api/v3/time") for _ in range(CALLS * WINDOWS // PROCESSES)]
        await asyncio.gather(*asking)
        await client.aclose()
        transport.close()

    asyncio.run(work())


def test_four_processes_with_one_key_never_exceed_the_limit(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with (
        Simulation(symbols=["BTC-USDT"]) as vendor,
        context.Pool(PROCESSES, _remember, (context.Barrier(PROCESSES),)) as pool,
    ):
        pool.starmap(_ask, [(vendor.url, str(tmp_path))] * PROCESSES, chunksize=1)
        pool.close()
        pool.join()
        arrived = sorted(request["at"] / 1000 for request in vendor.requests)

    admitted = turns(tmp_path / "rate_limits" / "the_key.sqlite")
    assert most_within(admitted, SECONDS) == CALLS
    # How long a request is on its way is the machine's business; that each had a turn of its own is ours. A turn that was
    # learnt of too late is lost, so there may be more of them.
    assert len(arrived) == CALLS * WINDOWS <= len(admitted)
    assert all(sent <= came for sent, came in zip(admitted, arrived, strict=False))


async def test_four_with_one_key_use_nine_tenths_of_the_limit(tmp_path: Path, set_clock: SetClock) -> None:
    windows = 20
    paces = [RateLimiter("the key", RateLimit(calls=CALLS, seconds=SECONDS), tmp_path) for _ in range(PROCESSES)]

    async def ask(pace: RateLimiter) -> None:
        with set_clock.party():
            for _ in range(CALLS * windows // PROCESSES):
                await pace.acquire()

    await asyncio.gather(*map(ask, paces))
    for pace in paces:
        pace.close()
    admitted = turns(tmp_path / "rate_limits" / "the_key.sqlite")
    assert most_within(admitted, SECONDS) == CALLS
    used = sum(moment < admitted[0] + SECONDS * windows for moment in admitted) / (CALLS * windows)
    assert 0.9 <= used <= 1, f"{used:.0%} of the limit was used"


def turns(file: Path) -> list[float]:
    """The moments of all turns that were taken, as the shared file remembers them."""
    with contextlib.closing(sqlite3.connect(file)) as opened:
        rows = opened.execute("SELECT item_timestamp FROM rate_bucket ORDER BY item_timestamp").fetchall()
    return [milliseconds / 1000 for (milliseconds,) in rows]


def pause(file: Path) -> float:
    """How many seconds a pause lasts from when it was asked for."""
    made, until = map(float, file.read_text(encoding="utf-8").split())
    return until - made


async def test_a_pause_longer_than_anybody_waits_is_remembered_for_all_processes(tmp_path: Path) -> None:
    policy = Policy(state_dir=tmp_path, longest_retry_after=60)

    async def banned() -> None:
        raise RateLimited("banned", retry_after=3600)

    with pytest.raises(RateLimited, match="banned"):
        await Transport("the key", policy).call(banned)
    with pytest.raises(RateLimited, match=r"the key asked to be left alone until .*; nothing was sent") as refused:
        await Transport("the key", policy).admit()
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 3600
    assert pause(tmp_path / "rate_limits" / "the_key.hold") == pytest.approx(3600)
    assert "the_key.hold" in refused.value.fix
    await Transport("another key", policy).admit()


async def test_being_told_of_a_pause_again_does_not_lengthen_it(tmp_path: Path) -> None:
    policy = Policy(state_dir=tmp_path, longest_retry_after=60)
    transport = Transport("the key", policy)
    Cooldown("the key", tmp_path).extend(3600)
    before = (tmp_path / "rate_limits" / "the_key.hold").read_text()
    for _ in range(3):
        with pytest.raises(RateLimited):
            await transport.call(transport.admit)
    assert (tmp_path / "rate_limits" / "the_key.hold").read_text() == before


def test_the_longer_of_two_pauses_holds(tmp_path: Path) -> None:
    Cooldown("x", tmp_path).extend(100)
    Cooldown("x", tmp_path).extend(1)
    assert pause(tmp_path / "rate_limits" / "x.hold") == pytest.approx(100)
    assert 1 < Cooldown("x", tmp_path).left() <= 100


@pytest.mark.parametrize("asked", [10**9, float("inf")])
def test_no_vendor_can_ban_us_for_years(tmp_path: Path, asked: float) -> None:
    hold = Cooldown("x", tmp_path)
    hold.extend(asked)
    assert hold.left() <= 3 * 86_400


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "nan nan"])
def test_a_broken_pause_is_none(tmp_path: Path, text: str) -> None:
    hold = Cooldown("x", tmp_path)
    (tmp_path / "rate_limits" / "x.hold").write_text(text)
    assert hold.left() == 0


def test_a_clock_that_was_set_back_makes_no_pause(tmp_path: Path) -> None:
    made = time.time() + 3600
    (tmp_path / "rate_limits").mkdir()
    (tmp_path / "rate_limits" / "x.hold").write_text(f"{made} {made + 60}")
    assert Cooldown("x", tmp_path).left() == 0


async def test_the_pace_forgets_what_lies_behind_it(tmp_path: Path, set_clock: SetClock) -> None:
    pace = RateLimiter("x", RateLimit(calls=100, seconds=1), tmp_path)
    for _ in range(1500):
        await pace.acquire()
    pace.close()
    # Every thousandth turn forgets all but its own window.
    assert 500 <= len(turns(tmp_path / "rate_limits" / "x.sqlite")) <= 700
