"""What surrounds a collector fails: the lake, the disk, the network, the venue, the clock. Nothing that was kept is lost."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from gb_pipeline.collectors import collector, link, spool
from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.collectors.collector import Collector
from gb_pipeline.collectors.spool import Segment, Spool
from gb_pipeline.config.settings import Settings
from gb_pipeline.errors import LakeError
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.storage import bucket_files, reading
from gb_pipeline_tests.collectors import plain
from gb_pipeline_tests.collectors.test_collector import Running, trade, wait_for
from gb_pipeline_tests.faults.test_surroundings import in_namespace
from gb_pipeline_tests.s3.conftest import bucket, machine, one_server, server  # noqa: F401
from gb_pipeline_tests.s3.store import Store

TRADES = stream_dataset("trades")
SECOND = 1_000_000_000
TRADES_ONLY: dict[str, Any] = {"datasets": ["trades"]}


@pytest.fixture
def venue() -> Iterator[plain.PlainServer]:
    with plain.PlainServer() as plain_server:
        yield plain_server


def rows(running: Running) -> int:
    return sum(
        stream.rows
        for feed in running.collector.feeds
        for item in feed.heard
        for stream in item.evidence.streams.values()
    )


def ids(running: Running) -> list[int]:
    return sorted(int(text) for text in running.read(TRADES)["trade_id"])


def names(running: Running) -> list[str]:
    return [name for name, _ in running.events]


class Elsewhere(Running):
    """A collector whose lake is given."""

    def __init__(self, folder: Path, server: plain.PlainServer, store: LakeStore, **collect: Any) -> None:  # noqa: F811
        self._given = store
        super().__init__(folder, server, **collect)

    def make(self) -> Collector:
        return Collector(self.settings, lambda event, /, **facts: self.events.append((event, facts)), store=self._given)


def test_a_bucket_that_is_away_loses_nothing_and_journals_wait_up_to_their_limit_until_it_has_everything(
    tmp_path: Path,
    venue: plain.PlainServer,
    server: Store,  # noqa: F811
    machine: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How long a request is tried again is another test's matter.
    monkeypatch.setattr(bucket_files, "ATTEMPTS", 1)
    store = machine("a")
    running = Elsewhere(
        tmp_path / "p", venue, store, stream=TRADES_ONLY, flush={"every": "1s", "spool_mb": 0.05}, spool_limit_mb=0.1,
        queue_seconds=0.3,
    )  # fmt: skip
    running.store = store
    wait_for(lambda: venue.connected, "connection")
    venue.send(trade(1))
    wait_for(lambda: "flushed" in names(running), "first flush")
    server.gone = lambda _: True
    venue.send(trade(2), trade(3))
    wait_for(lambda: rows(running) == 3, "third trade")
    wait_for(lambda: "flush_failed" in names(running), "failure", 120)
    state = running.collector._state()
    assert state.flush_error
    assert state.spool_bytes > 0
    assert all(item.connected for item in state.streams)
    kept = running.collector.spool.segments()
    assert kept
    assert all(item.path.exists() for item in kept)
    sent = 3

    [item] = running.collector.feeds[0].heard

    def is_at_its_limit() -> bool:
        nonlocal sent
        sent += 1
        venue.send(trade(sent))
        # A busy machine may pause for the span of the queue alone, and goes on by itself.
        return item.link._paused and "spool_limit_mb" in (running.collector._state().spool_error or "")

    wait_for(is_at_its_limit, "the limit of the spool", 60)
    assert "slow_consumer" in names(running)
    waiting = running.collector.spool.waiting_bytes()
    held = len(item.link._rows.trades)
    for _ in range(50):
        sent += 1
        venue.send(trade(sent))
    assert len(item.link._rows.trades) == held, "it is read although nothing can be kept"
    # At the most one round more than the limit.
    assert 100_000 <= running.collector.spool.waiting_bytes() == waiting < 130_000
    server.heal()
    wait_for(lambda: running.collector._state().flush_error is None, "retry", 120)
    wait_for(lambda: not any(item.path.exists() for item in kept), "deletion")
    wait_for(lambda: rows(running) == sent, "the rest")
    state = running.stop()
    assert (state.flush_error, state.spool_error, state.spool_bytes) == (None, None, 0)
    assert ids(running) == list(range(1, sent + 1))
    assert "spool_works_again" in names(running)
    assert set(running.read(STREAM_INTERVALS)["kind"]) == {"covered"}


def test_an_hour_without_the_bucket_is_committed_once_and_a_journal_is_deleted_only_when_the_bucket_has_its_rows(
    tmp_path: Path,
    venue: plain.PlainServer,
    server: Store,  # noqa: F811
    machine: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hour is one of the collector's clocks; retries do not wait for theirs."""
    monkeypatch.setattr(bucket_files, "ATTEMPTS", 1)
    monkeypatch.setattr(collector, "_LONGEST_RETRY_SECONDS", 0.2)
    now = begin = 1_750_000_000 * SECOND
    monkeypatch.setattr(collector, "ReceiveClock", lambda: ReceiveClock(lambda: now, lambda: now))
    monkeypatch.setattr(collector, "time", SimpleNamespace(monotonic=lambda: now / SECOND))
    elsewhere, delete = machine("b"), Segment.delete
    deleted: list[int] = []

    def checked(self: Segment) -> None:
        trades = [number for frame in self.read("trades") for number in frame["trade_id"]]
        there = reading.read(elsewhere.storage, TRADES, elsewhere.tables.newest("trades").files)["trade_id"].to_list()
        assert sorted(trades) == sorted(set(trades) & set(there)), "a journal is deleted before the bucket has its rows"
        deleted.append(self.number)
        delete(self)

    monkeypatch.setattr(Segment, "delete", checked)
    store = machine("a")
    running = Elsewhere(tmp_path / "p", venue, store, stream=TRADES_ONLY, flush={"every": "20m"}, heal=False)
    running.store = store
    wait_for(lambda: venue.connected, "connection")
    server.gone = lambda _: True
    for minute in range(5, 70, 5):
        now = begin + minute * 60 * SECOND
        if minute == 65:
            wait_for(lambda: "flush_failed" in names(running), "failure", 60)
            assert (deleted, len(running.collector.spool.segments())) == ([], 3)
            server.heal()
        venue.send(trade(minute, at=now))
        wait_for(lambda minute=minute: rows(running) == minute // 5, "trade")
        if minute % 20 == 0:
            wait_for(lambda minute=minute: len(running.collector.spool.segments()) == minute // 20, "journal", 60)
    wait_for(lambda: len(deleted) >= 3, "deletion", 120)
    state = running.stop()
    assert (state.flush_error, state.spool_bytes) == (None, 0)
    assert deleted == sorted(set(deleted))
    assert ids(running) == list(range(5, 70, 5))
    assert covered_stretches(running.read(STREAM_INTERVALS)).height == 1


def test_a_full_disk_is_said_pauses_connections_and_loses_nothing(tmp_path: Path) -> None:
    said = in_namespace(
        tmp_path / "disk", 'mount -t tmpfs -o size=4m tmpfs "$0"', "-m", "gb_pipeline_tests.faults.full_spool",
        str(tmp_path / "disk"), str(tmp_path / "p"),
    )  # fmt: skip
    report = json.loads(said.splitlines()[-1])
    assert "space" in report["error"]
    assert report["paused"]
    assert report["stored"] == report["sent"]
    assert report["kinds"] == ["covered"]
    assert report["error_afterwards"] is None


def test_a_slow_disk_pauses_reading_says_so_and_nothing_is_lost(
    tmp_path: Path, venue: plain.PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    append = Spool.append

    def slow(self: Spool, batches: Any) -> int:
        batches = list(batches)
        if any(name == "trades" for name, _ in batches):
            assert gate.wait(60)
        return append(self, batches)

    monkeypatch.setattr(Spool, "append", slow)
    read, receive = 0, link.Link.receive

    def counted(self: link.Link, data: bytes) -> None:
        nonlocal read
        read += len(data)
        receive(self, data)

    monkeypatch.setattr(link.Link, "receive", counted)
    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY, queue_seconds=0.3)
    wait_for(lambda: venue.connected, "connection")
    sent = 0

    def send() -> bool:
        nonlocal sent
        sent += 1
        venue.send(trade(sent))
        return "slow_consumer" in names(running)

    wait_for(send, "pause")
    [item] = running.collector.feeds[0].heard
    heard, held, spooled = len(item.link._rows.trades), read, running.collector.spool.waiting_bytes()
    flood = [trade(number) | {"padding": "x" * 20_000} for number in range(sent + 1, sent + 1_001)]
    sent += len(flood)
    sending = threading.Thread(target=venue.send, args=flood)
    sending.start()
    assert running.collector._loop is not None
    for _ in range(100):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), running.collector._loop).result(30)
    assert len(item.link._rows.trades) == heard, "it is read although it is paused"
    # Of 20 MB that were sent meanwhile none are in memory or in the spool: they wait with the network and the venue.
    assert (read, running.collector.spool.waiting_bytes()) == (held, spooled)
    assert sending.is_alive(), "all of it is somewhere"
    gate.set()
    sending.join(60)
    wait_for(lambda: rows(running) == sent, "the rest")
    running.stop()
    assert read > 20_000_000
    assert ids(running) == list(range(1, sent + 1))
    assert "slow_consumer" in set(running.read(CONNECTION_EVENTS)["kind"])
    assert set(running.read(STREAM_INTERVALS)["kind"]) == {"covered"}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_ends_the_connection_and_is_a_gap(
    tmp_path: Path, venue: plain.PlainServer, hours: int
) -> None:
    offset = [0]
    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY)
    wait_for(lambda: venue.connected, "connection")
    running.collector.clock.__init__(lambda: time.time_ns() + offset[0])  # type: ignore[misc]
    venue.send(trade(1))
    wait_for(lambda: rows(running) == 1, "first trade")
    offset[0] = hours * 3_600 * 10**9
    wait_for(lambda: venue.connected == 2, "second connection")
    venue.send(trade(2))
    wait_for(lambda: rows(running) == 2, "second trade")
    running.stop()
    assert ids(running) == [1, 2]
    [step] = [facts["seconds"] for name, facts in running.events if name == "clock_set"]
    assert step == pytest.approx(hours * 3600, abs=1)
    gaps = running.read(STREAM_INTERVALS).filter(pl.col("kind") == "gap")
    assert set(gaps["reason"]) == {"clock_set"}
    [said] = running.read(CONNECTION_EVENTS).filter(pl.col("kind") == "clock_set")["detail"]
    assert json.loads(said)["seconds"] == pytest.approx(hours * 3600, abs=1)
    assert "disconnected" not in running.read(CONNECTION_EVENTS)["kind"]
    first, second = running.read(TRADES).sort("trade_id")["receive_time"]
    assert (second > first) == (hours > 0)


def test_stamps_grow_until_whoever_stamps_follows_the_clock() -> None:
    wall, steady = [10**18], [0]
    clock = ReceiveClock(lambda: wall[0], lambda: steady[0])
    first = clock.stamp()
    wall[0] -= 3_600 * 10**9
    assert clock.stamp() == first + 1
    assert clock.step() == -3_600 * 10**9
    clock.follow(clock.step())
    assert clock.step() == 0
    assert clock.stamp() == wall[0]


def test_the_end_waits_for_a_commit_that_is_on_its_way(
    tmp_path: Path, venue: plain.PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, gate, flush = threading.Event(), threading.Event(), collector.flush_segment

    def slow(*arguments: Any) -> Any:
        began.set()
        assert gate.wait(60)
        return flush(*arguments)

    monkeypatch.setattr(collector, "flush_segment", slow)
    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY, flush={"rows": 1})
    wait_for(lambda: venue.connected, "connection")
    venue.send(trade(1))
    assert began.wait(30)
    venue.send(trade(2))
    wait_for(lambda: rows(running) == 2, "second trade")
    running.collector.stop()
    wait_for(lambda: not running.collector.feeds[0].heard[0].link.is_connected, "end of the connection")
    gate.set()
    state = running.stop()
    assert ids(running) == [1, 2]
    assert state.spool_bytes == 0


def test_a_commit_that_fails_by_a_mistake_of_the_program_is_said_and_tried_again(
    tmp_path: Path, venue: plain.PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, flush = [True], collector.flush_segment

    def broken(*arguments: Any) -> Any:
        if failing.pop() if failing else False:
            raise ZeroDivisionError
        return flush(*arguments)

    monkeypatch.setattr(collector, "flush_segment", broken)
    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY, flush={"rows": 1})
    wait_for(lambda: venue.connected, "connection")
    venue.send(trade(1))
    wait_for(lambda: "flushed" in names(running), "the second attempt")
    [said] = [facts["error"] for name, facts in running.events if name == "flush_failed"]
    assert said == "ZeroDivisionError while what was heard was committed"
    assert running.stop().flush_error is None
    assert ids(running) == [1]


def test_floods_huge_messages_and_garbage_are_all_there_or_counted(tmp_path: Path, venue: plain.PlainServer) -> None:
    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY)
    wait_for(lambda: venue.connected, "connection")
    venue.send(*(trade(number) for number in range(1, 50_001)))
    venue.send(trade(50_001) | {"padding": "x" * 10_000_000})
    garbage = ["", "\x00", "[" * 100_000, '{"e": "trade"}', '{"e": "trade", "s": "BTC-USD", "n": "x"}', "null"]
    venue.send(*garbage)
    venue.send(trade(50_002))
    wait_for(lambda: rows(running) == 50_002, "flood", 120)
    state = running.stop()
    assert ids(running) == list(range(1, 50_003))
    assert state.unreadable == len(garbage)
    assert running.read(CONNECTION_EVENTS).filter(pl.col("kind") == "unreadable").height == len(garbage)


@pytest.mark.parametrize("kind", ["silent", "endless"])
def test_a_handshake_that_never_ends_is_given_up_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(link, "_HANDSHAKE_SECONDS", 0.5)
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    accepted.append(listening.accept()[0])
                    if kind == "endless":
                        accepted[-1].sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
                        threading.Thread(target=dribble, args=(accepted[-1],), daemon=True).start()

        def dribble(connection: socket.socket) -> None:
            with suppress(OSError):
                while not ended.wait(0.1):
                    connection.sendall(b"X-Header: more\r\n")

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()

        class Silent:
            url = f"ws://127.0.0.1:{listening.getsockname()[1]}/stream"

        running = Running(tmp_path / "p", Silent(), stream=TRADES_ONLY)  # type: ignore[arg-type]
        wait_for(lambda: len(accepted) >= 2, "second attempt")
        [reason] = {facts["error"] for name, facts in running.events if name == "disconnected"}
        assert "no connection within" in reason
        running.stop()
        ended.set()
        for connection in accepted:
            connection.close()


def test_a_connection_that_says_nothing_is_opened_again(tmp_path: Path, venue: plain.PlainServer) -> None:
    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY, silence=0.5)
    wait_for(lambda: venue.connected >= 2, "second connection")
    running.stop()
    assert any("nothing came for" in facts["error"] for name, facts in running.events if name == "disconnected")


def test_one_name_is_used_once_and_two_names_hear_side_by_side(tmp_path: Path, venue: plain.PlainServer) -> None:
    one = Running(tmp_path / "p", venue, stream=TRADES_ONLY)
    wait_for(lambda: venue.connected, "connection")
    with pytest.raises(LakeError, match="another collector writes the spool"):
        Collector(Settings.load(tmp_path / "p"))
    two = Running(tmp_path / "p", venue, stream=TRADES_ONLY, collector="two")
    wait_for(lambda: venue.connected == 2, "second collector")
    venue.send(trade(1), trade(2))
    wait_for(lambda: rows(one) == rows(two) == 2, "trades")
    one.stop()
    venue.send(trade(3))
    wait_for(lambda: rows(two) == 3, "third trade")
    two.stop()
    stored = two.read(TRADES).select("collector", "trade_id").sort("collector", "trade_id").rows()
    assert stored == [("one", "1"), ("one", "2"), ("two", "1"), ("two", "2"), ("two", "3")]
    assert covered_stretches(two.read(STREAM_INTERVALS), by_collector=True)["collector"].to_list() == ["one", "two"]


def test_a_damaged_journal_gives_its_whole_rows_and_claims_nothing_up_to_the_damage(
    tmp_path: Path, venue: plain.PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise LakeError("the lake is away", fix="wait")

    running = Running(tmp_path / "p", venue, stream=TRADES_ONLY)
    with monkeypatch.context() as without_lake:
        without_lake.setattr(collector, "flush_segment", away)
        wait_for(lambda: venue.connected, "connection")
        for number in (1, 2, 3, 4):
            venue.send(trade(number))
            wait_for(lambda number=number: running.spooled() and rows(running) == number, "trade")
        state = running.stop()
    assert state.flush_error == "the lake is away"
    [path] = running.settings.spool.glob("segment-*.journal")
    second = [record for record in spool._records(path) if record.name == "trades"][1]
    data = bytearray(path.read_bytes())
    data[second.end - 1] ^= 1
    path.write_bytes(data)
    collector.flush_pending(running.settings)

    assert ids(running) == [1, 3, 4]
    moments = running.read(TRADES).sort("exchange_time")["exchange_time"].to_list()
    covered = covered_stretches(running.read(STREAM_INTERVALS))
    inside = [covered.filter((pl.col("start_time") <= at) & (pl.col("end_time") > at)).height for at in moments]
    assert inside == [0, 1, 1]
    assert covered["start_time"].min() > moments[0] + 1_000
