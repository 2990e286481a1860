"""A clock for the pace that only moves when somebody waits: hours pass in no time, and nothing is ever late."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gb_pipeline.providers.http import rate_limit


class SetClock:
    """`now` is in seconds. It moves once all of those who take part wait, to the moment at which the first goes on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self._parties = 0
        self._waiting: list[tuple[float, int, asyncio.Event]] = []
        self._waits = 0

    @contextmanager
    def party(self) -> Iterator[None]:
        """Take part: the clock stands as long as this one is at work."""
        self._parties += 1
        try:
            yield
        finally:
            self._parties -= 1
            self._move()

    async def sleep(self, seconds: float, *_rest: Any) -> None:
        """Wait until the clock has moved so far."""
        turn = asyncio.Event()
        self._waits += 1
        heapq.heappush(self._waiting, (self.now + seconds, self._waits, turn))
        self._move()
        await turn.wait()

    def _move(self) -> None:
        if self._waiting and len(self._waiting) >= self._parties:
            moment, _, turn = heapq.heappop(self._waiting)
            self.now = max(self.now, moment)
            turn.set()


def install(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Let the buckets of `Pace` and its waiting follow a clock of their own until the test ends."""
    from pyrate_limiter import InMemoryBucket, SQLiteBucket

    clock = SetClock()
    monkeypatch.setattr(rate_limit, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep}))
    for bucket in (InMemoryBucket, SQLiteBucket):
        monkeypatch.setattr(bucket, "now", lambda _self: round(clock.now * 1000))
    return clock


def most_within(stamps: Sequence[float], seconds: float) -> int:
    """The largest number of stamps in any window of so many seconds."""
    return max(sum(1 for other in stamps if stamp <= other < stamp + seconds) for stamp in stamps)
