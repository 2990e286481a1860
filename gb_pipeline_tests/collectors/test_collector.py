"""What a venue said is in the lake, with evidence of what was heard and the reason of every hole."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gb_pipeline.collectors.collector import Collector, _run
from gb_pipeline.collectors.state import CollectorState
from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, WATERMARKS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline_tests.collectors import plain

SYMBOL = "BTC-USD"


def wait_for(condition: Callable[[], Any], what: str = "condition", seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)
    return value


class Running:
    """A collector in a thread of this process."""

    def __init__(self, folder: Path, server: plain.PlainServer, **collect: Any) -> None:
        plain.register()
        folder.mkdir(exist_ok=True)
        streams = {
            "feed": {"venue": "plain", "symbols": [SYMBOL], "datasets": ["trades", "book_updates"]}
            | collect.pop("stream", {})
        }
        streams["feed"]["options"] = {"url": server.url, "silence": collect.pop("silence", None)}
        document = {
            "lake": "data",
            "sources": {},
            "collect": {"collector": "one", "fsync_seconds": 0.1, "streams": streams} | collect,
        }
        import yaml

        (folder / "gb.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        self.settings = Settings.load(folder)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.collector = self.make()
        self.store = LakeStore.of_project(self.settings)
        self.state: CollectorState | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def make(self) -> Collector:
        return Collector(self.settings, lambda event, /, **facts: self.events.append((event, facts)))

    def _work(self) -> None:
        self.state = _run(self.collector.run())

    def stop(self) -> CollectorState:
        self.collector.stop()
        self._thread.join(60)
        assert self.state is not None
        return self.state

    def read(self, dataset: Dataset) -> pl.DataFrame:
        return reading.read(self.store.tables.storage, dataset, self.store.tables.newest(dataset.name).files)

    def spooled(self) -> int:
        return self.collector.spool.rows


@pytest.fixture
def server() -> Iterator[plain.PlainServer]:
    with plain.PlainServer() as server:
        yield server


def trade(number: int, *, at: int | None = None, price: str = "100.5") -> dict[str, Any]:
    return {"e": "trade", "s": SYMBOL, "n": number, "t": time.time_ns() if at is None else at, "p": price, "q": "0.25"}


def book(kind: str, number: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
    return {"e": kind, "s": SYMBOL, "n": number, "t": time.time_ns(), "b": bids, "a": asks}


def test_what_was_heard_is_committed_with_its_evidence(tmp_path: Path, server: plain.PlainServer) -> None:
    running = Running(tmp_path / "p", server)
    wait_for(lambda: server.connected, "connection")
    server.send(book("snapshot", 1, [["100", "1"]], [["101", "2"]]))
    for number in range(1, 6):
        server.send(trade(number), book("book", number + 1, [["100", str(number)]], [["101", "0"]]))
    wait_for(
        lambda: sum(s.rows for f in running.collector.feeds for h in f.heard for s in h.evidence.streams.values()) == 17
    )
    state = running.stop()

    trades = running.read(stream_dataset("trades")).sort("sequence")
    assert trades["trade_id"].to_list() == ["1", "2", "3", "4", "5"]
    assert set(trades["origin"]) == {"stream"}
    assert trades["receive_time"].is_sorted()
    assert running.read(stream_dataset("book_updates")).height == 10
    assert running.read(stream_dataset("book_snapshots")).sort("ordinal")["side"].to_list() == ["bid", "ask"]
    intervals = running.read(STREAM_INTERVALS)
    assert set(intervals["kind"]) == {"covered"}
    assert intervals.group_by("dataset").agg(pl.col("messages").sum(), pl.col("rows").sum()).sort("dataset").rows() == [
        ("book_updates", 6, 12),
        ("trades", 5, 5),
    ]
    covered = covered_stretches(intervals)
    assert covered.height == 2
    watermarks = running.read(WATERMARKS)
    assert dict(watermarks.select("dataset", "rows").rows()) == {"trades": 5, "book_updates": 12}
    events = running.read(CONNECTION_EVENTS).sort("event_time")
    assert {"connected", "subscribed", "snapshot"} <= set(events["kind"])
    assert (events["kind"][0], events["kind"][-1]) == ("started", "stopped")
    assert json.loads(events["detail"][0]) == {"version": version("gb_pipeline"), "flush_seconds": 3600.0}
    assert events.filter(pl.col("kind").is_in(["started", "stopped"]))["connection"].to_list() == [None, None]
    assert (state.stopped, state.flush_error, state.spool_bytes) == (True, None, 0)


def test_who_is_stopped_has_settled_all_that_it_heard_however_late_it_came(
    tmp_path: Path, server: plain.PlainServer
) -> None:
    running = Running(tmp_path / "p", server, stream={"datasets": ["trades"]})
    wait_for(lambda: server.connected, "connection")
    newest = time.time_ns()
    server.send(trade(1, at=newest - 60_000_000_000), trade(2, at=newest))
    wait_for(
        lambda: sum(s.rows for f in running.collector.feeds for h in f.heard for s in h.evidence.streams.values()) == 2
    )
    running.stop()
    assert running.read(WATERMARKS)["through_time"].max() > newest


def test_what_is_missing_is_a_gap_with_its_number(tmp_path: Path, server: plain.PlainServer) -> None:
    running = Running(tmp_path / "p", server)
    wait_for(lambda: server.connected, "connection")
    server.send(trade(1), trade(2))
    time_before = time.time_ns()
    wait_for(lambda: running.spooled() and time.time_ns() > time_before + 10_000_000)
    server.send(trade(6), trade(7), trade(7))
    wait_for(lambda: running.collector.feeds[0].heard[0].evidence.streams[plain.TRADES, SYMBOL].rows == 4)
    running.stop()

    gaps = running.read(STREAM_INTERVALS).filter(pl.col("kind") == "gap")
    assert gaps.select("reason", "missing", "first_sequence", "last_sequence").rows() == [("sequence", 3, 3, 5)]
    stored = running.read(stream_dataset("trades")).sort("sequence")
    before, after = (stored.filter(pl.col("sequence") == number)["timestamp"][0] for number in (2, 6))
    assert before <= gaps["timestamp"][0] <= after


def test_a_lost_connection_and_a_restart_are_gaps(tmp_path: Path, server: plain.PlainServer) -> None:
    sent: list[int] = []

    def hear_until_covered(running: Running, first: int) -> None:
        """A trade that comes at the moment of the subscription may still lie in the hole."""
        stream = running.collector.feeds[0].heard[0].evidence.streams[plain.TRADES, SYMBOL]
        before = stream.rows

        def is_covered() -> bool:
            sent.append(max(first, sent[-1] + 1 if sent else first))
            server.send(trade(sent[-1]))
            return stream.rows > before and stream.untold_rows == 0

        wait_for(is_covered)
        rows = before + sum(number >= first for number in sent)
        wait_for(lambda: stream.rows == rows and stream.untold_rows == 0)

    running = Running(tmp_path / "p", server)
    wait_for(lambda: server.connected, "connection")
    hear_until_covered(running, 1)
    server.disconnect()
    wait_for(lambda: server.connected == 2, "second connection")
    hear_until_covered(running, 10_000)
    running.stop()
    again = Running(tmp_path / "p", server)
    wait_for(lambda: server.connected == 3, "third connection")
    hear_until_covered(again, 20_000)
    again.stop()

    intervals = again.read(STREAM_INTERVALS).filter(pl.col("dataset") == "trades").sort("start_time")
    assert intervals["kind"].to_list() == ["covered", "gap", "covered", "gap", "covered"]
    assert intervals["reason"].drop_nulls().to_list() == ["disconnect", "restart"]
    assert covered_stretches(intervals).height == 3
    assert again.read(stream_dataset("trades"))["trade_id"].cast(pl.Int64).sort().to_list() == sent


def test_numbers_that_fit_no_table_are_in_quarantine_and_counted(tmp_path: Path, server: plain.PlainServer) -> None:
    running = Running(tmp_path / "p", server)
    wait_for(lambda: server.connected, "connection")
    server.send(trade(1), trade(2, price="1" * 19), trade(3, price="1e5x"), "{broken")
    wait_for(lambda: running.spooled() >= 3)
    wait_for(lambda: running.collector.feeds[0].heard[0].evidence.unreadable == 1)
    running.stop()
    assert running.read(stream_dataset("trades")).height == 1
    from gb_pipeline.market.schema import Precision

    assert running.read(stream_dataset("trades", Precision.WIDE))["trade_id"].to_list() == ["2"]
    from gb_pipeline.lake import quarantine

    refused = quarantine.read(running.store.tables, "feed")
    assert refused.select("resolution", "symbol").rows() == [("trades", SYMBOL)]
    assert '"1e5x"' in refused["row"][0]
    assert running.read(CONNECTION_EVENTS).filter(pl.col("kind") == "unreadable").height == 1
