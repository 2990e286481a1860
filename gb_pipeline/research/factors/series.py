"""The frame that a block is computed over: its bars laid out series after series, each in the prices of its own days.

A symbol has one series, or one for each stretch of sessions that see its past alike: from a split on, all bars before it are told
in new shares, from a restatement on, in new numbers, and whoever comes to stand under a symbol begins without bars. Each series
begins as early as its windows reach, with a row without numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import GapInWindow
from gb_pipeline.market.moments import day_number
from gb_pipeline.portal.visible import NEVER, Versions
from gb_pipeline.portal.windows import OnGap
from gb_pipeline.research.factors.bars import BarArrays, bar_columns
from gb_pipeline.research.factors.nodes import Floats
from gb_pipeline.research.factors.request import Market
from gb_pipeline.research.factors.timeline import Block, Timeline, to_sessions

Integers = npt.NDArray[np.int64]
# How many sessions a forward fill reaches over, and windows of bars that exist beyond twice their length.
FILLED_OVER = 20
PRICES = ("open", "high", "low", "close", "vwap")


@dataclass(frozen=True)
class Layout:
    """Where the rows of each series lie, as columns of a block; arrays with an entry per series.

    Attributes:
        symbol: its number.
        first, end: half-open range of its columns.
        live: from which column on its rows are of the result.
    """

    symbol: Integers
    first: Integers
    end: Integers
    live: Integers

    @property
    def lengths(self) -> Integers:
        """Rows of each series."""
        return self.end - self.first


def build_frame(
    market: Market, timeline: Timeline, bars: BarArrays, fields: Sequence[str], warm: int, wanted: int
) -> tuple[pl.DataFrame, bool]:
    """The frame of a block, as `evaluate` wants it, with a column per field; and whether a symbol has several series.

    Args:
        warm: how many sessions before its first row of the result a series begins.
        wanted: the position of the first row that is looked at; what lies further back than its windows may have gaps.

    Raises:
        GapInWindow: a bar is missing, and `on_gap` is `error`.
    """
    block = bars.block
    layout = _lay_out(market, timeline, block, bars, warm)
    lengths = layout.lengths
    series = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)
    columns = np.arange(len(series)) - np.repeat(starts - layout.first, lengths)
    symbol = np.repeat(layout.symbol, lengths)
    live = columns >= np.repeat(layout.live, lengths)
    values = _values(market, timeline, block, bars, fields, layout, symbol, columns)
    _adjust(market, timeline, block, layout, starts, values)
    for column in values.values():
        column[starts] = np.nan
    members = market.universe.members(market.names, timeline.days[block.warm : block.end])
    frame = pl.DataFrame(
        {
            "series": pl.Series(series.astype(np.uint32)).set_sorted(),
            "symbol": symbol.astype(np.int32),
            "session": timeline.days[columns + block.warm],
            "column": columns.astype(np.int32),
            "live": live,
            "member": members[symbol, columns],
            **{name: pl.Series(column, nan_to_null=True) for name, column in values.items()},
        }
    )
    # A series begins with a row without numbers, which is one of `warm`.
    frame = _treat_gaps(market, timeline, block, frame, wanted - warm + 1)
    if market.universe.by_bars:
        frame = frame.with_columns(member=pl.col("close").is_not_null())
    frame = frame.with_columns(place=_places(frame["series"].to_numpy()))
    several = len(lengths) > len(market.names)
    return (frame.with_columns(_home(frame)) if several else frame), several


def _lay_out(market: Market, timeline: Timeline, block: Block, bars: BarArrays, warm: int) -> Layout:
    begin, end = block.live - block.warm, block.end - block.warm
    rows: list[tuple[int, int, int, int]] = []
    factors = market.factors.factors if market.factors is not None else {}
    for number, name in enumerate(market.names):
        breaks = {begin}
        if market.known_actions is not None:
            breaks |= {
                place - block.warm for place in market.known_actions.changes(name, timeline.days, timeline.opens)
            }
        elif name in factors:
            days = [day_number(day) for day in factors[name].ex_dates]
            breaks |= set((np.searchsorted(timeline.days, days) - block.warm).tolist())
        if number in bars.versions:
            breaks |= _restated(timeline, block, bars.versions[number])
        # In the session in which somebody else comes to stand under a symbol all bars that there are belong to who had it before.
        lent = [day_number(day) for day in market.holders.changes.get(name, ())]
        lent = (np.searchsorted(timeline.days, lent) - block.warm).tolist()
        breaks |= set(lent)
        edges = [*sorted(each for each in breaks if begin <= each < end), end]
        earliest = [max((each for each in lent if each <= first), default=0) for first in edges]
        rows += [
            (number, max(0, since, first - warm), last, first)
            for (first, last), since in zip(pairwise(edges), earliest, strict=False)
        ]
    symbol, first, last, live = np.array(rows, np.int64).reshape(-1, 4).T
    return Layout(symbol, first, last, live)


def _restated(timeline: Timeline, block: Block, versions: Versions) -> set[int]:
    """The columns from which on an earlier bar reads otherwise than before."""
    own = _version_columns(timeline, block, versions)
    found: set[int] = set()
    for moments in (versions.holds_from, versions.holds_until):
        seen = np.searchsorted(timeline.opens, moments) - block.warm
        found |= set(seen[(own >= 0) & (seen > own) & (moments != NEVER)].tolist())
    return found


def _version_columns(timeline: Timeline, block: Block, versions: Versions) -> Integers:
    days = (versions.opens // 86_400_000_000).astype(np.int32)
    return bar_columns(timeline, block, days)


def _values(
    market: Market,
    timeline: Timeline,
    block: Block,
    bars: BarArrays,
    fields: Sequence[str],
    layout: Layout,
    symbol: Integers,
    columns: Integers,
) -> dict[str, Floats]:
    if not market.strict:
        return {name: bars.values[name][symbol, columns] for name in fields}
    values = {name: np.full(len(symbol), np.nan) for name in fields}
    begin = 0
    for number, first, end, live in zip(layout.symbol, layout.first, layout.end, layout.live, strict=True):
        own = bars.versions.get(int(number))
        if own is not None:
            at = _version_columns(timeline, block, own)
            inside = (at >= first) & (at < end)
            moments = timeline.opens[np.maximum(at, live) + block.warm]
            held = inside & (own.holds_from <= moments) & (own.holds_until > moments)
            for name in fields:
                values[name][begin + at[held] - first] = own.values[name][held]
        begin += int(end - first)
    return values


def _adjust(
    market: Market,
    timeline: Timeline,
    block: Block,
    layout: Layout,
    starts: Integers,
    values: dict[str, Floats],
) -> None:
    """Tell the bars of each series in the shares of its rows' days."""
    if market.factors is None:
        return
    moments = timeline.opens[layout.live + block.warm].tolist()
    keys = [(market.names[number], moment) for number, moment in zip(layout.symbol.tolist(), moments, strict=True)]
    known = None if market.known_actions is None else market.known_actions.read(keys)
    for key, first, end, live, begin in zip(keys, layout.first, layout.end, layout.live, starts, strict=True):
        name = key[0]
        factors = market.factors if known is None else known.get(key)
        conversion = None if factors is None else factors.conversion(name, timeline.day(int(live) + block.warm))
        if factors is None or conversion is None:
            continue
        days = timeline.days[np.maximum(np.arange(first, end) + block.warm - 1, 0)]
        stretches = factors.stretches(name, to_sessions(days))
        rows = slice(int(begin), int(begin + end - first))
        for field, column in values.items():
            column[rows] = conversion.apply(field, stretches, column[rows])


def _places(series: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """How many rows of its series stand before each row."""
    rows = np.arange(len(series), dtype=np.int32)
    begins = np.concatenate(([True], series[1:] != series[:-1])) if len(series) else np.zeros(0, bool)
    return rows - np.maximum.accumulate(np.where(begins, rows, np.int32(0)))


def _home(frame: pl.DataFrame) -> pl.Expr:
    """For each row the live one of its symbol and session; null where the session came before all live ones."""
    key = pl.col("symbol").cast(pl.Int64) * (1 << 32) + pl.col("session")
    place = frame.select(key=key, place=pl.int_range(pl.len(), dtype=pl.UInt32), live="live")
    found = place.join(place.filter("live").select("key", home="place"), on="key", how="left", maintain_order="left")
    return pl.lit(found["home"]).alias("home")


def _treat_gaps(market: Market, timeline: Timeline, block: Block, frame: pl.DataFrame, earliest: int) -> pl.DataFrame:
    if market.on_gap is OnGap.NULL:
        return frame
    has_bar = pl.col("close").is_not_null()
    if market.on_gap is OnGap.SKIP:
        begins = pl.col("series") != pl.col("series").shift(1).fill_null(pl.lit(np.iinfo(np.uint32).max, pl.UInt32))
        return frame.filter(has_bar | begins)
    if market.on_gap is OnGap.FFILL:
        last = pl.col("close").forward_fill(FILLED_OVER).over("series")
        filled = pl.when(has_bar)
        frame = frame.with_columns(last=last)
        prices = [
            filled.then(pl.col(name)).otherwise(pl.col("last")).alias(name) for name in PRICES if name in frame.columns
        ]
        counts = [name for name in ("volume", "trade_count") if name in frame.columns]
        zeros = [filled.then(pl.col(name)).when(pl.col("last").is_not_null()).then(0.0).alias(name) for name in counts]
        return frame.with_columns(prices + zeros).drop("last")
    since = has_bar.cum_sum().over("series") > 0
    seen = pl.col("column") + block.warm >= earliest
    missing = frame.filter(pl.col("live") & pl.col("member") & since & seen & ~has_bar)
    if missing.height:
        number, day = missing.select("symbol", "column").row(0)
        session = timeline.day(block.warm + day - 1)
        raise GapInWindow(
            f"{market.names[number]} has no bar on {session}",
            fix="fetch it, or use on_gap='null', 'ffill' or 'skip'",
        )
    return frame
