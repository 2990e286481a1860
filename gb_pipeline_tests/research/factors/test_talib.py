"""Indicators of a real equity are TA-Lib's, which runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline import EquityPricing, Lake
from gb_pipeline.research.factors import indicators as own
from gb_pipeline.research.factors.rolling import rolling_correlation, rolling_slope, rolling_std
from gb_pipeline_tests.research.factors.oracles import HERE, compute_both, share_alike, since_newest_largest

pytestmark = pytest.mark.long
CLOSE = EquityPricing.close
MACD, BANDS = own.MACD(), own.BollingerBands()
TERMS = {
    "sma": own.SMA(CLOSE, 20),
    "ema": own.EMA(CLOSE, 12),
    "wma": own.WMA(CLOSE, 10),
    "rsi": own.RSI(14),
    "atr": own.ATR(14),
    "macd": MACD.line,
    "signal": MACD.signal,
    "histogram": MACD.histogram,
    "upper": BANDS.upper,
    "middle": BANDS.middle,
    "lower": BANDS.lower,
    "roc": own.RateOfChange(10),
    "willr": own.WilliamsR(14),
    "cci": own.CCI(14),
    # Of several extremes TA-Lib takes the newest.
    "aroon_down": 100 - since_newest_largest(-EquityPricing.low, 15) / 14 * 100,
    "aroon_up": 100 - since_newest_largest(EquityPricing.high, 15) / 14 * 100,
    "mfi": own.MoneyFlowIndex(14),
    "slope": rolling_slope(CLOSE, 14),
    "correlation": rolling_correlation(CLOSE, EquityPricing.volume, 20),
    "std": rolling_std(CLOSE, 10, ddof=0),
}


def test_indicators_are_those_of_talib(equities: Lake, tmp_path: Path) -> None:
    ours, theirs = compute_both(equities, TERMS, "talib_values.py", HERE / "oracles.txt", tmp_path)
    # By then what recursions begin with is forgotten: the fast average of TA-Lib's MACD begins later than its EMA.
    shares = {name: share_alike(ours, theirs, name, behind=260) for name in TERMS}
    assert {name: share for name, share in shares.items() if share < 1} == {}
