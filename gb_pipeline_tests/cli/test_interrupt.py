"""Ctrl-C while bars are fetched: what has come is stored, what is left is said, and the same command goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gb_pipeline.catalog.projection import catalog_is_stale
from gb_pipeline.lake import ledger
from gb_pipeline.lake.store import LakeStore
from gb_pipeline.simulation import Simulation
from gb_pipeline_tests.cli.console import PROJECT, Gb

RANGE = ("--start", "2024-02-01", "--end", "2024-05-01")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A project that asks for one window at a time."""
    (tmp_path / "gb.yaml").write_text(PROJECT + "    max_concurrency: 1\n", encoding="utf-8")
    return tmp_path


def test_what_has_come_is_stored_and_the_same_command_goes_on(gb: Gb, slow: Path, exchange: Simulation) -> None:
    exchange.requests.clear()
    exchange.faults.add(match="klines", delay=0.02, times=-1)
    command = [sys.executable, "-m", "gb_pipeline.cli", "fetch", "sim", "BTC-USDT", "-r", "1m", *RANGE, "-c", str(slow)]
    process = subprocess.Popen(
        command, env=os.environ | {"GB_SIM_URL": exchange.url}, stderr=subprocess.PIPE, text=True
    )
    try:
        # A month is an answer of 45 calls: the first one has come, and the second is on its way.
        until = time.monotonic() + 60
        while len(exchange.requests) < 70:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        exchange.faults.clear()
    assert process.returncode == 130
    what, fix = err.splitlines()[-2:]
    found = re.fullmatch(r"stopped: (\d+) of 90 sessions of sim 1m are stored, (\d+) are left", what)
    assert found is not None, err
    stored, left = map(int, found.groups())
    assert stored + left == 90
    assert stored >= 29
    assert left > 0
    assert fix == "  -> run the same command again to go on"
    store = LakeStore.at(slow / "data")
    assert ledger.current(store.tables).height == stored
    assert not catalog_is_stale(store)

    exchange.requests.clear()
    told = gb("fetch", "sim", "BTC-USDT", "-r", "1m", *RANGE, "-c", slow)
    assert told.code == 0
    assert f"sim 1m: {left} sessions of 1 symbol" in told.err
    assert ledger.current(LakeStore.at(slow / "data").tables)["status"].to_list() == ["complete"] * 90
