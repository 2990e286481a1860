"""Prices and trades as a function of seed, symbol and minute.

This module is pure arithmetic on arrays: the same arguments give the same result in every process, without any history. Clocks,
defects, aggregation and text are in `exchange` and `stocks`.

The price path is fractal value noise: octaves of hashed lattice values, each twice as long and a factor of sqrt(2)
larger than the one below it, which makes increments of every length grow like those of a random walk. Any minute costs
the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from gb_pipeline.simulation.instruments import Instrument
from gb_pipeline.simulation.trade_numbers import TradeNumbers

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MINUTE_MS = 60_000
# Standard deviation of a minute's return; 6 basis points is what bitcoin showed in 2024.
_SIGMA = 0.0006
_OCTAVES = 20
# Octaves shorter than about an hour breathe with the hour of the day and the mood of the week.
_FINE_OCTAVES = 6
# Minutes of trades that are kept.
_MOST_KEPT = 4


@dataclass(frozen=True, slots=True)
class Minutes:
    """Consecutive bars of one minute; all arrays have one length.

    Attributes:
        minute: int64, minutes since 1970 in UTC.
        open, high, low, close: int64, prices in ticks.
        volume: int64, in steps of the volume grid, at least `trades`.
        trades: int64, number of trades.
    """

    minute: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    trades: Ints


@dataclass(frozen=True, slots=True)
class Trades:
    """The trades of one minute in order: places in it from 0, epoch milliseconds, ticks, volume steps (int64), who was passive."""

    id: Ints
    time: Ints
    price: Ints
    size: Ints
    buyer_is_maker: npt.NDArray[np.bool_]


class Path:
    """The price path of one instrument under one seed."""

    def __init__(self, seed: int, instrument: Instrument) -> None:
        """Take a 64-bit key from seed and code; nothing is computed yet."""
        self.instrument = instrument
        digest = hashlib.sha256(f"{seed}/{instrument.code}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "little")
        self._kept: dict[int, Trades] = {}

    def minutes(self, first: int, count: int) -> Minutes:
        """Bars of the minutes `first .. first + count - 1`, minutes since 1970."""
        if count <= 0:
            empty = np.empty(0, np.int64)
            return Minutes(empty, empty, empty, empty, empty, empty, empty)
        return self.stretches(np.array([first], np.int64), np.array([count], np.int64))

    def stretches(self, first: Ints, count: Ints) -> Minutes:
        """Bars of several runs of minutes, computed at once.

        Args:
            first: int64, the first minute of each run since 1970; runs are sorted and do not overlap.
            count: int64, minutes of each run, at least 1.
        """
        # One minute more than asked in each run: a bar closes where the next one's price begins.
        size = count + 1
        start = np.cumsum(size) - size
        minute = np.arange(int(size.sum()), dtype=np.int64) + np.repeat(first - start, size)
        inside = np.ones(len(minute), bool)
        inside[start + count] = False
        at = np.flatnonzero(inside)
        mood = self._mood(minute)
        mid = self._mid(minute, mood)
        # The last price of a minute is mostly the first of the next: they share the boundary's bounce.
        spread = np.maximum(0.5, 2e-5 * mid)
        edge = mid + spread * self._normal(minute, 101)
        hop = np.where(self._uniform(minute, 102) < 0.3, spread * self._normal(minute, 103), 0.0)
        opened = np.maximum(2, np.rint(edge + hop)).astype(np.int64)[at]
        closed = np.maximum(2, np.rint(edge)).astype(np.int64)[at + 1]
        minute, mood, mid = minute[at], mood[at], mid[at]
        reach = 0.55 * _SIGMA * mood * mid
        high = np.maximum(opened, closed) + (reach * np.abs(self._normal(minute, 104))).astype(np.int64)
        low = np.minimum(opened, closed) - (reach * np.abs(self._normal(minute, 105))).astype(np.int64)
        volume, trades = self._volume(minute, mood, mid)
        return Minutes(minute, opened, high, np.maximum(1, low), closed, volume, trades)

    @cached_property
    def numbers(self) -> TradeNumbers:
        """How its trades are numbered."""
        return TradeNumbers(self.instrument.turnover / 4_000, lambda minute: self._uniform(minute, 110))

    def fractions(self, minute: Ints) -> Ints:
        """Millionths, 0 to 999999, one per minute: what venues of fractional shares add to a whole volume."""
        return np.asarray((self._hash(minute, 111) % np.uint64(1_000_000)).astype(np.int64))

    def trades(self, minute: int) -> Trades:
        """The trades of one minute: first = open, last = close, extremes = high and low, sizes sum to the volume."""
        # Streams and tickers ask for the minute in progress again and again.
        if (kept := self._kept.get(minute)) is not None:
            return kept
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        bar = self.minutes(minute, 1)
        opened, high, low, closed = (int(column[0]) for column in (bar.open, bar.high, bar.low, bar.close))
        count, volume = int(bar.trades[0]), int(bar.volume[0])
        rng = np.random.default_rng([self._key, minute])
        price = rng.integers(low, high + 1, count)
        price[0], price[-1] = opened, closed
        if count >= 4:
            at = rng.choice(np.arange(1, count - 1), 2, replace=False)
            price[at[0]], price[at[1]] = high, low
        # Distinct cut points leave every trade at least one step.
        cuts = np.sort(rng.choice(volume - 1, count - 1, replace=False) + 1) if volume < 4 * count else None
        if cuts is None:
            share = rng.exponential(1.0, count)
            cuts = np.cumsum(np.floor(share / share.sum() * (volume - count)).astype(np.int64) + 1)[:-1]
        size = np.diff(np.concatenate(([0], cuts, [volume]))).astype(np.int64)
        # The first trade opens the minute, so that the bar in progress always exists.
        offset = np.sort(rng.integers(0, MINUTE_MS, count))
        offset[0] = 0
        trades = Trades(
            np.arange(count, dtype=np.int64),
            offset.astype(np.int64) + minute * MINUTE_MS,
            price.astype(np.int64),
            size,
            rng.random(count) < 0.5,
        )
        self._kept[minute] = trades
        return trades

    @cached_property
    def _tick(self) -> float:
        return float(10.0**-self.instrument.price_digits)

    def _mood(self, minute: Ints) -> Floats:
        # Quiet around 04:00 UTC, busy around 16:00, louder and calmer days and hours.
        daily = np.sin((minute % 1440) * (2 * np.pi / 1440) - 2.6)
        slow = 0.30 * self._octave(minute, 10, 107) + 0.25 * self._octave(minute, 6, 108)
        return np.asarray(np.exp(0.3 * daily + slow))

    def _mid(self, minute: Ints, mood: Floats) -> Floats:
        fine = np.zeros(len(minute))
        coarse = np.zeros(len(minute))
        for octave in range(_OCTAVES):
            target = fine if octave < _FINE_OCTAVES else coarse
            target += self._octave(minute, octave, octave) * (0.5 * _SIGMA * 2 ** (octave / 2))
        return np.asarray(np.exp(coarse + mood * fine) * (self.instrument.price / self._tick))

    def _volume(self, minute: Ints, mood: Floats, mid: Floats) -> tuple[Ints, Ints]:
        turnover = self.instrument.turnover * mood**1.5 * np.exp(0.8 * self._normal(minute, 109) - 0.3)
        volume = turnover / (mid * self._tick) * 10.0**self.instrument.volume_digits
        count = self.numbers.counts(minute)
        # Each trade has a size of its own.
        return np.maximum(2 * count, volume.astype(np.int64)), count

    def _octave(self, minute: Ints, octave: int, stream: int) -> Floats:
        if octave == 0:
            return self._normal(minute, 200 + stream)
        cell = minute >> octave
        first, last = int(cell[0]), int(cell[-1])
        if last - first > 2 * len(cell):
            left, right = self._normal(cell, 200 + stream), self._normal(cell + 1, 200 + stream)
        else:
            # Neighbouring minutes share lattice points, so each of those is hashed once.
            lattice = self._normal(np.arange(first, last + 2, dtype=np.int64), 200 + stream)
            left, right = lattice[cell - first], lattice[cell - first + 1]
        return np.asarray(left + (right - left) * ((minute & ((1 << octave) - 1)) / (1 << octave)))

    def _hash(self, at: Ints, stream: int) -> npt.NDArray[np.uint64]:
        salt = (self._key + stream * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        x = at.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) + np.uint64(salt)
        # The finaliser of splitmix64: neighbouring inputs share nothing in the output.
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))

    def _uniform(self, at: Ints, stream: int) -> Floats:
        return np.asarray((self._hash(at, stream) >> np.uint64(11)) * 2.0**-53)

    def _normal(self, at: Ints, stream: int) -> Floats:
        # Four uniforms out of one hash: close enough to normal, and without a logarithm.
        parts = self._hash(at, stream).view(np.uint16).reshape(-1, 4).sum(axis=1, dtype=np.int64)
        return np.asarray((parts - 131_070) * (3.0**0.5 / 65_536))
