"""What three exchanges say is in the lake, equal to what they tell by REST, covered, and with whole books."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from gb_pipeline.collectors.collector import Collector, _run
from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.datasets import STREAM_INTERVALS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation.server import Simulation
from gb_pipeline.storage import reading

_FEEDS = {"kraken": "BTC-USD", "coinbase": "BTC-USD", "binance": "BTC-USDT"}
_SECONDS = 40
_WITHIN = 600_000
_TRADES = 10


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)


def test_trades_of_three_exchanges_are_those_of_rest_and_their_books_whole(tmp_path: Path) -> None:
    with Simulation(7, sorted(set(_FEEDS.values()))) as sim:
        streams = {
            name: {
                "venue": name,
                "symbols": [symbol],
                "datasets": ["trades", "book_updates"],
                "options": {"base_url": sim.url},
            }
            for name, symbol in _FEEDS.items()
        }
        collect = {"collector": "one", "fsync_seconds": 0.1, "streams": streams}
        (tmp_path / "gb.yaml").write_text(yaml.safe_dump({"lake": "data", "sources": {}, "collect": collect}))
        settings = Settings.load(tmp_path)
        told: list[tuple[str, dict[str, Any]]] = []
        collector = Collector(settings, lambda event, /, **facts: told.append((event, facts)))
        thread = threading.Thread(target=lambda: _run(collector.run()), daemon=True)
        thread.start()
        try:
            wait_for(lambda: collector.spool.rows > 1_000, "books")
            begun = sim.exchange.now
            wait_for(
                lambda: all(
                    len(sim.exchange.trades(symbol, begun, sim.exchange.now, _TRADES)) == _TRADES
                    for symbol in set(_FEEDS.values())
                ),
                "trades",
            )
        finally:
            collector.stop()
            thread.join(60)
        store = LakeStore.of_project(settings)

        def read(dataset: Any) -> pl.DataFrame:
            return reading.read(store.tables.storage, dataset, store.tables.newest(dataset.name).files)

        tables = {name: read(stream_dataset(name)) for name in ("trades", "book_updates", "book_snapshots")}
        intervals = read(STREAM_INTERVALS)
        for name, symbol in _FEEDS.items():
            own = {table: rows.filter(pl.col("source") == name) for table, rows in tables.items()}
            stored = sorted(own["trades"]["trade_id"].cast(pl.Int64).to_list())
            told_by_rest = sim.exchange.trades(symbol, sim.exchange.now - _WITHIN, sim.exchange.now, 10**6)
            assert stored == [row[0] for row in told_by_rest if stored[0] <= row[0] <= stored[-1]]
            assert set(own["book_snapshots"]["side"]) == {"bid", "ask"}
            assert own["book_updates"].height
            covered = intervals.filter((pl.col("source") == name) & (pl.col("kind") == "covered"))
            assert set(covered["dataset"]) == {"trades", "book_updates"}
        assert not [event for event, _ in told if event in {"sequence", "checksum", "refused", "unreadable"}]
