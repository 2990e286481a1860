"""A connection is opened again after pauses that fit the reason why it ended."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_pipeline.collectors import Subscription, link, registry
from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.link import Link
from gb_pipeline.market.tick_schema import StreamDataset
from gb_pipeline_tests.collectors import plain
from gb_pipeline_tests.collectors.test_collector import SYMBOL, Running, wait_for


@pytest.fixture
def server() -> Iterator[plain.PlainServer]:
    with plain.PlainServer() as server:
        yield server


@pytest.mark.parametrize(
    ("denied", "longest"),
    [
        ({"s": None, "permanent": True}, 3_600.0),
        ({"s": None, "permanent": False}, 60.0),
        # The other subscriptions go on.
        ({"s": SYMBOL, "permanent": True}, 60.0),
        (None, 60.0),
    ],
    ids=["for good", "for now", "one instrument", "not refused"],
)
def test_whom_a_venue_refuses_for_good_asks_less_and_less_often(
    tmp_path: Path,
    server: plain.PlainServer,
    monkeypatch: pytest.MonkeyPatch,
    denied: dict[str, object] | None,
    longest: float,
) -> None:
    pauses: list[float] = []

    def at_once(low: float, high: float) -> float:
        pauses.append(high)
        return low

    monkeypatch.setattr(link.random, "uniform", at_once)
    server.farewell = [] if denied is None else [{"e": "denied", "why": "wrong key"} | denied]
    running = Running(tmp_path / "p", server, stream={"datasets": ["trades"]})
    wait_for(lambda: len(pauses) >= 14, "pauses")
    # Who is stopped in a handshake is not refused: that pause does not count.
    before_stop = pauses[:14]
    running.stop()
    assert before_stop[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(before_stop) == longest
    assert before_stop == sorted(before_stop)


def test_a_collector_that_is_ended_during_a_handshake_ends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/stream"
        server = cast("plain.PlainServer", SimpleNamespace(url=url))
        running = Running(tmp_path / "p", server, stream={"datasets": ["trades"]})
        connection, _ = listening.accept()
        with connection:
            key = re.search(rb"Sec-WebSocket-Key: *(\S+)", connection.recv(65_536))
            assert key is not None
            running.collector.stop()
            [item] = running.collector.feeds[0].heard
            wait_for(item.link._stopping.is_set, "end")
            accept = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n"
            )
            assert running.stop().stopped


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 2_000)), min_size=1, max_size=60), st.integers(1, 900))
def test_what_waits_never_spans_more_than_the_bound_and_the_pause_before_the_last_message(
    messages: list[tuple[int, int]], bound: int
) -> None:
    """Nobody takes anything: by the clock, and so by bytes, no more is held than came within the bound, and one message."""
    plain.register()
    now = 10**18
    clock = ReceiveClock(lambda: now, lambda: now)
    venue = registry.venue_class("plain").from_options("feed", {"url": "ws://127.0.0.1:9"})
    [connection] = venue.connections([Subscription(StreamDataset.TRADES, "BTC-USD", "BTC/USD")])
    said: list[str] = []
    link = Link(venue, connection, clock, queue_seconds=bound / 1_000, log=lambda event, **_: said.append(event))
    link._opened(connection)
    paused: list[bool] = []
    link._transport = SimpleNamespace(
        underlying_transport=SimpleNamespace(pause_reading=lambda: paused.append(True), resume_reading=paused.clear)
    )
    moments: list[int] = []
    sizes: list[int] = []
    for number, (milliseconds, size) in enumerate(messages, 1):
        if paused:
            break
        now += milliseconds * 1_000_000
        text = json.dumps({"e": "trade", "s": "BTC-USD", "n": number, "t": now, "p": "1", "q": "2", "pad": "x" * size})
        link.receive(text.encode())
        moments.append(link.last_message)
        sizes.append(len(text))
    span, last = moments[-1] - moments[0], messages[len(moments) - 1][0] * 1_000_000
    assert span <= bound * 1_000_000 + last + len(moments)
    within = [size for moment, size in zip(moments, sizes, strict=True) if moment - moments[0] <= bound * 1_000_000]
    assert sum(sizes) <= sum(within) + max(sizes)
    assert bool(paused) == (span > bound * 1_000_000) == ("slow_consumer" in said)
    assert len(link.take().trades) == len(moments)
    assert (link.queue_ns(), paused, link.take().trades) == (0, [], [])
