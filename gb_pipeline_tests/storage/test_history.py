"""Whatever is replaced of a file, what is left and what is new lie in order, and every version is there once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import reading
from gb_pipeline_tests.bars import day, minutes

MINUTES = 240
PLACES = {
    "one stretch": set(range(60, 120)),
    "the first": {0},
    "the last": {MINUTES - 1},
    "all": set(range(MINUTES)),
    "a few stretches": {*range(5), *range(50, 60), MINUTES - 2},
    "every other one": set(range(0, MINUTES, 2)),
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("resolution", ["1m", "1h"])
def test_files_stay_in_order_whatever_is_replaced(tmp_path: Path, places: set[int], resolution: str) -> None:
    store, symbols = LakeStore.at(tmp_path), ["BTC-USD", "ETH-USD"]
    step = {"1m": 60, "1h": 3600}[resolution]
    window = day("2024-01-02", 1 if resolution == "1m" else 10)
    frames = [minutes("2024-01-02", MINUTES, symbol=symbol, step=step) for symbol in symbols]
    row = pl.int_range(pl.len()).over("symbol")
    volume = pl.when(row.is_in(list(places))).then(pl.lit("9")).otherwise("volume").alias("volume")
    before, after = pl.concat(frames), pl.concat(frames).with_columns(volume)
    for frame in (before, after):
        report = store.write_bars("sim", symbols, resolution, window, frame)
    assert report.restated == 2 * len(places)
    snapshot = store.tables.newest(f"bars_{resolution}")
    files = [reading.read(store.storage, snapshot.dataset, file) for file in snapshot.files.iter_slices(1)]
    assert all(rows["timestamp"].is_sorted() for rows in files)
    rows = pl.concat(files)
    current = rows.filter("is_current").sort("symbol", "timestamp")
    expected = after.sort("symbol", "timestamp").with_columns(pl.col("volume").cast(pl.Decimal(18, 8)))
    assert current.select("symbol", "timestamp", "volume").equals(expected.select("symbol", "timestamp", "volume"))
    assert rows.filter(~pl.col("is_current")).height == 2 * len(places)
