"""Patience and pace, for one process and for several."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gb_pipeline.config.settings import RateLimit
from gb_pipeline.errors import ConfigError, PermanentVendorError, RateLimited, TransientVendorError
from gb_pipeline.providers.http.policy import Policy
from gb_pipeline.providers.http.transport import Transport
from gb_pipeline_tests.providers.set_clock import SetClock, most_within

QUICK = Policy(retries=3, shortest_wait=0.001, longest_wait=0.002, longest_retry_after=1.0)


class Vendor:
    """Fails as often as it is told, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[float] = []
        self.was_asked = asyncio.Event()

    async def __call__(self) -> str:
        self.asked.append(time.monotonic())
        self.was_asked.set()
        if len(self.asked) <= len(self.failures):
            raise self.failures[len(self.asked) - 1]
        return "data"


async def test_what_failed_in_passing_is_asked_again() -> None:
    vendor = Vendor(TransientVendorError("busy"), TransientVendorError("busy"))
    assert await Transport("x", QUICK).call(vendor) == "data"
    assert len(vendor.asked) == 3


async def test_it_gives_up_after_the_retries_and_says_how_often_it_tried() -> None:
    vendor = Vendor(*[TransientVendorError("busy")] * 9)
    with pytest.raises(TransientVendorError, match=r"busy \(tried 4 times\)"):
        await Transport("x", QUICK).call(vendor)
    assert len(vendor.asked) == 4


@pytest.mark.parametrize("error", [PermanentVendorError("no"), ZeroDivisionError("a bug"), KeyboardInterrupt()])
async def test_nothing_else_is_repeated(error: Exception) -> None:
    vendor = Vendor(error)
    with pytest.raises(type(error)):
        await Transport("x", QUICK).call(vendor)
    assert len(vendor.asked) == 1


async def test_retry_after_is_waited_for() -> None:
    vendor = Vendor(RateLimited("slow down", retry_after=0.2))
    await Transport("x", QUICK).call(vendor)
    assert vendor.asked[1] - vendor.asked[0] >= 0.2


@pytest.mark.parametrize("shared", [True, False])
async def test_a_ban_holds_all_calls_of_everybody(tmp_path: Path, shared: bool) -> None:
    transport = Transport("x", replace(QUICK, state_dir=tmp_path if shared else None))
    other = Transport("x", transport.policy) if shared else transport
    banned = Vendor(RateLimited("slow down", retry_after=0.2))
    waiting = asyncio.create_task(transport.call(banned))
    await banned.was_asked.wait()
    await other.admit()
    assert time.monotonic() - banned.asked[0] >= 0.19
    await waiting


async def test_too_much_patience_is_an_error_at_once() -> None:
    vendor = Vendor(RateLimited("banned for a day", retry_after=86_400))
    with pytest.raises(RateLimited, match="banned") as caught:
        await Transport("x", QUICK).call(vendor)
    assert (len(vendor.asked), caught.value.retry_after) == (1, 86_400)


async def test_the_pace_holds_within_a_process(set_clock: SetClock) -> None:
    transport = Transport("x", Policy(rate=RateLimit(calls=5, seconds=10)))
    stamps: list[float] = []

    async def one() -> None:
        await transport.admit()
        stamps.append(set_clock.now)

    await asyncio.gather(*(one() for _ in range(15)))
    transport.close()
    assert most_within(stamps, 10) == 5
    # Three windows begin within two, and a little room.
    assert stamps[-1] - stamps[0] < 2 * 10 * 1.1


async def test_a_broken_pace_file_is_named(tmp_path: Path) -> None:
    transport = Transport("shared", Policy(rate=RateLimit(calls=10), state_dir=tmp_path))
    (tmp_path / "rate_limits").mkdir()
    (tmp_path / "rate_limits" / "shared.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match=r"shared\.sqlite"):
        await transport.admit()


async def test_measures_do_not_mix() -> None:
    transport = Transport("x")

    async def fetch(size: int) -> tuple[int, int]:
        with transport.measure() as tally:
            for _ in range(3):
                with transport.request() as received:
                    await asyncio.sleep(0)
                    received(size)
                tally.accept("body")
        return tally.calls, tally.bytes

    assert await asyncio.gather(fetch(1), fetch(10)) == [(3, 3), (3, 30)]
