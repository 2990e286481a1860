"""This module makes bars of trades: of time, of so many trades, of volume, or of money. Pure, in columns, exact.

Every trade is in exactly one bar, whole: none is split at the edge of a bar of volume. `resample` makes bars of bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.moments import INSTANT
from gb_pipeline.market.resolution import Resolution

SERIES = ("source", "symbol")


class BarKind(StrEnum):
    """What ends a bar."""

    TIME = "time"
    TICKS = "ticks"
    VOLUME = "volume"
    DOLLARS = "dollars"


@dataclass(frozen=True, slots=True)
class BarRule:
    """When a bar ends: `size` is a Polars duration for bars of time, else a number above zero."""

    kind: BarKind
    size: str | Decimal


def parse_rule(
    resolution: Resolution | str | None,
    ticks: int | None,
    volume: Decimal | str | int | None,
    dollars: Decimal | str | int | None,
) -> BarRule:
    """The one rule that was named.

    Raises:
        ConfigError: none, several, or a size that is not above zero.
        InvalidResolution: there is no such resolution.

    Example:
        >>> parse_rule("1m", None, None, None).size
        '1m'
    """
    named = {
        kind: value
        for kind, value in zip(BarKind, (resolution, ticks, volume, dollars), strict=True)
        if value is not None
    }
    if len(named) != 1:
        raise ConfigError(
            f"{len(named)} kinds of bars were named", fix="pass one of resolution=, ticks=, volume= and dollars="
        )
    ((kind, value),) = named.items()
    if kind is BarKind.TIME:
        found = Resolution.parse(str(value))
        if found is Resolution.TICK:
            raise ConfigError("bars of one tick are trades", fix="pass ticks=, or read `trades`")
        return BarRule(kind, found.value)
    try:
        size = Decimal(str(value))
    except InvalidOperation:
        size = Decimal(0)
    if not size.is_finite() or size <= 0 or (kind is BarKind.TICKS and size != int(size)):
        raise ConfigError(f"{kind}={value!r:.40} is no size of a bar", fix="pass a number above zero")
    return BarRule(kind, size)


def make_bars(trades: pl.DataFrame, rule: BarRule) -> pl.DataFrame:
    """Bars of one or several series.

    Args:
        trades: `source, symbol, timestamp` (Datetime ns UTC), `price, size` (Decimal); of each series in the order of time.
        rule: when a bar ends.

    Returns:
        `source, symbol, timestamp` (Datetime us UTC: of bars of time their open, else the first trade), `open, high, low, close,
        volume` (Decimal as `price` and `size`), `trade_count` (Int64), `dollars` (Float64), `last_timestamp` (Datetime ns UTC).

    Raises:
        ConfigError: the sums of these numbers do not fit.

    Example:
        >>> trades = pl.DataFrame({"source": "k", "symbol": "A", "timestamp": [1, 2, 3], "price": ["1", "3", "2"], "size": "1"})
        >>> kinds = {"timestamp": pl.Datetime("ns", "UTC"), "price": pl.Decimal(18, 8), "size": pl.Decimal(18, 8)}
        >>> make_bars(trades.cast(kinds), parse_rule(None, 2, None, None))["trade_count"].to_list()
        [2, 1]
    """
    price, size = pl.col("price"), pl.col("size")
    exact = trades.schema["size"]
    bars = (
        trades.with_columns(_place(trades, rule).alias("bar"))
        .group_by(*SERIES, "bar", maintain_order=True)
        .agg(
            pl.col("timestamp").first().alias("first_timestamp"),
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            size.cast(pl.Decimal(38, _scale(exact))).sum().alias("volume"),
            pl.len().cast(pl.Int64).alias("trade_count"),
            (price.cast(pl.Float64) * size.cast(pl.Float64)).sum().alias("dollars"),
            pl.col("timestamp").last().alias("last_timestamp"),
        )
    )
    opened = pl.col("bar") if rule.kind is BarKind.TIME else pl.col("first_timestamp")
    return bars.select(
        *SERIES,
        opened.cast(INSTANT).alias("timestamp"),
        "open",
        "high",
        "low",
        "close",
        pl.col("volume").cast(exact),
        "trade_count",
        "dollars",
        "last_timestamp",
    )


def _place(trades: pl.DataFrame, rule: BarRule) -> pl.Expr:
    """Which bar each trade is in."""
    if rule.kind is BarKind.TIME:
        return pl.col("timestamp").dt.truncate(str(rule.size))
    if rule.kind is BarKind.TICKS:
        return pl.int_range(pl.len()).over(SERIES) // int(rule.size)
    price, size = trades.schema["price"], trades.schema["size"]
    units = pl.col("size").to_physical().cast(pl.Int128)
    scale = _scale(size)
    largest = _largest(trades["size"])
    if rule.kind is BarKind.DOLLARS:
        units = units * pl.col("price").to_physical().cast(pl.Int128)
        scale += _scale(price)
        largest *= _largest(trades["price"])
    threshold = int(Decimal(rule.size).scaleb(scale))
    if largest * max(trades.height, 1) >= 2**127 or threshold >= 2**127 or threshold < 1:
        raise ConfigError(
            f"{rule.kind} of {rule.size} cannot be counted exactly for numbers with {scale} decimals",
            fix="ask for a shorter window, or for bars of ticks or time",
        )
    # What was traded before a trade says in which bar it begins.
    before = units.cum_sum().over(SERIES) - units
    return before // pl.lit(threshold, pl.Int128)


def _scale(kind: pl.DataType) -> int:
    assert isinstance(kind, pl.Decimal), "prices and sizes are exact"
    return kind.scale


def _largest(numbers: pl.Series) -> int:
    physical = numbers.to_physical().cast(pl.Int128)
    return max(abs(int(physical.max() or 0)), abs(int(physical.min() or 0)), 1)  # type: ignore[arg-type]


COMPARED = ("open", "high", "low", "close", "volume", "trade_count")


def compare_bars(bars: pl.DataFrame, made: pl.DataFrame, columns: tuple[str, ...] = COMPARED) -> pl.DataFrame:
    """Where a vendor's bars and those made of trades differ.

    Args:
        bars: `timestamp` and the columns that are compared, of one series; a null is not compared.
        made: the same, as `make_bars` returns them.
        columns: numbers that are compared.

    Returns:
        One row per difference: `timestamp` (Datetime us UTC), `column` (`bar` where one of both has no bar at all), `bars, trades`
        (String, null where there is none), sorted.
    """
    wide = pl.Decimal(38, 18)
    names = [name for name in columns if name in bars.columns and name in made.columns]
    sides = [
        frame.select("timestamp", pl.lit(True).alias("there"), *(pl.col(name).cast(wide) for name in names))
        for frame in (bars, made)
    ]
    joined = sides[0].join(sides[1], on="timestamp", how="full", coalesce=True, suffix="_made")
    parts = [
        joined.filter(pl.col("there").is_null() | pl.col("there_made").is_null()).select(
            "timestamp",
            pl.lit("bar").alias("column"),
            pl.col("close").cast(pl.String).alias("bars"),
            pl.col("close_made").cast(pl.String).alias("trades"),
        )
    ]
    both = joined.filter(pl.col("there") & pl.col("there_made"))
    for name in names:
        parts.append(
            both.filter(pl.col(name) != pl.col(f"{name}_made")).select(
                "timestamp",
                pl.lit(name).alias("column"),
                pl.col(name).cast(pl.String).alias("bars"),
                pl.col(f"{name}_made").cast(pl.String).alias("trades"),
            )
        )
    return pl.concat(parts).sort("timestamp", "column")
