"""A small lake, and frames as a provider hands them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from gb_pipeline import Lake, Resolution, Window
from gb_pipeline.lake.report import WriteReport
from gb_pipeline_tests.bars import SetClock

Received = Callable[..., pl.DataFrame]
Write = Callable[..., WriteReport]


@pytest.fixture
def received() -> Received:
    """`received("2024-01-02", ["1.5", "1.6"])`: one bar per close, a minute apart."""

    def make(
        start: str, closes: Sequence[str], *, step: timedelta = timedelta(minutes=1), volume: str = "1"
    ) -> pl.DataFrame:
        first = datetime.fromisoformat(start).replace(tzinfo=UTC)
        stamps = pl.Series([first + step * i for i in range(len(closes))], dtype=pl.Datetime("us", "UTC"))
        text = pl.Series(closes, dtype=pl.String)
        prices = dict.fromkeys(("open", "high", "low", "close"), text)
        return pl.DataFrame(
            {"timestamp": stamps, **prices, "volume": pl.Series([volume] * len(closes), dtype=pl.String)}
        )

    return make


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake.open(tmp_path / "data", create=True)


@pytest.fixture
def write(lake: Lake, received: Received) -> Write:
    """`write("sim", "BTC-USD", "2024-01-02", ["1.5", "1.6"])`: store minutes from the start of that day.

    With `now=` the lake's present is that moment from then on, and the source was asked then.
    """

    def store(
        source: str,
        symbol: str,
        day: str,
        closes: Sequence[str],
        *,
        resolution: str = "1m",
        days: int = 1,
        now: datetime | None = None,
        **options: object,
    ) -> WriteReport:
        if now is not None:
            lake.store.clock = SetClock(now)
        kind = Resolution.parse(resolution)
        step = kind.duration or timedelta(days=1)
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
        window = Window(start, start + timedelta(days=days))
        return lake.write_bars(source, symbol, kind, window, received(day, closes, step=step), **options)

    return store
