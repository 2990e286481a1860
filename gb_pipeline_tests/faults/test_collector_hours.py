"""Hours of six instruments through a running connection: nothing is lost, and memory stays where it is.

The market's time goes as fast as the machine can follow, and the collector's clock with it: one hour, or `GB_SIMULATED_HOURS`, but
no longer than `GB_SIMULATED_MINUTES` of the machine's time where that is set.
"""

from __future__ import annotations

import mmap
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from gb_pipeline.collectors.state import CollectorState
from gb_pipeline.config.settings import Settings
from gb_pipeline.lake.datasets import CONNECTION_EVENTS, STREAM_INTERVALS, stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.stream_coverage import covered_stretches
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage import reading
from gb_pipeline_tests.collectors.test_collector import wait_for

SYMBOLS = ["BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "ADA-USD", "DOGE-USD"]
BEGIN_MS = 1_750_000_000_000
STEP_MS = 10_000
GIGABYTE = 1 << 30
PROGRAM = """
import mmap, sys
from gb_pipeline.collectors import collector
from gb_pipeline.collectors.clock import ReceiveClock
from gb_pipeline.config.settings import Settings

with open(sys.argv[2], "r+b") as file:
    shown = mmap.mmap(file.fileno(), 8)

def now():
    return int.from_bytes(shown[:8], "little") * 1_000_000

collector.ReceiveClock = lambda: ReceiveClock(now, now)
collector.run_collector(Settings.load(sys.argv[1]))
"""


def collect_hours(folder: Path, hours: float) -> list[int]:
    """Memory of the collector in bytes, from time to time."""
    stream = {"venue": "kraken", "symbols": SYMBOLS, "datasets": ["trades", "book_updates"]}
    memory: list[int] = []
    clock = folder / "clock"
    clock.write_bytes(BEGIN_MS.to_bytes(8, "little"))
    with Simulation(7, SYMBOLS) as sim, clock.open("r+b") as file:
        shown = mmap.mmap(file.fileno(), 8)
        sim.set_now(BEGIN_MS)
        # What is queued is bounded by steps here: a second of the market is no second of the machine.
        collect = {
            "collector": "one", "queue_seconds": 86_400, "flush": {"rows": 1_000_000},
            "streams": {"kraken": stream | {"options": {"base_url": sim.url}}},
        }  # fmt: skip
        (folder / "gb.yaml").write_text(
            yaml.safe_dump({"lake": "data", "sources": {}, "collect": collect}), encoding="utf-8"
        )
        spool = Settings.load(folder).spool
        running = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(clock)])
        try:
            wait_for(lambda: sim.streams.connections == 1, "connection", 120)
            wait_for(lambda: (state := read_state(spool)) is not None and state.messages > 0, "snapshots", 120)
            now, end = BEGIN_MS, BEGIN_MS + int(hours * 3_600_000)
            until = time.monotonic() + 60 * float(os.environ.get("GB_SIMULATED_MINUTES", "inf"))
            while now < end and time.monotonic() < until:
                now += STEP_MS
                shown[:8] = now.to_bytes(8, "little")
                sim.set_now(now)
                wait_for(lambda now=now: is_told(sim, now), "messages", 120)
                assert running.poll() is None
                # The spool is a second behind, and not more.
                if (now - BEGIN_MS) % 60_000 == 0:
                    wait_for(
                        lambda: (state := read_state(spool)) is not None and state.queue_seconds < 60, "spool", 120
                    )
                    state = read_state(spool)
                    assert state is not None
                    assert state.flush_error is None
                    memory.append(state.rss_bytes)
            running.send_signal(signal.SIGTERM)
            assert running.wait(300) == 0
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()
            shown.close()
    return memory


def read_state(spool: Path) -> CollectorState | None:
    return CollectorState.read(spool) if spool.exists() else None


def is_told(sim: Simulation, now: int) -> bool:
    """Whether everything up to a moment is made, and handed to the connection."""
    lines = list(sim.streams._open)
    return bool(lines) and all(line.reached >= now and line._queue.empty() for line in lines)


def read(store: LakeStore, dataset: Any) -> pl.DataFrame:
    return reading.read(store.tables.storage, dataset, store.tables.newest(dataset.name).files)


@pytest.mark.long
def test_hours_of_six_instruments_are_stored_whole_in_memory_that_stays_flat(tmp_path: Path) -> None:
    hours = float(os.environ.get("GB_SIMULATED_HOURS", "1"))
    began = time.monotonic()
    memory = collect_hours(tmp_path, hours)
    by_hour = [statistics.median(memory[at : at + 60]) / 1e6 for at in range(0, len(memory), 60)]
    store = LakeStore.of_project(Settings.load(tmp_path))
    trades, updates = (read(store, stream_dataset(name)) for name in ("trades", "book_updates"))
    intervals, events = read(store, STREAM_INTERVALS), read(store, CONNECTION_EVENTS)
    print(
        f"{len(memory) / 60:.2f} h in {time.monotonic() - began:.0f} s: {trades.height:,} trades, {updates.height:,} levels,"
        f" memory {min(memory) / 1e6:.0f} to {max(memory) / 1e6:.0f} MB, by hour {' '.join(f'{item:.0f}' for item in by_hour)}"
    )
    numbers = trades.group_by("symbol").agg(
        pl.len(), (pl.col("trade_id").cast(pl.Int64).max() - pl.col("trade_id").cast(pl.Int64).min() + 1).alias("span")
    )
    assert sorted(numbers["symbol"]) == sorted(SYMBOLS)
    # No number is missing, and none is there twice.
    assert numbers["len"].to_list() == numbers["span"].to_list()
    assert set(intervals["kind"]) == {"covered"}
    assert covered_stretches(intervals).height == 2 * len(SYMBOLS)
    assert not set(events["kind"]) & {"sequence", "checksum", "unreadable", "disconnected"}
    assert max(memory) < GIGABYTE
    third = len(memory) // 3
    assert statistics.median(memory[-third:]) < 1.25 * statistics.median(memory[third : 2 * third])
