"""Terms of real equities are polars-ta's, which runs in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gb_pipeline import EquityPricing, Lake
from gb_pipeline.research.factors import indicators as own
from gb_pipeline.research.factors import rolling
from gb_pipeline_tests.research.factors.oracles import HERE, compute_both, share_alike, since_newest_largest

pytestmark = pytest.mark.long
CLOSE, VOLUME, RETURNS = EquityPricing.close, EquityPricing.volume, own.Returns()
MACD, BANDS, LINE = own.MACD(), own.BollingerBands(), rolling.linear_regression(RETURNS, RETURNS.of("IBM"), 60)
TERMS = {
    "sma": own.SMA(CLOSE, 20),
    "ema": own.EMA(CLOSE, 12),
    "wma": own.WMA(CLOSE, 10),
    "rsi": own.RSI(14),
    "true_range": own.TrueRange(),
    "atr": own.ATR(14),
    "macd": MACD.line,
    "signal": MACD.signal,
    "histogram": MACD.histogram,
    "upper": BANDS.upper,
    "middle": BANDS.middle,
    "lower": BANDS.lower,
    "roc": own.RateOfChange(10),
    "returns": RETURNS,
    "willr": own.WilliamsR(14),
    "vwap": own.VWAP(20),
    "volatility": own.AnnualizedVolatility(60),
    "std": rolling.rolling_std(CLOSE, 10),
    "zscore": (CLOSE - own.SMA(CLOSE, 20)) / rolling.rolling_std(CLOSE, 20, ddof=0),
    "rank": rolling.rolling_rank(CLOSE, 20),
    "skew": rolling.rolling_skew(CLOSE, 30),
    "kurtosis": rolling.rolling_kurtosis(CLOSE, 30),
    "median": rolling.rolling_median(CLOSE, 15),
    "correlation": rolling.rolling_correlation(CLOSE, VOLUME, 20),
    "covariance": rolling.rolling_covariance(CLOSE, VOLUME, 20),
    "beta": LINE.slope,
    "alpha": LINE.intercept,
    # It counts back, to the newest of several.
    "highest": since_newest_largest(EquityPricing.high, 20),
    "lowest": since_newest_largest(-EquityPricing.low, 20),
    "place": RETURNS.rank(method="dense"),
    "cs_zscore": RETURNS.zscore(),
    "cs_demean": RETURNS.demean(),
}


def test_terms_are_those_of_polars_ta(equities: Lake, tmp_path: Path) -> None:
    requirements = HERE.parents[2] / "benchmarks" / "peers" / "polars_ta.txt"
    ours, theirs = compute_both(equities, TERMS, "polars_ta_values.py", requirements, tmp_path)
    # By then what recursions begin with is forgotten: its averages begin with the first number, ours with a mean.
    shares = {name: share_alike(ours, theirs, name, behind=300) for name in TERMS}
    assert {name: share for name, share in shares.items() if share < 1} == {}
