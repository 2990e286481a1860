"""New contracts of a series are found as often as gb.yaml says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.feed import Feed
from gb_pipeline.config.collect import StreamSettings
from gb_pipeline_tests.collectors import plain


@pytest.mark.parametrize("every", ["1m", "2h"])
def test_a_venue_is_asked_for_new_contracts_as_often_as_it_is_set(every: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    async def discover(_self: plain.Plain, series: Sequence[str]) -> list[str]:
        assert series == ("KX",)
        asked.append(steady[0])
        return []

    plain.register()
    monkeypatch.setattr(plain.Plain, "discover", discover)
    steady = [0]
    clock = ReceiveClock(lambda: 10**18, lambda: steady[0])
    settings = StreamSettings(
        venue="plain", series=("KX",), discover_every=every, options={"url": "ws://127.0.0.1:1/stream"}
    )
    feed = Feed("feed", settings, "one", clock, ends={}, queue_seconds=10, log=lambda *_, **__: None)
    minute = 60 * 10**9
    for _ in range(361):
        asyncio.run(feed.discover())
        steady[0] += minute
    length = int(settings.discover_every / timedelta(minutes=1)) * minute
    assert asked == list(range(0, 361 * minute, length))
