"""TA-Lib's numbers of a file of bars, in an environment of its own: `python talib_values.py BARS OUT`."""

from __future__ import annotations

import sys

import polars as pl
import talib


def main(bars: str, out: str) -> None:
    symbols = pl.read_parquet(bars).partition_by("symbol", maintain_order=True)
    pl.concat(_values(own) for own in symbols).write_parquet(out)


def _values(frame: pl.DataFrame) -> pl.DataFrame:
    high, low, close, volume = (frame[name].to_numpy() for name in ("high", "low", "close", "volume"))
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    down, up = talib.AROON(high, low, 14)
    return pl.DataFrame({
        "sma": talib.SMA(close, 20),
        "ema": talib.EMA(close, 12),
        "wma": talib.WMA(close, 10),
        "rsi": talib.RSI(close, 14),
        "atr": talib.ATR(high, low, close, 14),
        "macd": line,
        "signal": signal,
        "histogram": histogram,
        "upper": upper,
        "middle": middle,
        "lower": lower,
        "roc": talib.ROC(close, 10),
        "willr": talib.WILLR(high, low, close, 14),
        "cci": talib.CCI(high, low, close, 14),
        "aroon_down": down,
        "aroon_up": up,
        "mfi": talib.MFI(high, low, close, volume, 14),
        "slope": talib.LINEARREG_SLOPE(close, 14),
        "correlation": talib.CORREL(close, volume, 20),
        "std": talib.STDDEV(close, 10, 1.0),
    })  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
