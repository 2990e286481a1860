"""Technical indicators as terms, by their usual names and definitions: those of TA-Lib, and of zipline where it has them.

`window` counts sessions, the newest included, as everywhere; recursions begin as TA-Lib begins them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import polars as pl

from gb_pipeline.research.factors.nodes import Node
from gb_pipeline.research.factors.prices import Prices
from gb_pipeline.research.factors.rolling import (
    recursive_mean,
    rolling_argmax,
    rolling_argmin,
    rolling_max,
    rolling_mean,
    rolling_mean_deviation,
    rolling_min,
    rolling_std,
    rolling_sum,
    weighted_mean,
)
from gb_pipeline.research.factors.terms import Factor, at_least


def SMA(term: Factor, window: int) -> Factor:
    """Simple moving average."""
    return rolling_mean(term, window)


def EMA(term: Factor, window: int) -> Factor:
    """Exponential moving average with alpha 2 / (window + 1), begun with the mean of the first `window` numbers."""
    return recursive_mean(term, window, 2 / (at_least(window, 1, "EMA") + 1))


def WMA(term: Factor, window: int) -> Factor:
    """Linearly weighted moving average."""
    return weighted_mean(term, window)


def Wilder(term: Factor, window: int) -> Factor:
    """Wilder's moving average, with alpha 1 / window."""
    return recursive_mean(term, window, 1 / at_least(window, 1, "Wilder"))


def Returns(sessions: int = 1, term: Factor = Prices.close) -> Factor:
    """Return over so many sessions. zipline's `Returns(window_length=n)` is `Returns(n - 1)`."""
    return term / term.shift(at_least(sessions, 1, "Returns")) - 1


def AnnualizedVolatility(window: int = 252, term: Factor | None = None, *, sessions_a_year: float = 252.0) -> Factor:
    """Standard deviation (of the population) of daily returns, times the square root of the sessions of a year."""
    daily = Returns() if term is None else term
    return rolling_std(daily, window, ddof=0) * math.sqrt(sessions_a_year)


def RSI(window: int = 14, term: Factor = Prices.close) -> Factor:
    """Wilder's relative strength index, 0 to 100; 0 where the price has not moved, as TA-Lib has it."""
    change = term - term.shift(1)
    ups, downs = Wilder(change.clip(low=0.0), window), Wilder((-change).clip(low=0.0), window)
    both = ups + downs
    quotient = Node(
        "rsi", (), (ups.node, both.node), build=lambda up, all_: pl.when(all_ > 0).then(100 * up / all_).when(all_ == 0).then(0.0)
    )  # fmt: skip
    return Factor(quotient)


def TrueRange() -> Factor:
    """Largest of the session's range and its distances from the close before."""
    before = Prices.close.shift(1)
    spans = (Prices.high - Prices.low, (Prices.high - before).abs(), (Prices.low - before).abs())
    # A row without a close before has no true range, as its first two spans would say less.
    inputs = tuple(span.node for span in spans)
    return Factor(
        Node("largest", (), inputs, build=lambda a, b, c: pl.when(b.is_not_null()).then(pl.max_horizontal(a, b, c)))
    )


def ATR(window: int = 14) -> Factor:
    """Wilder's average true range."""
    return Wilder(TrueRange(), window)


class Macd(NamedTuple):
    """Moving average convergence divergence."""

    line: Factor
    signal: Factor
    histogram: Factor


def MACD(fast: int = 12, slow: int = 26, signal: int = 9, term: Factor = Prices.close) -> Macd:
    """The difference of two exponential averages, its own exponential average, and the difference of both."""
    line = EMA(term, fast) - EMA(term, slow)
    average = EMA(line, signal)
    return Macd(line, average, line - average)


class Bands(NamedTuple):
    """Bollinger's bands."""

    lower: Factor
    middle: Factor
    upper: Factor
    percent: Factor


def BollingerBands(window: int = 20, deviations: float = 2.0, term: Factor = Prices.close) -> Bands:
    """The average, and so many standard deviations (of the population) beside it; `percent` is where the price lies, 0 to 1."""
    middle = SMA(term, window)
    width = rolling_std(term, window, ddof=0) * deviations
    lower, upper = middle - width, middle + width
    return Bands(lower, middle, upper, (term - lower) / (upper - lower))


def VWAP(window: int = 20) -> Factor:
    """Average close, weighted by volume, as zipline has it; null where nothing was traded."""
    return rolling_sum(Prices.close * Prices.volume, window) / rolling_sum(Prices.volume, window)


def AverageDollarVolume(window: int = 20) -> Factor:
    """Mean of close times volume."""
    return rolling_mean(Prices.close * Prices.volume, window)


def MaxDrawdown(window: int = 252, term: Factor = Prices.close) -> Factor:
    """How far the price lies below the highest of the window, as a fraction."""
    return 1 - term / rolling_max(term, window)


def RateOfChange(sessions: int = 10, term: Factor = Prices.close) -> Factor:
    """Return in percent."""
    return Returns(sessions, term) * 100


def WilliamsR(window: int = 14) -> Factor:
    """Where the close lies in the range of the window: -100 is the lowest, 0 the highest."""
    high, low = rolling_max(Prices.high, window), rolling_min(Prices.low, window)
    return (high - Prices.close) / (high - low) * -100


def FastStochastic(window: int = 14) -> Factor:
    """Where the close lies in the range of the window, 0 to 100."""
    return WilliamsR(window) + 100


def CCI(window: int = 14) -> Factor:
    """Commodity channel index."""
    typical = (Prices.high + Prices.low + Prices.close) / 3
    return (typical - SMA(typical, window)) / (0.015 * rolling_mean_deviation(typical, window))


class AroonLines(NamedTuple):
    """Aroon."""

    down: Factor
    up: Factor


def Aroon(window: int = 25) -> AroonLines:
    """How near the lowest low and the highest high of the last `window` sessions before are, 0 to 100."""
    # The window has the session itself and `window` before it.
    down, up = rolling_argmin(Prices.low, window + 1), rolling_argmax(Prices.high, window + 1)
    return AroonLines((down - 1) / window * 100, (up - 1) / window * 100)


def MoneyFlowIndex(window: int = 14) -> Factor:
    """RSI of the money that flows in and out, 0 to 100."""
    typical = (Prices.high + Prices.low + Prices.close) / 3
    flow = typical * Prices.volume
    change = typical - typical.shift(1)
    inflow = rolling_sum((change > 0).if_else(flow, 0.0), window)
    outflow = rolling_sum((change < 0).if_else(flow, 0.0), window)
    return inflow / (inflow + outflow) * 100
