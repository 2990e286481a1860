"""Factors of a file of bars with polars-ta or pandas: `python polars_ta_factors.py LIBRARY SET BARS`, in their own environment."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from typing import Any

# The set of factors and the file of bars, to the mean of each factor.
Compute = Callable[[str, str], dict[str, float]]


def main(library: str, chosen: str, bars: str) -> None:
    """Print what it took as a line of JSON, and the mean of each factor over the second half of the rows of each symbol."""
    compute = {"polars_ta": _polars_ta, "pandas": _pandas}[library]()
    imports = _processor_time()
    means = compute(chosen, bars)
    print(json.dumps({"imports": imports, "cpu": _processor_time(), "means": means}))


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _polars_ta() -> Compute:
    import polars as pl
    from polars_ta import ta, wq

    def compute(chosen: str, bars: str) -> dict[str, float]:
        opened, high, low, close, volume = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
        if chosen == "qlib":
            terms = {
                **{f"return{n}": wq.ts_returns(close, n) for n in (1, 5)},
                **{f"mean{n}": wq.ts_mean(close, n) / close for n in (5, 10, 20, 60)},
                **{f"std{n}": wq.ts_std_dev(close, n, ddof=1) / close for n in (5, 20)},
                "max20": wq.ts_max(high, 20) / close,
                "min20": wq.ts_min(low, 20) / close,
                **{f"volume{n}": wq.ts_mean(volume, n) / volume for n in (5, 20)},
                "body": (close - opened) / opened,
                "range": (high - low) / opened,
            }
        else:
            macd, bands = ta.MACD(close, 12, 26, 9), ta.BBANDS(close, 20)
            terms = {
                "sma": ta.SMA(close, 20),
                "ema": ta.EMA(close, 12),
                "rsi": ta.RSI(close, 14) * 100,
                "atr": ta.ATR(high, low, close, 14),
                "macd": macd.struct.field("macd"),
                "signal": macd.struct.field("macdsignal"),
                "upper": bands.struct.field("upperband"),
                "lower": bands.struct.field("lowerband"),
                "willr": ta.WILLR(high, low, close, 14) * -100,
                "correlation": wq.ts_corr(close, volume, 20),
                "rank": wq.ts_rank(close, 20),
                "beta": wq.ts_regression_slope(close, volume, 20),
            }
        frame = pl.read_parquet(bars)
        frame = frame.select("symbol", *(term.over("symbol").alias(name) for name, term in terms.items()))
        half = pl.int_range(pl.len()).over("symbol") >= pl.len().over("symbol") // 2
        return frame.filter(half).select(pl.col(list(terms)).mean()).row(0, named=True)

    return compute


def _pandas() -> Compute:
    import numpy as np
    import pandas as pd

    def compute(chosen: str, bars: str) -> dict[str, float]:
        frame = pd.read_parquet(bars)
        names = [name for name in frame.columns if name not in {"symbol", "timestamp"}]
        found = []
        for _, own in frame.groupby("symbol", sort=False)[names]:
            terms = pd.DataFrame(_qlib(own) if chosen == "qlib" else _indicators(own, np))
            found.append(terms.iloc[len(terms) // 2 :])
        return {str(name): float(mean) for name, mean in pd.concat(found).mean().items()}

    return compute


def _qlib(own: Any) -> dict[str, Any]:
    close, volume = own["close"], own["volume"]
    return {
        **{f"return{n}": close / close.shift(n) - 1 for n in (1, 5)},
        **{f"mean{n}": close.rolling(n).mean() / close for n in (5, 10, 20, 60)},
        **{f"std{n}": close.rolling(n).std() / close for n in (5, 20)},
        "max20": own["high"].rolling(20).max() / close,
        "min20": own["low"].rolling(20).min() / close,
        **{f"volume{n}": volume.rolling(n).mean() / volume for n in (5, 20)},
        "body": (close - own["open"]) / own["open"],
        "range": (own["high"] - own["low"]) / own["open"],
    }


def _indicators(own: Any, np: Any) -> dict[str, Any]:
    close, high, low, volume = own["close"], own["high"], own["low"], own["volume"]
    change, before = close.diff(), close.shift(1)
    spans = np.maximum(high - low, np.maximum((high - before).abs(), (low - before).abs()))

    def ema(numbers: Any, alpha: float) -> Any:
        return numbers.ewm(alpha=alpha, adjust=False).mean()

    macd = ema(close, 2 / 13) - ema(close, 2 / 27)
    mean, spread = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    highest, lowest = high.rolling(14).max(), low.rolling(14).min()
    return {
        "sma": mean,
        "ema": ema(close, 2 / 13),
        "rsi": 100 * ema(change.clip(lower=0), 1 / 14) / ema(change.abs(), 1 / 14),
        "atr": ema(spans, 1 / 14),
        "macd": macd,
        "signal": ema(macd, 0.2),
        "upper": mean + 2 * spread,
        "lower": mean - 2 * spread,
        "willr": (highest - close) / (highest - lowest) * -100,
        "correlation": close.rolling(20).corr(volume),
        "rank": close.rolling(20).rank(pct=True),
        "beta": close.rolling(20).cov(volume) / volume.rolling(20).var(),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
