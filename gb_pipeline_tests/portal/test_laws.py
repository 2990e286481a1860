"""What a portal answers is what the lake says of that moment, and nothing that comes later changes it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from gb_pipeline import Lake, NoDataInRange, UnknownSeries
from gb_pipeline.portal.clock import SimulationClock
from gb_pipeline.portal.portal import DataPortal
from gb_pipeline_tests.bars import SetClock, at

FIRST = at("2024-01-02")
MINUTE = timedelta(minutes=1)
MINUTES = 12
SYMBOLS = ["AAA", "BBB"]
# Prices by minute; None where there is no bar.
Prices = Sequence[int | None]
prices = st.lists(st.none() | st.integers(1, 9), min_size=MINUTES, max_size=MINUTES)


def store(lake: Lake, said: Mapping[str, Prices], first: datetime = FIRST) -> None:
    """What a vendor says of some symbols in as many minutes."""
    rows = [
        (symbol, first + number * MINUTE, str(price))
        for symbol, closes in said.items()
        for number, price in enumerate(closes)
        if price is not None
    ]
    schema = {"symbol": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "close": pl.String()}
    frame = pl.DataFrame(rows, schema, orient="row")
    frame = frame.with_columns(open="close", high="close", low="close", volume=pl.lit("1"))
    window = (first, first + len(next(iter(said.values()))) * MINUTE)
    lake.write_bars("sim", list(said), "1m", window, frame)


def open_lake(folder: str, now: datetime) -> Lake:
    lake = Lake.open(Path(folder) / "data", create=True)
    lake.store.clock = SetClock(now)
    return lake


def known_bars(lake: Lake, now: datetime, *, strict: bool) -> pl.DataFrame:
    """`symbol, timestamp, close` of the bars that are closed, asked of the lake itself."""
    try:
        frame = lake.bars(
            None,
            "1m",
            source="sim",
            columns=["symbol", "timestamp", "close"],
            as_float=True,
            as_of=now if strict else None,
        )
    except (NoDataInRange, UnknownSeries):
        return pl.DataFrame(schema={"symbol": pl.String, "timestamp": pl.Datetime("us", "UTC"), "close": pl.Float64})
    return frame.filter(pl.col("timestamp") + MINUTE <= now)


def check(portal: DataPortal, expected: pl.DataFrame) -> None:
    """Every way of asking gives what is expected."""
    now = portal.clock.now
    for symbol in SYMBOLS:
        bars = expected.filter(pl.col("symbol") == symbol)
        current = portal.current(symbol)
        assert np.array_equal(current, bars["close"][-1] if bars.height else np.nan, equal_nan=True)
        existing = portal.history(symbol, "close", 5, on_gap="skip")
        assert_frame_equal(existing, bars.tail(5))
        opens = pl.Series("timestamp", [now - MINUTE * number for number in range(5, 0, -1)], pl.Datetime("us", "UTC"))
        grid = opens.dt.truncate("1m").to_frame()
        exact = grid.join(bars, on="timestamp", how="left", maintain_order="left")
        nulls = portal.history(symbol, "close", 5, on_gap="null")
        assert nulls["timestamp"].to_list() == grid["timestamp"].to_list()
        assert nulls["close"].to_list() == exact["close"].to_list()
        filled = portal.history(symbol, "close", 5, on_gap="ffill")
        before = grid.join_asof(bars.sort("timestamp"), on="timestamp", strategy="backward")
        assert filled["close"].to_list() == before["close"].to_list()
        assert portal.is_stale(symbol) == (exact["close"][-1] is None)


@settings(max_examples=12, deadline=None)
@given(
    first=prices,
    second=prices,
    moments=st.lists(st.integers(-60, 60 * (MINUTES + 3)), min_size=1, max_size=8).map(sorted),
)
def test_every_answer_is_made_of_the_bars_that_are_closed(first: Prices, second: Prices, moments: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(folder, at("2025-01-01"))
        store(lake, {"AAA": first, "BBB": second})
        clock = SimulationClock(FIRST + timedelta(seconds=moments[0]))
        portal = DataPortal(lake, clock, SYMBOLS, "1m", source="sim", calendar="24/7")
        for moment in moments:
            clock.advance_to(FIRST + timedelta(seconds=moment))
            check(portal, known_bars(lake, clock.now, strict=False))


@dataclass
class Write:
    """What the vendor says at a moment."""

    minute: int
    symbol: str
    closes: Prices


writes = st.lists(
    st.builds(Write, st.integers(0, MINUTES + 5), st.sampled_from(SYMBOLS), prices), min_size=1, max_size=6
).map(lambda found: sorted(found, key=lambda write: write.minute))


@settings(max_examples=12, deadline=None)
@given(history=writes, moments=st.lists(st.integers(0, 60 * (MINUTES + 8)), min_size=1, max_size=6).map(sorted))
def test_a_strict_portal_sees_what_the_lake_knew_at_the_clock(history: list[Write], moments: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(folder, FIRST)
        for write in history:
            lake.store.clock = SetClock(FIRST + write.minute * MINUTE)
            # Nobody can be told of a bar before it is closed.
            store(lake, {write.symbol: write.closes[: write.minute] or [None]})
        lake.store.clock = SetClock(at("2025-01-01"))
        store(lake, {symbol: [None] for symbol in SYMBOLS}, at("2024-06-01"))
        clock = SimulationClock(FIRST)
        portal = DataPortal(lake, clock, SYMBOLS, "1m", source="sim", calendar="24/7", strict=True)
        for moment in moments:
            clock.advance_to(FIRST + timedelta(seconds=moment))
            check(portal, known_bars(lake, clock.now, strict=True))


@settings(max_examples=10, deadline=None)
@given(shared=prices, futures=st.tuples(prices, prices), now=st.integers(0, MINUTES))
def test_what_comes_later_changes_no_answer(shared: Prices, futures: tuple[Prices, Prices], now: int) -> None:
    answers = []
    for future in futures:
        with tempfile.TemporaryDirectory() as folder:
            lake = open_lake(folder, at("2025-01-01"))
            store(lake, {symbol: [*shared[:now], *future] for symbol in SYMBOLS})
            clock = SimulationClock(FIRST + now * MINUTE)
            portal = DataPortal(lake, clock, SYMBOLS, "1m", source="sim", calendar="24/7")
            answers.append(
                [
                    portal.current(SYMBOLS, ["open", "close", "volume"]),
                    *(portal.history(SYMBOLS, "close", 5, on_gap=policy) for policy in ("null", "ffill", "skip")),
                    portal.history(SYMBOLS, "close", 3, "5m"),
                    pl.DataFrame([portal.is_stale(SYMBOLS), portal.can_trade(SYMBOLS)]),
                    portal.bars(SYMBOLS, FIRST, clock.now, ["close"]),
                ]
            )
    for one, other in zip(*answers, strict=True):
        assert_frame_equal(one, other)
