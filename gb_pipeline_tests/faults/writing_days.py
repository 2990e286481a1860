"""A process that writes days of one symbol, one commit each: `python -m gb_pipeline_tests.faults.writing_days ROOT EDITION DAY...`.

Every edition gives every bar another volume, so that a later edition restates an earlier one. It prints `ready` when it
begins and `done` at the end; tests kill it in between.
"""

from __future__ import annotations

import sys
from datetime import date, timedelta

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline_tests.bars import minutes

SYMBOL = "BTC-USD"


def bars(day: date, edition: int) -> pl.DataFrame:
    """The day as the vendor has it in this edition."""
    return minutes(f"{day}T00:00").with_columns(pl.format("{}{}", "volume", pl.lit(edition)))


def write(root: str, edition: int, days: list[date]) -> None:
    """Write every day of the edition."""
    store = LakeStore.at(root)
    for day in days:
        window = Window.of(day, day + timedelta(days=1))
        store.write_bars("sim", SYMBOL, Resolution.MINUTE, window, bars(day, edition))


if __name__ == "__main__":
    root, edition, *texts = sys.argv[1:]
    print("ready", flush=True)
    write(root, int(edition), [date.fromisoformat(text) for text in texts])
    print("done", flush=True)
