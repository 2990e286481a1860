"""The bars of a block as arrays: a row per symbol, a column per session, each column the bar of the session before it.

`Present` reads what is known now; `Versions` what was known when each session opened. Prices are as the lake stores them, or as
traded where splits are applied later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.errors import NoDataInRange
from gb_pipeline.market.moments import microseconds
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.window import instant
from gb_pipeline.portal.loading import BarLoader
from gb_pipeline.portal.visible import Versions
from gb_pipeline.research.factors.nodes import Floats
from gb_pipeline.research.factors.request import Market
from gb_pipeline.research.factors.timeline import Block, Timeline

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BarArrays:
    """Bars of a block.

    Attributes:
        block: whose.
        values: by field, float64 of shape (symbols, sessions), NaN where there is none; column 0 is that of `block.warm`.
        versions: by the number of a symbol, where only what was known is read; `values` are then empty.
    """

    block: Block
    values: Mapping[str, Floats]
    versions: Mapping[int, Versions]


def read_bars(
    market: Market, timeline: Timeline, block: Block, fields: Sequence[str], before: BarArrays | None = None
) -> BarArrays:
    """The bars that the rows of a block are made of.

    Args:
        before: those of the block before; what they have already is not read again.
    """
    start, end = _window(timeline, block)
    if market.strict:
        loader = BarLoader(
            market.lake, market.source, market.resolution, market.resolution, tuple(fields), market.as_of,
            market.calendar, market.alignment, None, strict=True,
        )  # fmt: skip
        numbers = {name: number for number, name in enumerate(market.names)}
        found = loader.read(list(market.stored), microseconds(start), microseconds(end))
        return BarArrays(block, {}, {numbers[name]: versions for name, versions in found.items()})
    shape = len(market.names), block.end - block.warm
    values = {name: np.full(shape, np.nan) for name in fields}
    if before is not None and before.block.warm <= block.warm <= before.block.end:
        known = before.block.end - block.warm
        for name, column in values.items():
            column[:, :known] = before.values[name][:, block.warm - before.block.warm :]
        start = instant(timeline.day(before.block.end - 1))
    rows = _read(market, fields, start, end)
    if rows is None:
        return BarArrays(block, values, {})
    symbols = rows["symbol"].cast(pl.Enum(list(market.names))).to_physical().cast(pl.Int64).to_numpy()
    columns = bar_columns(timeline, block, rows["timestamp"].dt.date().to_physical().to_numpy())
    inside = columns >= 0
    for name in fields:
        values[name][symbols[inside], columns[inside]] = rows[name].cast(pl.Float64).to_numpy()[inside]
    return BarArrays(block, values, {})


def bar_columns(timeline: Timeline, block: Block, days: npt.NDArray[np.int32]) -> Integers:
    """The column of each bar, by the day it is stamped with; -1 where the calendar has no such session."""
    positions = np.searchsorted(timeline.days, days)
    known = timeline.days[np.minimum(positions, len(timeline.days) - 1)] == days
    columns = positions + 1 - block.warm
    return np.where(known & (columns >= 0) & (columns < block.end - block.warm), columns, -1)


def _read(market: Market, fields: Sequence[str], start: datetime, end: datetime) -> pl.DataFrame | None:
    daily = market.resolution is Resolution.DAY
    try:
        return market.lake.bars(
            list(market.stored),
            market.resolution,
            start,
            end,
            source=market.source,
            columns=["symbol", "timestamp", *fields],
            as_of=market.as_of,
            as_float=True,
            adjustment=None if market.factors is None else "none",
            resample=None if daily else Resolution.DAY,
            calendar=None if daily else market.calendar,
        )
    except NoDataInRange:
        return None


def _window(timeline: Timeline, block: Block) -> tuple[datetime, datetime]:
    """The days whose bars the block sees: those before its sessions."""
    first = timeline.day(max(0, block.warm - 1))
    last = timeline.day(block.end - 2) + timedelta(days=1) if block.end >= 2 else first
    return instant(first), instant(max(first, last))
