"""Bars that every contender gets and that every answer is compared with.

Prices walk on a grid of 0.01. Volumes have five digits for minutes, as of coins, and none for days, as of shares. The same
arguments give the same bars.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import numpy as np
import polars as pl

from benchmarks.peers.batch import NUMBERS, PRICES, save

CENT, TINY, WHOLE = 10**6, 10**3, 10**8  # of the units at 1e-8
SEED = 11
MICROSECONDS = {"1m": 60 * 10**6, "1d": 86_400 * 10**6}
FIRST_MINUTES, FIRST_DAYS = date(2023, 1, 1), date(2014, 1, 1)


@dataclass(frozen=True)
class Truth:
    """All rows of some symbols in a window.

    Attributes:
        frame: `symbol` (String), `timestamp` (Int64, microseconds of UTC), and each of `NUMBERS` (Int64, at 1e-8), sorted.
        resolution: `1m` or `1d`.
        start, end: the window, half-open, aware.
        name: of its file.
    """

    frame: pl.DataFrame
    resolution: str
    start: datetime
    end: datetime
    name: str = field(default_factory=lambda: uuid4().hex)

    @property
    def rows(self) -> int:
        """How many bars there are."""
        return self.frame.height

    def days(self, first: int, count: int = 1) -> Self:
        """The part from a day of the window on, for so many days."""
        start = self.start + timedelta(days=first)
        return self._between(start, start + timedelta(days=count))

    def until(self, day: date) -> Self:
        """The part before a day."""
        return self._between(self.start, datetime.combine(day, datetime.min.time(), UTC))

    def day(self, day: date) -> Self:
        """One day of the calendar."""
        start = datetime.combine(day, datetime.min.time(), UTC)
        return self._between(start, start + timedelta(days=1))

    def weekdays(self) -> list[date]:
        """The days that have a bar, in order."""
        days = self.frame.select(
            (pl.col("timestamp") // MICROSECONDS["1d"]).unique().sort().cast(pl.Int32).cast(pl.Date)
        )
        return days.to_series().to_list()

    def joined(self, later: Self) -> Self:
        """This and what follows upon it."""
        frame = pl.concat([self.frame, later.frame]).sort("symbol", "timestamp")
        return type(self)(frame, self.resolution, self.start, later.end)

    def replaced(self, other: Self) -> Self:
        """This, with the other's rows in place of those with the same symbol and timestamp."""
        frame = self.frame.update(other.frame, on=["symbol", "timestamp"]).sort("symbol", "timestamp")
        return type(self)(frame, self.resolution, self.start, self.end)

    def restated(self, turn: int) -> Self:
        """The same bars with every number changed, differently for each turn."""
        more = [pl.col(name) + CENT * (turn + 1) for name in PRICES]
        volume = pl.col("volume") + (TINY if self.resolution == "1m" else WHOLE) * (7 * turn + 3)
        return type(self)(self.frame.with_columns(*more, volume), self.resolution, self.start, self.end)

    def file(self, folder: Path) -> Path:
        """An Arrow file of the rows for the contenders, written once."""
        path = folder / f"{self.name}.arrow"
        if not path.exists():
            save(self.frame.with_columns(pl.col("symbol").cast(pl.Categorical)).to_arrow(), path)
        return path

    def _between(self, start: datetime, end: datetime) -> Self:
        first, last = (int(moment.timestamp()) * 10**6 for moment in (start, end))
        return type(self)(
            self.frame.filter(pl.col("timestamp").is_between(first, last, "left")), self.resolution, start, end
        )


def minutes(symbols: int, days: int) -> Truth:
    """Every minute of every day, of so many symbols."""
    return _walk("1m", symbols, days, FIRST_MINUTES, volatility=0.0007, digit=TINY)


def daily(symbols: int, days: int) -> Truth:
    """A bar for every day, of so many symbols."""
    return _walk("1d", symbols, days, FIRST_DAYS, volatility=0.02, digit=WHOLE)


def session_minutes(years: int) -> Truth:
    """390 minutes of each weekday, as of an exchange in New York, of one symbol for so many years."""
    history = _walk("1m", 1, years * 365, FIRST_DAYS, volatility=0.0007, digit=WHOLE)
    minute, day = pl.col("timestamp") // MICROSECONDS["1m"] % 1440, pl.col("timestamp") // MICROSECONDS["1d"]
    # 1970 began on a Thursday.
    open_minutes = history.frame.filter(minute.is_between(870, 870 + 390, "left"), (day + 3) % 7 < 5)
    return Truth(open_minutes, "1m", history.start, history.end)


def _walk(resolution: str, symbols: int, days: int, first: date, *, volatility: float, digit: int) -> Truth:
    start = datetime.combine(first, datetime.min.time(), UTC)
    step = MICROSECONDS[resolution]
    count = days * MICROSECONDS["1d"] // step
    timestamps = int(start.timestamp()) * 10**6 + step * np.arange(count, dtype=np.int64)
    parts = [
        pl.DataFrame(
            {"symbol": f"S{number:03d}-USD", "timestamp": timestamps} | _bars(number, count, volatility, digit)
        )
        for number in range(symbols)
    ]
    frame = pl.concat(parts).select("symbol", "timestamp", *NUMBERS)
    return Truth(frame, resolution, start, start + timedelta(days=days))


def _bars(number: int, count: int, volatility: float, digit: int) -> dict[str, Any]:
    random = np.random.default_rng([SEED, number, digit])
    level = np.log(random.uniform(20, 400)) + np.cumsum(_reverting(random, count, volatility))
    close = np.maximum(np.rint(np.exp(level) * 100), 1).astype(np.int64)
    opened = np.maximum(np.concatenate([close[:1], close[:-1]]) + random.integers(-2, 3, count), 1)
    reach = np.exp(level) * 100 * volatility / 2
    high = np.maximum(opened, close) + np.rint(random.exponential(reach)).astype(np.int64)
    low = np.maximum(np.minimum(opened, close) - np.rint(random.exponential(reach)).astype(np.int64), 1)
    traded = random.lognormal(5 if digit == TINY else 15, 1.0, count) * (WHOLE / digit)
    prices = dict(zip(PRICES, (opened, high, low, close), strict=True))
    return {name: values * CENT for name, values in prices.items()} | {
        "volume": (np.rint(traded).astype(np.int64) + 1) * digit
    }


def _reverting(random: np.random.Generator, count: int, volatility: float) -> Any:
    """Steps of a walk that does not run away: what one lot of steps gains, time takes back."""
    steps = random.normal(0, volatility, count)
    return steps - steps.mean()


def all_joined(parts: Iterable[Truth]) -> Truth:
    """Parts that follow upon each other, as one."""
    first, *others = parts
    frame = pl.concat([first.frame, *(part.frame for part in others)]).sort("symbol", "timestamp")
    return Truth(frame, first.resolution, first.start, others[-1].end if others else first.end)
