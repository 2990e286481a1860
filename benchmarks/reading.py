"""A symbol-year of minutes against `polars.read_parquet` of one plain float file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl

from benchmarks.measurement import Measurement, compact, medians, new_lake
from benchmarks.minutes import floats, texts
from gb_pipeline import Lake, Window

TARGET = 1.3
REPEATS = 31
SYMBOL = "BTC-USDT"
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


def measure() -> Iterator[Measurement]:
    """A year in files of ten days as they were fetched, and in the months that compaction leaves; the target is for those."""
    with new_lake() as lake:
        plain = Path(str(lake.store.storage.root), "plain.parquet")
        starts = [date(2023, month, day) for month in range(1, 13) for day in (1, 11, 21)]
        windows = list(pairwise([*starts, date(2024, 1, 1)]))
        frames = [texts(SYMBOL, *window) for window in windows]
        floats(pl.concat(frames)).write_parquet(plain, compression="zstd")
        for window, frame in zip(windows, frames, strict=True):
            lake.write_bars("sim", SYMBOL, "1m", Window.of(*window), frame)
        yield from _against(lake, str(plain), f"{len(windows)} files", aimed=False)
        compact(lake.store)
        yield from _against(lake, str(plain), "compacted", aimed=True)


def _against(lake: Lake, plain: str, layout: str, *, aimed: bool) -> Iterator[Measurement]:
    def read(**options: object) -> pl.DataFrame:
        return lake.bars(SYMBOL, "1m", "2023-01-01", "2024-01-01", source="sim", **options)  # type: ignore[arg-type]

    asked = {
        "as_float, same columns": lambda: read(as_float=True, columns=COLUMNS),
        "as_float, all columns": lambda: read(as_float=True),
        "decimals, same columns": lambda: read(columns=COLUMNS),
        "one column": lambda: read(as_float=True, columns=["close"]),
        "one day": lambda: lake.bars(SYMBOL, "1m", "2023-06-01", "2023-06-02", source="sim", as_float=True),
    }
    assert asked["as_float, same columns"]().equals(pl.read_parquet(plain)), "the same floats to the last bit"
    seconds = medians({"plain": lambda: pl.read_parquet(plain), **asked}, REPEATS)
    for name in asked:
        ratio = seconds[name] / seconds["plain"]
        aim = aimed and name == "as_float, same columns"
        yield Measurement(
            f"symbol-year, {layout}: {name}",
            ratio,
            "x",
            f"<= {TARGET}" if aim else "",
            ratio <= TARGET if aim else None,
            f"{seconds[name] * 1e3:.1f} ms; read_parquet of a plain float file {seconds['plain'] * 1e3:.1f} ms",
        )
