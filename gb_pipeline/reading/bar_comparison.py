"""This module ties a vendor's bars out against the trades that collectors heard, bar by bar, where no trade is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import polars as pl

from gb_pipeline.errors import ConfigError, NoDataInRange
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.trade_bars import compare_bars
from gb_pipeline.reading.arguments import Moment


class _Reads(Protocol):
    """What of a lake is read here."""

    bars: Callable[..., pl.DataFrame]
    bars_from_trades: Callable[..., pl.DataFrame]
    stream_data: Callable[..., pl.DataFrame]
    valid_mask: Callable[..., pl.Series]


@dataclass(frozen=True, slots=True)
class BarComparison:
    """How a vendor's bars and those made of trades agree.

    Attributes:
        source, bars_source, symbol, resolution: of what.
        compared: bars that at least one of both has, in whose time every trade was heard and is committed.
        equal: of them those that are the same in every number that both have.
        uncovered: bars that are not compared, as trades are or may be missing.
        differences: `timestamp` (Datetime us UTC), `column` (`bar` where one has no bar), `bars, trades` (String).
    """

    source: str
    bars_source: str
    symbol: str
    resolution: str
    compared: int
    equal: int
    uncovered: int
    differences: pl.DataFrame


def compare_with_trades(
    lake: _Reads,
    symbol: str,
    resolution: Resolution | str,
    start: Moment,
    end: Moment,
    source: str | None,
    bars_source: str | None,
) -> BarComparison:
    """See `Lake.compare_bars_with_trades`."""
    parsed = Resolution.parse(resolution)
    length = parsed.duration
    if length is None or length > timedelta(days=1):
        raise ConfigError(f"bars of {parsed.value} are not tied out", fix="use a resolution up to 1d")
    try:
        made = lake.bars_from_trades(symbol, start, end, parsed, source=source)
    except NoDataInRange:
        made = None
    if source is None:
        known = lake.stream_data().filter(pl.col("symbol") == symbol)["source"]
        source = known[0] if made is None else made["source"][0]
    bars = lake.bars(symbol, parsed, start, end, source=bars_source or source)
    made = bars.clear().select("timestamp") if made is None else made
    stamps = pl.concat([bars["timestamp"], made["timestamp"]]).unique().sort()
    whole = lake.valid_mask(symbol, stamps.dt.offset_by(parsed.value), length, source=source)
    valid = stamps.filter(whole)
    differences = compare_bars(
        bars.filter(pl.col("timestamp").is_in(valid.implode())),
        made.filter(pl.col("timestamp").is_in(valid.implode())) if made.width > 1 else bars.clear(),
    )
    different = differences["timestamp"].n_unique()
    return BarComparison(
        str(source),
        str(bars_source or source),
        symbol,
        parsed.value,
        len(valid),
        len(valid) - different,
        len(stamps) - len(valid),
        differences,
    )
