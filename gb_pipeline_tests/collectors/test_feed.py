"""New contracts of a series are found as often as gb.yaml says, and nobody waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.feed import Feed
from gb_pipeline.config.collect import StreamSettings
from gb_pipeline.errors import ConfigError
from gb_pipeline_tests.collectors import plain
from gb_pipeline_tests.collectors.test_collector import Running, trade, wait_for


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


def test_a_venue_that_does_not_say_which_contracts_are_open_keeps_nobody_from_keeping_what_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    async def discover(_self: plain.Plain, series: Sequence[str]) -> list[str]:
        asked.set()
        if series == ("REFUSED",):
            raise ConfigError("the key is not set", fix="set it")
        await asyncio.sleep(600)
        return []

    monkeypatch.setattr(plain.Plain, "discover", discover)
    with plain.PlainServer() as server:
        running = Running(tmp_path / "p", server, stream={"datasets": ["trades"], "series": ["LATE"]})
        wait_for(lambda: server.connected and asked.is_set(), "connection")
        server.send(trade(1))
        wait_for(running.spooled, "spool")
        assert running.stop().stopped
        refused = Running(tmp_path / "q", server, stream={"datasets": ["trades"], "series": ["REFUSED"]})
        wait_for(lambda: [facts for event, facts in refused.events if event == "discovery_failed"], "refusal")
        assert refused.stop().stopped
