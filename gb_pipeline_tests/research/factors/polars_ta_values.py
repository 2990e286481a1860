"""polars-ta's numbers of a file of bars, in an environment of its own: `python polars_ta_values.py BARS OUT`."""

from __future__ import annotations

import sys

import polars as pl
import polars_ta.ta as ta
import polars_ta.wq as wq
from polars_ta.wq.cross_sectional import cs_rank
from polars_ta.wq.preprocess import cs_demean, cs_zscore


def main(bars: str, out: str) -> None:
    frame = pl.read_parquet(bars)
    market = frame.filter(pl.col("symbol") == "IBM").select("timestamp", market=wq.ts_returns(pl.col("close"), 1))
    frame = frame.join(market, on="timestamp", how="left", maintain_order="left")
    high, low, close, volume = (pl.col(name) for name in ("high", "low", "close", "volume"))
    returns = wq.ts_returns(close, 1)
    bands, macd = ta.BBANDS(close, 20, 2.0, 2.0), ta.MACD(close, 12, 26, 9)
    series = {
        "sma": ta.SMA(close, 20),
        "ema": ta.EMA(close, 12),
        "wma": ta.WMA(close, 10),
        "rsi": ta.RSI(close, 14) * 100,
        "true_range": ta.TRANGE(high, low, close),
        "atr": ta.ATR(high, low, close, 14),
        "macd": macd.struct.field("macd"),
        "signal": macd.struct.field("macdsignal"),
        "histogram": macd.struct.field("macdhist"),
        "upper": bands.struct.field("upperband"),
        "middle": bands.struct.field("middleband"),
        "lower": bands.struct.field("lowerband"),
        "roc": ta.ROC(close, 10),
        "returns": returns,
        "willr": ta.WILLR(high, low, close, 14) * -100,
        "vwap": wq.ts_weighted_mean(close, volume, 20),
        "volatility": wq.ts_std_dev(returns, 60) * 252**0.5,
        "std": wq.ts_std_dev(close, 10, ddof=1),
        "zscore": wq.ts_zscore(close, 20),
        "rank": wq.ts_rank(close, 20),
        "skew": wq.ts_skewness(close, 30),
        "kurtosis": wq.ts_kurtosis(close, 30),
        "median": wq.ts_median(close, 15),
        "correlation": wq.ts_corr(close, volume, 20),
        "covariance": wq.ts_covariance(close, volume, 20),
        "beta": wq.ts_regression_slope(returns, pl.col("market"), 60),
        "alpha": wq.ts_regression_intercept(returns, pl.col("market"), 60),
        "highest": wq.ts_arg_max(high, 20),
        "lowest": wq.ts_arg_min(low, 20),
    }
    # Returns are those of a symbol before they are compared within a session.
    sessions = {
        "place": cs_rank(pl.col("returns"), pct=False),
        "cs_zscore": cs_zscore(pl.col("returns")),
        "cs_demean": cs_demean(pl.col("returns")),
    }
    frame = frame.with_columns(term.over("symbol").alias(name) for name, term in series.items())
    frame = frame.with_columns(term.over("timestamp").alias(name) for name, term in sessions.items())
    frame.select(*series, *sessions).write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
