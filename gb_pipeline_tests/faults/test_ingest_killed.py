"""Processes that are killed in the middle: what they claimed is there, and running again completes it."""

from __future__ import annotations

import random
import signal
import time

import polars as pl

from gb_pipeline.lake import versions

KILLS = 5
START, END = "2024-01-01", "2024-01-26"
SYMBOLS = ["BTC-USDT", "ETH-USDT"]


def kill_at_random_moments(yard, seed: int, seconds: float) -> int:
    """Start and kill again and again; returns how many were killed while they were at work."""
    rng, killed = random.Random(seed), 0
    for _ in range(KILLS):
        process = yard.ready(SYMBOLS, START, END)()
        process.wait(rng.uniform(0.02, seconds))  # the moment is the point
        killed += process.kill() == -signal.SIGKILL
        claims_are_true(yard)
    return killed


def claims_are_true(yard) -> None:
    """Nothing is stored twice, sessions are stored whole, and the ledger claims no row that is not there."""
    bars = yard.bars()
    assert bars.select(pl.struct("symbol", "timestamp").is_duplicated().any()).item() in {False, None}
    stored = bars.group_by("symbol", pl.col("timestamp").dt.date().alias("session")).len()
    assert set(stored["len"]) <= {1440}
    claims = yard.claims().join(stored, on=["symbol", "session"], how="left")
    wrong = claims.filter((pl.col("actual") > 0) & (pl.col("actual") != pl.col("len").fill_null(0)))
    assert wrong.is_empty()


def seconds_of_a_run(yard) -> float:
    process = yard.ready(SYMBOLS, START, END)()
    began = time.monotonic()
    assert process.wait() == 0, yard.logs()
    return time.monotonic() - began


def test_ten_kills_lose_no_row_and_double_none(yard):
    # Five while the history is loaded for the first time ...
    killed = kill_at_random_moments(yard, seed=1, seconds=1.5)
    took = seconds_of_a_run(yard)
    first = yard.bars()
    yard.assert_same(first, yard.expected(SYMBOLS, START, END))

    # ... and five while the vendor's corrections of twenty-five days are taken over.
    for day in range(1, 26):
        for symbol in SYMBOLS:
            stamp = f"2024-01-{day:02d}T12:00:00Z"
            yard.simulation.plant("restatement", symbol, start=stamp, values={"volume": f"{day}.5"})
    killed += kill_at_random_moments(yard, seed=2, seconds=max(0.5, took))
    seconds_of_a_run(yard)

    bars = yard.bars()
    yard.assert_same(bars, yard.expected(SYMBOLS, START, END))
    changed = bars.join(first, on=["symbol", "timestamp"]).filter(pl.col("volume") != pl.col("volume_right"))
    assert changed.height == 50
    restated = versions.restatements(yard.store.tables)
    assert restated.select("symbol", "timestamp").unique().height == restated.height == 50
    kept = restated.join(first, on=["symbol", "timestamp"])
    assert (kept["old_volume"] == kept["volume"].cast(kept["old_volume"].dtype)).all()
    assert yard.claims()["status"].unique().to_list() == ["complete"]
    claims_are_true(yard)
    assert killed >= 5, "most of the processes were killed too late to prove anything"
