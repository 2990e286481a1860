"""Two answers to one question, session by session: two sources of a series, or a source's intraday bars against its daily ones.

Bars are read, and put together to days by the sessions of the calendar; nothing is stored of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.errors import NoDataInRange
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import Moment

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

PRICES = ("open", "high", "low", "close")
_SIZES = (*PRICES, "volume")
_KEYS = ["symbol", "session"]
COMPARED = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), **dict.fromkeys(_SIZES, pl.Float64()), "agrees": pl.Boolean()}
)
# Vendors take closing auctions, odd lots and late trades into account in ways of their own.
PRICE_TOLERANCE, VOLUME_TOLERANCE = 0.001, 0.05


def reconcile(
    lake: Lake,
    sources: tuple[str, str],
    resolution: Resolution | str,
    symbols: Sequence[str] | str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    price_tolerance: float = PRICE_TOLERANCE,
    volume_tolerance: float = VOLUME_TOLERANCE,
) -> pl.DataFrame:
    """Sessions that two sources have of the same symbols, and by how much they differ.

    Args:
        sources: the two.
        resolution: of the bars that both have; those of a session are put together.
        symbols: all that both have by default.
        start, end: half-open range.
        price_tolerance, volume_tolerance: differences that are none, as shares of the first source's number.

    Returns:
        `symbol, session` (Date), `open, high, low, close, volume` (Float64: how far the second source is off, as a share of the
        first one's number; null where only that is 0), `agrees` (Boolean), sorted. Sessions that only one of them has are left out.

    Raises:
        UnknownSeries: a source that the lake does not know.

    Example:
        >>> reconcile(lake, ("coinbase", "kraken"), "1d").filter(~pl.col("agrees"))
    """
    first, second = (_by_session(lake, source, resolution, symbols, start, end) for source in sources)
    return _compare(first, second, price_tolerance, volume_tolerance)


def roll_up(
    lake: Lake,
    source: str,
    resolution: Resolution | str,
    symbols: Sequence[str] | str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    daily_source: str | None = None,
    price_tolerance: float = PRICE_TOLERANCE,
    volume_tolerance: float = VOLUME_TOLERANCE,
) -> pl.DataFrame:
    """Whether the intraday bars of a source add up to daily ones.

    Args:
        resolution: of the intraday bars.
        daily_source: whose daily bars; those of the same source by default.
        symbols, start, end, price_tolerance, volume_tolerance: as for `reconcile`.

    Returns:
        As `reconcile`: how far the daily bar is off what the intraday bars add up to.

    Example:
        >>> roll_up(lake, "yahoo", "1m")["agrees"].all()
        True
    """
    intraday = _by_session(lake, source, resolution, symbols, start, end)
    daily = _by_session(lake, daily_source or source, Resolution.DAY, symbols, start, end)
    return _compare(intraday, daily, price_tolerance, volume_tolerance)


def _by_session(
    lake: Lake,
    source: str,
    resolution: Resolution | str,
    symbols: Sequence[str] | str | None,
    start: Moment | None,
    end: Moment | None,
) -> pl.DataFrame:
    """One row per symbol and session; none where there are no bars."""
    columns = ["symbol", "timestamp", *_SIZES]
    finer = Resolution.parse(str(resolution))
    made = Resolution.DAY if finer.intraday else None
    try:
        bars = lake.bars(symbols, finer, start, end, source=source, columns=columns, as_float=True, resample=made)
    except NoDataInRange:
        schema = {"symbol": pl.String(), "session": pl.Date(), **dict.fromkeys(_SIZES, pl.Float64())}
        return pl.DataFrame(schema=schema)
    return bars.with_columns(pl.col("timestamp").dt.date().alias("session")).drop("timestamp")


def _compare(
    first: pl.DataFrame, second: pl.DataFrame, price_tolerance: float, volume_tolerance: float
) -> pl.DataFrame:
    both = first.join(second, on=_KEYS, how="inner", suffix="_other")
    off = {name: (pl.col(f"{name}_other") - pl.col(name)) / pl.col(name).abs() for name in _SIZES}
    tolerances = {**dict.fromkeys(PRICES, price_tolerance), "volume": volume_tolerance}
    within = [
        pl.when(pl.col(name) == 0).then(pl.col(f"{name}_other") == 0).otherwise(off[name].abs() <= tolerances[name])
        for name in _SIZES
    ]
    same = [pl.col(name) == pl.col(f"{name}_other") for name in _SIZES]
    numbers = [
        pl.when(alike).then(0.0).when(pl.col(name) != 0).then(off[name]).alias(name)
        for name, alike in zip(_SIZES, same, strict=True)
    ]
    return both.select(*_KEYS, *numbers, pl.all_horizontal(within).alias("agrees")).sort(_KEYS)
