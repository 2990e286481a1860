"""Joins of tables in time that never take a value from the future: a bar counts from its close on, not from its open.

`join_asof` joins any two frames, `align` puts bars onto the bars that a calendar expects. Nothing here reads a lake.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market import grid
from gb_pipeline.market.calendar import Calendar, get_calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES

Direction = Literal["backward", "forward", "nearest"]
_AT = "__known_from"
_ROW = "__row"
# Where a bar did not come about, nothing was traded.
_COUNTS = ("volume", "trade_count")


def join_asof(
    left: pl.DataFrame,
    right: pl.DataFrame,
    *,
    by: str | Sequence[str] | None = "symbol",
    left_resolution: Resolution | str | None = None,
    right_resolution: Resolution | str | None = None,
    left_calendar: Calendar | str = "24/7",
    right_calendar: Calendar | str = "24/7",
    direction: Direction = "backward",
    tolerance: timedelta | None = None,
    suffix: str = "_right",
) -> pl.DataFrame:
    """To each row on the left the newest row on the right that exists by then.

    A row exists at its `timestamp`, or, where a resolution says that it is a bar, from the close of that bar on: a day that opens
    before a minute is not joined to it unless it is over.

    Args:
        left, right: with a column `timestamp` (Datetime with a zone), in any order.
        by: columns that must be equal; None joins on time alone.
        left_resolution, right_resolution: of bars; None for rows that are known at their timestamp, such as trades or filings.
        left_calendar, right_calendar: of bars of a day and longer.
        direction: `backward`, or on purpose `forward` or `nearest`, which take later rows, for what a model is to learn.
        tolerance: the longest time between the two moments; any by default.
        suffix: of columns on the right that the left has as well, `timestamp` always among them.

    Returns:
        Every row on the left once, in its order, and the columns of the right; null where no row exists.

    Raises:
        ConfigError: a column is missing or has another type on the right, a timestamp is null, a negative tolerance, or a
            direction that there is not.
        NaiveTimestamp: timestamps without a zone.

    Example:
        >>> minutes, days = lake.bars("AAPL", "1m"), lake.bars("AAPL", "1d")
        >>> join_asof(minutes, days, left_resolution="1m", right_resolution="1d", right_calendar="XNYS")
    """
    if direction not in {"backward", "forward", "nearest"}:
        raise ConfigError(f"{direction!r:.40} is not a direction", fix="use backward, forward or nearest")
    if tolerance is not None and tolerance < timedelta(0):
        raise ConfigError(f"a tolerance of {tolerance}", fix="pass a timedelta of 0 or more")
    keys = [] if by is None else [by] if isinstance(by, str) else list(by)
    for side, frame in (("left", left), ("right", right)):
        missing = [name for name in ("timestamp", *keys) if name not in frame.columns]
        if missing:
            raise ConfigError(f"the {side} frame has no column {missing[0]!r}", fix="name the columns to join by: by=")
        if frame["timestamp"].null_count():
            raise ConfigError(f"the {side} frame has rows without a timestamp", fix="leave them out: drop_nulls")
    for name in keys:
        if left.schema[name] != right.schema[name]:
            raise ConfigError(
                f"{name} is {left.schema[name]} on the left and {right.schema[name]} on the right",
                fix="cast one of them: pl.col(...).cast(...)",
            )
    at_left = left.with_row_index(_ROW).with_columns(_known_from(left, left_resolution, left_calendar)).sort(_AT)
    at_right = right.with_columns(_known_from(right, right_resolution, right_calendar), timestamp="timestamp").sort(
        # Of bars that close together, the one that opened last counts.
        _AT, "timestamp", maintain_order=True,
    )  # fmt: skip
    finest = pl.col(_AT).dt.cast_time_unit("ns" if "ns" in {_unit(at_left), _unit(at_right)} else "us")
    joined = at_left.with_columns(finest).join_asof(
        at_right.with_columns(finest),
        on=_AT,
        by=keys or None,
        strategy=direction,
        tolerance=tolerance,
        suffix=suffix,
        check_sortedness=False,
    )
    return joined.sort(_ROW).drop(_ROW, _AT, f"{_AT}{suffix}", strict=False)


def align(
    bars: pl.DataFrame,
    resolution: Resolution | str,
    calendar: Calendar | str,
    *,
    fill: bool = False,
    alignment: str = grid.CLOCK,
) -> pl.DataFrame:
    """The bars of every symbol on the same timestamps: those that the calendar expects between the first and the last bar.

    Args:
        bars: `symbol`, `timestamp` (Datetime us UTC, the bars' opens), and any other columns, such as `Lake.bars` returns them.
        resolution: of the bars.
        calendar: whose bars are expected. Bars that it does not expect are left out.
        fill: where a symbol has no bar, prices are the close of its last bar before, and volumes 0; never of a later one.
        alignment: of intraday bars, as in gb.yaml.

    Returns:
        A row per symbol and expected bar, sorted, with the columns of `bars`; null where there is no bar and nothing to fill with.

    Raises:
        ConfigError: bars to fill without the column `close`, a column is missing, a symbol or timestamp is null, or a symbol has
            two bars at a timestamp, such as those of two sources.

    Example:
        >>> align(lake.bars(["AAPL", "BTC-USD"], "1d", "2024-01-01"), "1d", "XNYS", fill=True)
    """
    missing = [name for name in ("symbol", "timestamp", *(["close"] if fill else [])) if name not in bars.columns]
    if missing:
        raise ConfigError(f"the bars have no column {missing[0]!r}", fix="ask for it: columns=[...]")
    if bars.is_empty():
        return bars
    if bars["symbol"].null_count() or bars["timestamp"].null_count():
        raise ConfigError("there are bars without a symbol or a timestamp", fix="leave them out: drop_nulls")
    twice = bars.filter(bars.select("symbol", "timestamp").is_duplicated())
    if twice.height:
        raise ConfigError(
            f"{twice['symbol'][0]} has two bars at {twice['timestamp'][0].isoformat()}",
            fix="align one source at a time",
        )
    kind = Resolution.parse(resolution)
    trading = get_calendar(calendar) if isinstance(calendar, str) else calendar
    stamps = grid.to_utc(bars["timestamp"])
    first, last = stamps.min(), stamps.max()
    margin = timedelta(days=3)
    expected = trading.expected(first.date() - margin, last.date() + margin, kind, alignment)["timestamp"]  # type: ignore[union-attr]
    expected = expected.filter((expected >= first) & (expected <= last))
    frame = bars.with_columns(stamps.alias("timestamp"))
    rows = frame.select(pl.col("symbol").unique(maintain_order=True)).sort("symbol").join(
        expected.alias("timestamp").to_frame(), how="cross"
    )  # fmt: skip
    aligned = rows.join(frame, on=["symbol", "timestamp"], how="left", maintain_order="left")
    return (_filled(aligned, frame) if fill else aligned).select(bars.columns)


def _known_from(frame: pl.DataFrame, resolution: Resolution | str | None, calendar: Calendar | str) -> pl.Series:
    stamps = grid.to_utc(frame["timestamp"])
    if resolution is None:
        # Cut off at a microsecond, a row would be known before it is.
        return frame["timestamp"].dt.convert_time_zone("UTC").alias(_AT)
    trading = get_calendar(calendar) if isinstance(calendar, str) else calendar
    ends = trading.bar_ends(stamps, Resolution.parse(resolution))
    if ends.null_count():
        day = stamps.filter(ends.is_null())[0].date()
        raise ConfigError(
            f"when the bar of {day} closed is not known: {trading.name} has no session then",
            fix="name the calendar of these bars",
        )
    return ends.alias(_AT)


def _unit(frame: pl.DataFrame) -> str:
    return str(getattr(frame.schema[_AT], "time_unit", ""))


def _filled(aligned: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Rows without a bar, with the last close before them."""
    closes = bars.select("symbol", "timestamp", pl.col("close").alias("__close")).drop_nulls().sort("timestamp")
    known = aligned.sort("timestamp").join_asof(closes, on="timestamp", by="symbol", check_sortedness=False)
    known = known.sort("symbol", "timestamp")
    absent, filled = pl.col("close").is_null(), pl.col("__close").is_not_null()
    prices = [name for name in (*PRICES, "vwap") if name in aligned.columns]
    counts = [name for name in _COUNTS if name in aligned.columns]
    return known.with_columns(
        *(pl.when(absent).then("__close").otherwise(name).alias(name) for name in prices),
        *(pl.when(absent & filled).then(0).otherwise(name).cast(aligned.schema[name]).alias(name) for name in counts),
    )
