"""Indicators of a real equity are TA-Lib's, which runs in an environment of its own."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.peers.environment import peers_python
from gb_pipeline import EquityPricing, Lake, Pipeline, run_pipeline
from gb_pipeline.research.factors import indicators as own
from gb_pipeline.research.factors.rolling import rolling_correlation, rolling_slope, rolling_std

pytestmark = pytest.mark.long
HERE = Path(__file__).parent
CLOSE = EquityPricing.close
MACD, BANDS, AROON = own.MACD(), own.BollingerBands(), own.Aroon(14)
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
    "aroon_down": AROON.down,
    "aroon_up": AROON.up,
    "mfi": own.MoneyFlowIndex(14),
    "slope": rolling_slope(CLOSE, 14),
    "correlation": rolling_correlation(CLOSE, EquityPricing.volume, 20),
    "std": rolling_std(CLOSE, 10, ddof=0),
}


def test_indicators_are_those_of_talib(equities: Lake, tmp_path: Path) -> None:
    bars = equities.bars("AAPL", "1d", as_float=True)
    bars.write_parquet(tmp_path / "bars.parquet")
    python = peers_python(HERE / "oracles.txt")
    subprocess.run([python, HERE / "talib_values.py", tmp_path / "bars.parquet", tmp_path / "out.parquet"], check=True)
    theirs = pl.read_parquet(tmp_path / "out.parquet")
    first = bars["timestamp"][0].date() + timedelta(days=1)
    rows = run_pipeline(Pipeline(TERMS), first, None, lake=equities, calendar="XNYS", adjustment=None)
    ours = rows.filter(pl.col("symbol") == "AAPL")
    assert ours.height == theirs.height
    # By then what recursions begin with is forgotten: the fast average of TA-Lib's MACD begins later than its EMA.
    for name in TERMS:
        a, b = ours[name].to_numpy()[260:], theirs[name].to_numpy()[260:]
        assert np.isfinite(b).all(), name
        # Aroon's extreme is the newest of several in TA-Lib.
        same = np.isclose(a, b, rtol=1e-6, atol=1e-6).mean()
        assert same == 1 or (name.startswith("aroon") and same > 0.98), f"{name}: {same:.2%} agree"
