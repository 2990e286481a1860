"""One task of `factors`, in a process of its own: `python -m benchmarks.factor_tasks TASK LAKE STOCKS START END`."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from gb_pipeline import EquityPricing, Lake, Pipeline, alpha158, iter_pipeline, parse_expression, run_pipeline
from gb_pipeline.research.factors import indicators
from gb_pipeline.research.factors.rolling import linear_regression, rolling_correlation, rolling_rank

# Of Qlib's documentation: six columns, and 14 factors of a simple kind.
FACTORS = {
    "return1": "$close / Ref($close, 1) - 1",
    "return5": "$close / Ref($close, 5) - 1",
    "mean5": "Mean($close, 5) / $close",
    "mean10": "Mean($close, 10) / $close",
    "mean20": "Mean($close, 20) / $close",
    "mean60": "Mean($close, 60) / $close",
    "std5": "Std($close, 5) / $close",
    "std20": "Std($close, 20) / $close",
    "max20": "Max($high, 20) / $close",
    "min20": "Min($low, 20) / $close",
    "volume5": "Mean($volume, 5) / $volume",
    "volume20": "Mean($volume, 20) / $volume",
    "body": "($close - $open) / $open",
    "range": "($high - $low) / $open",
}


def main(arguments: list[str]) -> None:
    """Run one task, and print what it took as a line of JSON, with the mean of each factor where the task has them all."""
    task, root, stocks, start, end = arguments
    began, imports = time.perf_counter(), processor_time()
    found = _TASKS[task](Path(root), [f"S{number:04d}" for number in range(int(stocks))], start, end)
    taken = {
        "seconds": time.perf_counter() - began,
        "imports": imports,
        "cpu": processor_time(),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": found if isinstance(found, int) else found.height,
        "means": {} if isinstance(found, int) else _means(found),
    }
    print(json.dumps(taken))


def processor_time() -> float:
    """Seconds that this process had of processors."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _means(rows: pl.DataFrame) -> dict[str, float]:
    """Of the second half of the rows of each symbol, where recursions have forgotten their beginning."""
    half = pl.int_range(pl.len()).over("symbol") >= pl.len().over("symbol") // 2
    return rows.filter(half).select(pl.exclude("session", "symbol").mean()).row(0, named=True)


def _qlib(root: Path, names: list[str], start: str, end: str) -> pl.DataFrame:
    pipeline = Pipeline({name: parse_expression(text) for name, text in FACTORS.items()})
    return run_pipeline(pipeline, start, end, lake=Lake.open(root), universe=names, calendar="XNYS", adjustment=None)


def _indicators(root: Path, names: list[str], start: str, end: str) -> pl.DataFrame:
    close, volume = EquityPricing.close, EquityPricing.volume
    macd, bands = indicators.MACD(), indicators.BollingerBands()
    terms = {
        "sma": indicators.SMA(close, 20),
        "ema": indicators.EMA(close, 12),
        "rsi": indicators.RSI(14),
        "atr": indicators.ATR(14),
        "macd": macd.line,
        "signal": macd.signal,
        "upper": bands.upper,
        "lower": bands.lower,
        "willr": indicators.WilliamsR(14),
        "correlation": rolling_correlation(close, volume, 20),
        "rank": rolling_rank(close, 20),
        "beta": linear_regression(close, volume, 20).slope,
    }
    return run_pipeline(
        Pipeline(terms), start, end, lake=Lake.open(root), universe=names, calendar="XNYS", adjustment=None
    )


def _alpha158(root: Path, names: list[str], start: str, end: str) -> int:
    parts = iter_pipeline(
        alpha158(), start, end, lake=Lake.open(root), universe=names, calendar="XNYS", adjustment=None
    )
    return sum(part.height for part in parts)


def _read(root: Path, names: list[str], start: str, end: str) -> pl.DataFrame:
    columns = ["symbol", "timestamp", "open", "high", "low", "close", "volume"]
    return Lake.open(root).bars(names, "1d", start, end, columns=columns, as_float=True)


def _polars(root: Path, names: list[str], start: str, end: str) -> int:
    close, volume, high, low = (pl.col(name) for name in ("close", "volume", "high", "low"))
    begun = pl.col("open")
    found = _read(root, names, start, end).with_columns(
        *((close / close.shift(n) - 1).over("symbol").alias(f"return{n}") for n in (1, 5)),
        *((close.rolling_mean(n).over("symbol") / close).alias(f"mean{n}") for n in (5, 10, 20, 60)),
        *((close.rolling_std(n).over("symbol") / close).alias(f"std{n}") for n in (5, 20)),
        (high.rolling_max(20).over("symbol") / close).alias("max20"),
        (low.rolling_min(20).over("symbol") / close).alias("min20"),
        *((volume.rolling_mean(n).over("symbol") / volume).alias(f"volume{n}") for n in (5, 20)),
        ((close - begun) / begun).alias("body"),
        ((high - low) / begun).alias("range"),
    )
    return found.height


def _pandas(root: Path, names: list[str], start: str, end: str) -> int:
    bars = _read(root, names, start, end).to_pandas()
    grouped = bars.groupby("symbol", sort=False)
    close, volume = bars["close"], bars["volume"]

    def rolling(column: str, window: int):  # type: ignore[no-untyped-def]
        return grouped[column].rolling(window)

    for n in (1, 5):
        bars[f"return{n}"] = close / grouped["close"].shift(n) - 1
    for n in (5, 10, 20, 60):
        bars[f"mean{n}"] = rolling("close", n).mean().to_numpy() / close
    for n in (5, 20):
        bars[f"std{n}"] = rolling("close", n).std().to_numpy() / close
        bars[f"volume{n}"] = rolling("volume", n).mean().to_numpy() / volume
    bars["max20"] = rolling("high", 20).max().to_numpy() / close
    bars["min20"] = rolling("low", 20).min().to_numpy() / close
    bars["body"] = (close - bars["open"]) / bars["open"]
    bars["range"] = (bars["high"] - bars["low"]) / bars["open"]
    return len(bars)


_TASKS: dict[str, Callable[[Path, list[str], str, str], int | pl.DataFrame]] = {
    "qlib": _qlib,
    "indicators": _indicators,
    "alpha158": _alpha158,
    "polars": _polars,
    "pandas": _pandas,
}

if __name__ == "__main__":
    main(sys.argv[1:])
