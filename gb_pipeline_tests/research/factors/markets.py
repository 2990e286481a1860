"""Small lakes of daily bars for pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from gb_pipeline import Lake
from gb_pipeline.market.calendar import get_calendar
from gb_pipeline_tests.bars import SetClock, at

SESSIONS = get_calendar("XNYS").sessions(date(2022, 10, 3), date(2023, 4, 1))


def open_lake(folder: Path, now: str = "2025-01-01") -> Lake:
    lake = Lake.open(folder / "data", create=True)
    lake.store.clock = SetClock(at(now))
    return lake


def put_closes(
    lake: Lake, closes: Mapping[str, Sequence[float | None]], sessions: Sequence[date] = SESSIONS, source: str = "sim"
) -> None:
    """One bar per symbol and session; none where the close is None. High and low lie a little beside it, volume is 100 times it."""
    frames = [
        pl.DataFrame({"timestamp": [at(str(day)) for day in sessions[: len(own)]], "close": own}, strict=False)
        .drop_nulls()
        .with_columns(symbol=pl.lit(symbol))
        for symbol, own in closes.items()
    ]
    frame = pl.concat(frames).with_columns(pl.col("close").cast(pl.Float64).round(4))
    close = pl.col("close")
    frame = frame.with_columns(open=close, high=close + 0.5, low=close - 0.25, volume=(close * 100).round(2))
    if frame.height:
        lake.put(frame, source=source, resolution="1d", calendar="XNYS", decimals=6)
