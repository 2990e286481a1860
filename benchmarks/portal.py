"""A strategy's loops over a `DataPortal`: a million questions for the newest price, and daily windows of 500 symbols."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from time import process_time

import numpy as np
import polars as pl

from benchmarks.measurement import Measurement, new_lake
from gb_pipeline import DataPortal, Lake, SimulationClock
from gb_pipeline.market.calendar import get_calendar

CALLS, COINS = 1_000_000, 10
EQUITIES, SESSIONS, WINDOW = 500, 504, 20
FIRST = date(2022, 1, 3)


def measure() -> Iterator[Measurement]:
    """Seconds of processor time, reading included; every value of the last step is compared with the lake's."""
    with new_lake() as lake:
        names = _put(lake, COINS, pl.datetime_range(
            datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 11, tzinfo=UTC), "1m", closed="left", eager=True
        ), "1m", "24/7")  # fmt: skip
        seconds = _ask_newest(lake, names)
        yield Measurement(
            f"{CALLS:,} current() over {COINS} symbols", seconds, "s", "< 10", seconds < 10, "100,000 minutes of each"
        )
    with new_lake() as lake:
        sessions = get_calendar("XNYS").sessions(FIRST, FIRST + timedelta(days=1100))[:SESSIONS]
        stamps = pl.Series(sessions).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        names = _put(lake, EQUITIES, stamps, "1d", "XNYS")
        each = _ask_windows(lake, names, sessions) * 1e6
        title = f"history_array({WINDOW}), for each symbol and day"
        yield Measurement(title, each, "us", "< 50", each < 50, f"{EQUITIES} symbols, {SESSIONS - WINDOW} days")


def _put(lake: Lake, count: int, stamps: pl.Series, resolution: str, calendar: str) -> list[str]:
    prices = np.random.default_rng(7).integers(1_000, 9_000, (count, len(stamps))) / 100
    names = [f"S{number:03d}" for number in range(count)]
    frames = [
        pl.DataFrame({"timestamp": stamps, **dict.fromkeys(("open", "high", "low", "close"), own), "volume": own})
        .with_columns(symbol=pl.lit(name))
        for name, own in zip(names, prices, strict=True)
    ]  # fmt: skip
    lake.put(pl.concat(frames), source="sim", resolution=resolution, calendar=calendar)
    return names


def _ask_newest(lake: Lake, names: list[str]) -> float:
    clock = SimulationClock("2024-01-01T00:01Z")
    portal = DataPortal(lake, clock, names, "1m", source="sim", calendar="24/7")
    minute = timedelta(minutes=1)
    begin = process_time()
    for _ in range(CALLS // COINS):
        for name in names:
            newest = portal.current(name, "close")
        clock.advance_by(minute)
    seconds = process_time() - begin
    last = lake.bars(names[-1], "1m", clock.now - 2 * minute, clock.now - minute, columns=["close"], as_float=True)
    assert newest == last["close"].item()
    return seconds


def _ask_windows(lake: Lake, names: list[str], sessions: list[date]) -> float:
    closes = get_calendar("XNYS").schedule(sessions[0], sessions[-1] + timedelta(days=1))["close"].to_list()
    clock = SimulationClock(closes[WINDOW - 1])
    portal = DataPortal(lake, clock, names, "1d", source="sim", calendar="XNYS")
    begin = process_time()
    for moment in closes[WINDOW:]:
        clock.advance_to(moment)
        _, values = portal.history_array(names, "close", WINDOW)
    seconds = process_time() - begin
    wide = lake.wide("close", names, "1d").tail(WINDOW).drop("timestamp")
    assert np.array_equal(values, wide.to_numpy())
    return seconds / (len(names) * (len(sessions) - WINDOW))
