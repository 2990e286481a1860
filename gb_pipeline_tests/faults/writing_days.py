"""What a process does that writes days of one symbol, one commit each.

Every edition gives every bar another volume, so that a later edition restates an earlier one. It says `ready` when it begins and
`done` at the end; tests kill it in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import Window
from gb_pipeline_tests.bars import minutes

SYMBOL = "BTC-USD"


def bars(day: date, edition: int) -> pl.DataFrame:
    """The day as the vendor has it in this edition."""
    return minutes(f"{day}T00:00").with_columns(pl.format("{}{}", "volume", pl.lit(edition)))


def write(root: Path, edition: int, days: Sequence[date]) -> None:
    """Write every day of the edition."""
    store = LakeStore.at(root)
    for day in days:
        window = Window.of(day, day + timedelta(days=1))
        store.write_bars("sim", SYMBOL, Resolution.MINUTE, window, bars(day, edition))


def write_and_say_so(connection: Connection, root: Path, edition: int, days: Sequence[date]) -> None:
    """The same in a process of its own."""
    connection.send("ready")
    write(root, edition, days)
    connection.send("done")
