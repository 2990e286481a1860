"""zipline's numbers of a file of bars, by its own engine, in an environment of its own: `python zipline_values.py BARS OUT`."""

from __future__ import annotations

import sys

import pandas as pd
import polars as pl
from sqlalchemy import create_engine
from zipline.assets import AssetDBWriter, AssetFinder
from zipline.pipeline import Pipeline
from zipline.pipeline.data import USEquityPricing
from zipline.pipeline.domain import US_EQUITIES
from zipline.pipeline.engine import SimplePipelineEngine
from zipline.pipeline.factors import (
    EWMA,
    RSI,
    VWAP,
    AnnualizedVolatility,
    Aroon,
    AverageDollarVolume,
    BollingerBands,
    FastStochasticOscillator,
    LinearWeightedMovingAverage,
    MACDSignal,
    MaxDrawdown,
    RateOfChangePercentage,
    Returns,
    SimpleBeta,
    SimpleMovingAverage,
    TrueRange,
)
from zipline.pipeline.loaders.frame import DataFrameLoader

FIELDS = ("open", "high", "low", "close", "volume")


def main(bars: str, out: str) -> None:
    frame = pl.read_parquet(bars)
    days = frame["timestamp"].dt.date().unique().sort().to_list()
    sessions = US_EQUITIES.calendar.sessions_in_range(
        pd.Timestamp(days[0]), pd.Timestamp(days[-1]) + pd.Timedelta("7D")
    )
    assert [day.date() for day in sessions[: len(days)]] == days
    symbols = frame["symbol"].unique().sort().to_list()
    finder = _finder(symbols, sessions)
    ids = [finder.lookup_symbol(symbol, None).sid for symbol in symbols]
    loaders = {}
    for name in FIELDS:
        values = frame.pivot("symbol", index="timestamp", values=name).sort("timestamp").select(symbols).to_pandas()
        # A value stands on the session that may see it: that behind its bar.
        values.index, values.columns = sessions[1 : len(days) + 1], ids
        loaders[getattr(USEquityPricing, name)] = DataFrameLoader(
            getattr(USEquityPricing, name), values.reindex(sessions)
        )
    engine = SimplePipelineEngine(lambda column: loaders[column], finder)
    pipeline = Pipeline(_terms(finder.lookup_symbol("IBM", None)), domain=US_EQUITIES)
    # It wants the sessions of the longest window before the first one, and asserts that they exist.
    found = engine.run_pipeline(pipeline, sessions[300], sessions[len(days)])
    rows = found.reset_index(names=["session", "asset"])
    rows["symbol"] = [asset.symbol for asset in rows.pop("asset")]
    seen = pl.from_pandas(rows).with_columns(pl.col("session").dt.date())
    opens = pl.Series("session", [day.date() for day in sessions[1 : len(days) + 1]])
    places = pl.DataFrame({"timestamp": frame["timestamp"].unique().sort()}).with_columns(opens)
    keys = frame.select("symbol", "timestamp").join(places, on="timestamp", how="left", maintain_order="left")
    values = keys.join(seen, on=["symbol", "session"], how="left", maintain_order="left")
    values.drop("symbol", "timestamp", "session").write_parquet(out)


def _finder(symbols, sessions):
    engine = create_engine("sqlite://")
    equities = pd.DataFrame(
        {
            "symbol": symbols, "asset_name": symbols, "start_date": sessions[0], "end_date": sessions[-1],
            "exchange": "NYSE",
        },
        index=range(len(symbols)),
    )  # fmt: skip
    exchanges = pd.DataFrame([{"exchange": "NYSE", "country_code": "US"}])
    AssetDBWriter(engine).write(equities=equities, exchanges=exchanges)
    return AssetFinder(engine)


def _terms(market):
    close = USEquityPricing.close
    returns = Returns(window_length=2)
    bands, aroon = BollingerBands(window_length=20, k=2), Aroon(window_length=26)
    line = returns.linear_regression(target=returns[market], regression_length=60)
    return {
        "returns": Returns(window_length=6),
        "sma": SimpleMovingAverage(inputs=[close], window_length=20),
        "wma": LinearWeightedMovingAverage(inputs=[close], window_length=10),
        "ewma": EWMA.from_span(inputs=[close], window_length=250, span=12),
        "vwap": VWAP(window_length=20),
        "dollars": AverageDollarVolume(window_length=20),
        "volatility": AnnualizedVolatility(window_length=60),
        "rsi": RSI(window_length=15),
        "lower": bands.lower,
        "middle": bands.middle,
        "upper": bands.upper,
        "aroon_down": aroon.down,
        "aroon_up": aroon.up,
        "stochastic": FastStochasticOscillator(window_length=14),
        "true_range": TrueRange(),
        "roc": RateOfChangePercentage(inputs=[close], window_length=11),
        "macd_signal": MACDSignal(),
        "drawdown": MaxDrawdown(inputs=[close], window_length=60),
        "beta": SimpleBeta(target=market, regression_length=60, allowed_missing_percentage=0.0),
        "slope": line.beta,
        "intercept": line.alpha,
        "pearson": returns.pearsonr(target=returns[market], correlation_length=30),
        "spearman": returns.spearmanr(target=returns[market], correlation_length=30),
        "rank": returns.rank(),
        "falling": returns.rank(ascending=False),
        "zscore": returns.zscore(),
        "demean": returns.demean(),
        "winsorized": returns.winsorize(0.25, 0.75),
        "half": returns.quantiles(2),
        "top": returns.top(2),
        "bottom": returns.bottom(1),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
