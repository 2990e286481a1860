"""A symbol-year of minutes against `polars.read_parquet` of one plain float file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl

from benchmarks.measurement import Measurement, medians, new_lake
from benchmarks.minutes import floats, texts
from gb_pipeline import Lake, Window

TARGET = 1.3
REPEATS = 31
SYMBOL = "BTC-USDT"
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


def measure() -> Iterator[Measurement]:
    """A year in twelve files as months were fetched, and in one file as compaction leaves it."""
    with new_lake() as lake:
        plain = lake.store.storage.root / "plain.parquet"
        year = [
            (date(2023, month, 1), (date(2023, month, 28) + timedelta(days=4)).replace(day=1)) for month in range(1, 13)
        ]
        frames = [texts(SYMBOL, *month) for month in year]
        floats(pl.concat(frames)).write_parquet(plain, compression="zstd")
        for month, frame in zip(year, frames, strict=True):
            lake.write_bars("sim", SYMBOL, "1m", Window.of(*month), frame)
        yield from _against(lake, str(plain), "12 files")
        lake.store.compact("bars_1m", "sim", SYMBOL, "2023")
        yield from _against(lake, str(plain), "compacted")


def _against(lake: Lake, plain: str, layout: str) -> Iterator[Measurement]:
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
        aim = name == "as_float, same columns"
        yield Measurement(
            f"symbol-year, {layout}: {name}",
            ratio,
            "x",
            f"<= {TARGET}" if aim else "",
            ratio <= TARGET if aim else None,
            f"{seconds[name] * 1e3:.1f} ms; read_parquet of a plain float file {seconds['plain'] * 1e3:.1f} ms",
        )
