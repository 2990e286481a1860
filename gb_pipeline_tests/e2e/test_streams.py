"""A collector beside a real Dagster: what it commits turns green, and the hole of a kill is closed by the venue's trades."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from gb_pipeline.collectors.healing import find_open_holes
from gb_pipeline.collectors.state import CollectorState
from gb_pipeline.config.settings import Settings
from gb_pipeline.dagster_runtime.instance import Stack
from gb_pipeline.lake.datasets import stream_dataset
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline.storage import reading
from gb_pipeline_tests.streams import SECOND

TRADES = ["kraken", "trades"]
SYMBOLS = ["BTC-USD", "ETH-USD"]


_SHOWN = """{
  trades: assetNodeOrError(assetKey: {path: ["kraken", "trades"]}) {
    ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks { executionForLatestMaterialization { status } } } } }
  }
  collector: assetNodeOrError(assetKey: {path: ["health", "collector"]}) {
    ... on AssetNode { assetMaterializations(limit: 1) { timestamp } }
  }
}"""


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: never"
        time.sleep(0.1)
    return value


def collect(settings: Settings) -> subprocess.Popen[str]:
    """Hear until trades of both symbols are older than what a kill may take away."""
    before = time.time_ns()
    command = [sys.executable, "-m", "gb_pipeline.cli", "collect", "--json", "-c", str(settings.path)]
    with (settings.path.parent / "log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(command, stderr=log, text=True, env=os.environ)

    def hears() -> bool:
        assert process.poll() is None, (settings.path.parent / "log").read_text(encoding="utf-8")
        state = CollectorState.read(settings.spool)
        if state is None or state.written_time < before:
            return False
        return state.spool_rows > 8 and state.written_time - state.started_time > 5 * SECOND

    wait_for(hears, "trades of both symbols", 120)
    return process


# The daemon looks twice a minute.
@pytest.mark.long
def test_what_is_committed_turns_green_and_the_hole_of_a_kill_is_closed(tmp_path: Path) -> None:
    with Simulation(seed=5, symbols=SYMBOLS) as exchange:
        stream = {"venue": "kraken", "symbols": SYMBOLS, "options": {"base_url": exchange.url}}
        raw = {"lake": "data", "collect": {"collector": "one", "streams": {"kraken": stream}}}
        (tmp_path / "gb.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
        settings = Settings.load(tmp_path)
        killed = collect(settings)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        # What is traded meanwhile is not heard.
        time.sleep(3)
        second = collect(settings)
        second.send_signal(signal.SIGTERM)
        assert second.wait(120) == 0
        store = LakeStore.of_project(settings)
        holes = find_open_holes(store, 0)
        assert set(holes["symbol"]) == set(SYMBOLS)
        assert (holes["reason"] == "restart").any()

        stack = Stack(tmp_path)
        stack.start()
        try:
            stack.client.wait(
                lambda: stack.client.partition_statuses(TRADES),
                lambda found: "MATERIALIZED" in found.values(),
                "the day to turn green",
                timeout=180,
                alive=stack.check,
            )
            # Its checks and the standing ones do not wait for their hour.
            stack.client.wait(
                lambda: stack.client.graphql(_SHOWN),
                lambda found: (
                    found["collector"]["assetMaterializations"]
                    and all(
                        item["executionForLatestMaterialization"]
                        for item in found["trades"]["assetChecksOrError"]["checks"]
                    )
                ),
                "the checks to be evaluated",
                timeout=180,
                alive=stack.check,
            )
            stack.client.wait(
                lambda: find_open_holes(LakeStore.of_project(settings), 0),
                lambda found: found.is_empty(),
                "the holes to be closed",
                timeout=240,
                alive=stack.check,
            )
        finally:
            stack.stop()
        files = store.tables.newest("trades").files
        trades = reading.read(store.storage, stream_dataset("trades"), files)
        assert trades.select("symbol", "trade_id").is_duplicated().sum() == 0
        for (_,), own in trades.partition_by("symbol", as_dict=True).items():
            numbers = own["trade_id"].cast(pl.Int64).sort()
            assert (numbers.diff().drop_nulls() == 1).all(), "no trade is missing between the first and the last"
        assert set(trades["origin"]) == {"stream", "rest"}
