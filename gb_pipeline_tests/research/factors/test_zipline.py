"""Terms of real equities are those of zipline's engine, which runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.environment import REQUIREMENTS
from gb_pipeline import EquityPricing, Factor, Lake, window_factor
from gb_pipeline.research.factors import indicators as own
from gb_pipeline.research.factors import rolling
from gb_pipeline_tests.research.factors.oracles import compute_both, share_alike

pytestmark = pytest.mark.long
CLOSE, RETURNS = EquityPricing.close, own.Returns()
MARKET = RETURNS.of("IBM")
BANDS, AROON, LINE = own.BollingerBands(), own.Aroon(25), rolling.linear_regression(RETURNS, MARKET, 60)
CHANGE = CLOSE - CLOSE.shift(1)
UPS, DOWNS = rolling.rolling_mean(CHANGE.clip(low=0.0), 14), rolling.rolling_mean((-CHANGE).clip(low=0.0), 14)


def windowed_average(term: Factor, span: int) -> Factor:
    """zipline's average of an EMA's weights over `span` numbers alone."""
    return rolling.rolling_weights(term, tuple((1 - 2 / (span + 1)) ** power for power in range(span, 0, -1)))


def largest_fall(closes: np.ndarray) -> np.ndarray:
    """zipline's: the largest fall in dollars, as a fraction of where it ended."""
    falls = np.maximum.accumulate(closes, axis=1) - closes
    ends = falls.argmax(axis=1)[:, None]
    found: np.ndarray = (np.take_along_axis(falls, ends, 1) / np.take_along_axis(closes, ends, 1))[:, 0]
    return found


TERMS = {
    "returns": own.Returns(5),
    "sma": own.SMA(CLOSE, 20),
    "wma": own.WMA(CLOSE, 10),
    # Its window of 250 numbers leaves nothing of what our recursion begins with.
    "ewma": own.EMA(CLOSE, 12),
    "vwap": own.VWAP(20),
    "dollars": own.AverageDollarVolume(20),
    "volatility": own.AnnualizedVolatility(60),
    "lower": BANDS.lower,
    "middle": BANDS.middle,
    "upper": BANDS.upper,
    "aroon_down": AROON.down,
    "aroon_up": AROON.up,
    "stochastic": own.FastStochastic(14),
    "true_range": own.TrueRange(),
    "roc": own.RateOfChange(10),
    "beta": LINE.slope,
    "slope": LINE.slope,
    "intercept": LINE.intercept,
    "pearson": rolling.rolling_correlation(RETURNS, MARKET, 30),
    "spearman": rolling.rolling_rank_correlation(RETURNS, MARKET, 30),
    "rank": RETURNS.rank(),
    "falling": RETURNS.rank(ascending=False),
    "zscore": RETURNS.zscore(),
    "demean": RETURNS.demean(),
    "winsorized": RETURNS.winsorize(0.25, 0.75),
    "half": RETURNS.quantiles(2),
    "top": RETURNS.top(2),
    "bottom": RETURNS.bottom(1),
}
# What zipline defines otherwise than we do, by the formulas in docs/factors.md.
OTHERWISE = {
    "rsi": UPS / (UPS + DOWNS) * 100,
    "macd_signal": windowed_average(windowed_average(CLOSE, 12) - windowed_average(CLOSE, 26), 9),
    "drawdown": window_factor(largest_fall, [CLOSE], 60),
}


def test_terms_are_those_of_zipline(equities: Lake, tmp_path: Path) -> None:
    ours, theirs = compute_both(equities, TERMS | OTHERWISE, "zipline_values.py", REQUIREMENTS, tmp_path)
    shares = {name: share_alike(ours, theirs, name, behind=300) for name in TERMS | OTHERWISE}
    assert {name: share for name, share in shares.items() if share < 1} == {}
