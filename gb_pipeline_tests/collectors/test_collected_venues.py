"""A whole collector over the simulated venues: contracts that come and go, best effort that is never covered, equities."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gb_pipeline.collectors.collector import Collector, _run
from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage import reading
from gb_pipeline.storage.dataset import Dataset
from gb_pipeline_tests.collectors.test_collector import wait_for

OLD = "KXBTCD-24JUN2013-"
NEW = "KXBTCD-24JUN2014-"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=7, symbols=["BTC-USDT"], stocks=["KO"]) as simulation:
        yield simulation


class Collected:
    """A collector in a thread of this process, and what it left in the lake."""

    def __init__(self, folder: Path, streams: dict[str, Any]) -> None:
        document = {"lake": "data", "collect": {"collector": "one", "fsync_seconds": 0.05, "streams": streams}}
        (folder / "gb.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        settings = Settings.load(folder)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.collector = Collector(settings, lambda event, /, **facts: self.events.append((event, facts)))
        self.store = LakeStore.of_project(settings)

    def read(self, dataset: Dataset) -> pl.DataFrame:
        return reading.read(self.store.tables.storage, dataset, self.store.tables.newest(dataset.name).files)

    def rows(self, dataset: str) -> int:
        """Rows that were told so far."""
        streams = [s for feed in self.collector.feeds for item in feed.heard for s in item.evidence.streams.values()]
        return sum(stream.rows for stream in streams if stream.dataset == dataset)

    def symbols(self) -> set[str]:
        return {
            s.symbol for f in self.collector.feeds for i in f.heard for s in i.evidence.streams.values() if s.is_open
        }


@contextmanager
def collecting(folder: Path, streams: dict[str, Any]) -> Iterator[Collected]:
    collected = Collected(folder, streams)
    thread = threading.Thread(target=lambda: _run(collected.collector.run()), daemon=True)
    thread.start()
    try:
        yield collected
    finally:
        collected.collector.stop()
        thread.join(60)
    assert not thread.is_alive()


def test_contracts_that_open_are_heard_and_those_that_end_leave_no_hole_and_no_connection(
    sim: Simulation, tmp_path: Path
) -> None:
    sim.set_now("2024-06-20T12:59:50Z")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    options = {"key": "k123", "private_key": base64.b64encode(key).decode(), "base_url": sim.url}
    streams = {
        "kalshi": {
            "venue": "kalshi", "asset_class": "prediction", "series": ["KXBTCD"], "datasets": ["trades", "book_updates"],
            "discover_every": "1s", "options": options,
        }
    }  # fmt: skip
    with collecting(tmp_path, streams) as collected:
        wait_for(lambda: {code[: len(OLD)] for code in collected.symbols()} == {OLD}, "the hour's contracts")
        sim.set_now("2024-06-20T12:59:59Z")
        wait_for(lambda: collected.rows("trades") > 2, "trades")
        sim.set_now("2024-06-20T13:00:05Z")
        wait_for(lambda: {code[: len(NEW)] for code in collected.symbols()} == {NEW}, "the next hour's contracts")
        wait_for(lambda: any(event == "retired" for event, _ in collected.events), "the old connection's end")
        wait_for(lambda: len(collected.collector.feeds[0].heard) == 1, "one connection")
        sim.set_now("2024-06-20T13:00:15Z")
        wait_for(lambda: collected.rows("trades") > 2, "their trades")
    trades = collected.read(stream_dataset("trades"))
    assert {code[: len(OLD)] for code in trades["symbol"]} == {OLD, NEW}
    intervals = collected.read(STREAM_INTERVALS)
    assert set(intervals["kind"]) == {"covered"}, intervals.filter(pl.col("kind") == "gap")
    assert intervals["symbol"].n_unique() == 10
    ended = collected.read(CONNECTION_EVENTS).filter(pl.col("detail").str.contains('"ended": true'))
    assert {code[: len(OLD)] for code in ended["symbol"]} == {OLD}


def test_best_effort_is_stored_and_never_covered(sim: Simulation, tmp_path: Path) -> None:
    sim.set_now(None)
    options = {"exchange": "binance", "base_url": sim.url}
    with collecting(
        tmp_path, {"other": {"venue": "ccxt_pro", "symbols": ["BTC-USDT"], "options": options}}
    ) as collected:
        wait_for(lambda: collected.rows("trades") > 3, "trades", seconds=60)
    trades = collected.read(stream_dataset("trades"))
    assert trades.height > 3
    intervals = collected.read(STREAM_INTERVALS)
    assert set(intervals.select("kind", "reason").rows()) == {("gap", "best_effort")}
    assert intervals["rows"].sum() == trades.height


def test_equities_are_stored_with_their_events(sim: Simulation, tmp_path: Path) -> None:
    sim.reset()
    sim.set_now("2024-06-20T14:30:00Z")
    streams = {
        name: {
            "venue": name, "asset_class": "equity", "symbols": ["KO"], "datasets": ["trades", "quotes"],
            "options": {"key": "k123", "base_url": sim.url} | ({"secret": "hush"} if name == "alpaca" else {}),
        }
        for name in ("massive", "alpaca")
    }  # fmt: skip
    with collecting(tmp_path, streams) as collected:
        wait_for(
            lambda: sum('"subscribe"' in message for _, message in list(sim.streams.received)) == 2, "subscriptions"
        )
        # Heard before the trades of the minute, on the same connection.
        sim.streams.say(
            '[{"T":"x","S":"KO","i":1,"x":"V","p":55.5,"s":1,"a":"C","z":"C","t":"2024-06-20T14:30:01Z"}]', "alpaca"
        )
        sim.set_now("2024-06-20T14:31:00Z")
        bar = sim.stocks.whole_minute("KO", 1718893800000)
        assert bar is not None
        wait_for(lambda: collected.rows("trades") == 2 * bar.trades, "trades")
    trades = collected.read(stream_dataset("trades"))
    volumes = trades.group_by("source").agg(pl.col("size").sum(), pl.col("price").max(), pl.len()).sort("source")
    assert [(name, float(size), float(high), count) for name, size, high, count in volumes.rows()] == [
        (name, float(bar.volume), float(bar.high), bar.trades) for name in ("alpaca", "massive")
    ]
    assert trades["side"].null_count() == trades.height
    assert collected.read(stream_dataset("quotes")).height == 2 * bar.trades
    events = collected.read(CONNECTION_EVENTS)
    assert {("alpaca", "subscribed", "KO"), ("massive", "subscribed", "KO")} <= set(
        events.select("source", "kind", "symbol").rows()
    )
    [correction] = events.filter(pl.col("kind") == "correction")["detail"]
    assert '"what": "canceled"' in correction


def test_what_a_venue_refuses_is_logged_with_what_to_do_and_stored(sim: Simulation, tmp_path: Path) -> None:
    sim.reset()
    symbols = [f"S{number}" for number in range(31)]
    options = {"key": "k123", "secret": "hush", "base_url": sim.url}
    streams = {
        "many": {"venue": "alpaca", "asset_class": "equity", "symbols": symbols, "options": options},
        "locked": {
            "venue": "massive", "asset_class": "equity", "symbols": ["KO"], "options": {"key": "unknown", "base_url": sim.url},
        },
    }  # fmt: skip
    with collecting(tmp_path, streams) as collected:
        wait_for(lambda: {f["source"] for e, f in collected.events if e == "refused"} == {"many", "locked"}, "refusals")
    refused = {facts["source"]: facts for event, facts in collected.events if event == "refused"}
    assert refused["many"]["error"] == "symbol limit exceeded (code 405)"
    assert refused["many"]["symbols"].endswith("and 23 more")
    assert "30" in refused["many"]["fix"]
    assert refused["locked"]["error"] == "authentication failed"
    assert "option `key`" in refused["locked"]["fix"]
    events = collected.read(CONNECTION_EVENTS).filter(pl.col("kind") == "refused")
    assert events.filter(pl.col("source") == "many")["symbol"].n_unique() == 31
    # Nothing of what was refused is covered.
    assert collected.read(STREAM_INTERVALS).filter(pl.col("kind") == "covered").height == 0
