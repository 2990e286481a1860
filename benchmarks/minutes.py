"""Minutes of the simulated market as frames: text as a vendor sends it, exact decimals, and plain floats."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from gb_pipeline.simulation.instruments import make_instrument
from gb_pipeline.simulation.market import Path

SEED = 7
PRICES = ("open", "high", "low", "close")
DECIMAL = pl.Decimal(18, 8)


def texts(code: str, start: date, end: date) -> pl.DataFrame:
    """`symbol, timestamp, open, high, low, close, volume, trade_count` as received: numbers are text."""
    listed = make_instrument(code)
    first = int(datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp()) // 60
    bars = Path(SEED, listed).minutes(first, (end - start).days * 1440)
    return pl.DataFrame(
        {
            "symbol": np.repeat(code, len(bars.minute)),
            "timestamp": pl.Series(bars.minute * 60_000_000, dtype=pl.Datetime("us", "UTC")),
            **{name: _text(getattr(bars, name), listed.price_digits) for name in PRICES},
            "volume": _text(bars.volume, listed.volume_digits),
            "trade_count": pl.Series(bars.trades).cast(pl.String),
        }
    )


def decimals(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with exact numbers."""
    return frame.with_columns(pl.col(*PRICES, "volume").cast(DECIMAL), pl.col("trade_count").cast(pl.Int64))


def floats(frame: pl.DataFrame) -> pl.DataFrame:
    """What a user would keep: timestamp and five floats."""
    return frame.select("timestamp", pl.col(*PRICES, "volume").cast(pl.Float64))


def _text(units: np.ndarray, digits: int) -> pl.Series:
    whole = pl.Series(units).alias("units")
    if not digits:
        return whole.cast(pl.String)
    scale = 10**digits
    parts = pl.col("units") // scale, (pl.col("units") % scale).cast(pl.String).str.zfill(digits)
    return whole.to_frame().select(pl.format("{}.{}", *parts)).to_series()
