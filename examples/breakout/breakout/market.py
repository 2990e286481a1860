"""This module is all that the project knows of the lake: where it lies, and which of its assets are read.

Nothing is imported from the other project, and its gb.yaml is not read: keys and partitions are what two projects agree on.
"""

import os
from datetime import date
from pathlib import Path

import dagster as dg

from gb_pipeline import get_calendar
from gb_pipeline.config.settings import Grain
from gb_pipeline.orchestration.partitions import Partitioning

SOURCE = "sim"
SYMBOLS = ("BTC-USDT", "ETH-USDT")
# A folder, or s3://bucket/prefix.
LAKE = os.environ.get("BREAKOUT_LAKE") or str(Path(__file__).resolve().parents[1] / "market" / "data")

# The partitions of the source: its calendar, its grain, its `start`, and its `end` where gb.yaml has one.
_END = os.environ.get("BREAKOUT_END")
SESSIONS = Partitioning(
    get_calendar("24/7"), Grain.DAY, date(2024, 1, 1), date.fromisoformat(_END) if _END else None
).definition


def bars_key(symbol: str) -> dg.AssetKey:
    """The asset of a series, as the other project calls it."""
    return dg.AssetKey([SOURCE, "bars_1m", symbol])


# Assets that are made elsewhere: Dagster joins them by their keys with those of the location that makes them.
BARS = [
    dg.AssetSpec(bars_key(symbol), partitions_def=SESSIONS, description="Bars that the market project stores.")
    for symbol in SYMBOLS
]
