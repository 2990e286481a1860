"""The bars of one instrument under all the symbols that it had: which stretch of which series is its own.

A stretch ends where the symbol does, so that whoever has the symbol before or after is never read. What `gb rename` moved is
followed: the symbol of a day stays what it was, and the bars are read where they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from gb_pipeline.config.source_facts import SourceFacts
from gb_pipeline.errors import ConfigError, NoDataInRange, ReadError, UnknownSeries
from gb_pipeline.lake import corporate_actions, removals
from gb_pipeline.lake.removals import Action
from gb_pipeline.market.adjust import adjust
from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import SPLIT, Adjustment
from gb_pipeline.market.symbology import EARLIEST_DAY, LATEST_DAY, until
from gb_pipeline.market.window import Window
from gb_pipeline.reading.price_adjustment import PriceAdjustment
from gb_pipeline.storage.table import Tables

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days, half-open, on which the bars of a series are those of an instrument."""

    symbol: str
    first: date
    end: date


def find_stretches(
    tables: Tables, rows: pl.DataFrame, instrument: str, source: str, resolution: Resolution, as_of: datetime | None
) -> list[Stretch]:
    """Where a source's bars of an instrument stand, the symbols of the time first, then where renaming moved them to.

    Where renaming moved the bars of another instrument to a symbol, days of these are left out.

    Args:
        rows: of all instruments, as they hold for the source.
    """
    spans = rows.sort("valid_from").select("instrument", "symbol", "valid_from", until()).rows()
    direct = [Stretch(*span) for name, *span in spans if name == instrument]
    moved = removals.read(tables, source)
    moved = moved.filter(pl.col("action") == Action.RENAMED.value, pl.col("resolution") == resolution.value)
    if as_of is not None:
        moved = moved.filter(pl.col("known_at") <= instant_literal(as_of))
    if moved.is_empty():
        return direct
    foreign = [Stretch(*span) for name, *span in spans if name != instrument]
    # Of these symbols, what came from elsewhere: ours, and others'.
    came: list[Stretch] = []
    others: list[Stretch] = []
    # In the order in which it happened: what was moved on is followed as well.
    for old, new, first, last in moved.select("symbol", "renamed_to", "first_session", "last_session").rows():
        span = Stretch(new, first or EARLIEST_DAY, (last or LATEST_DAY - _DAY) + _DAY)
        ours = _without(_of(direct, old), _of(others, old)) + _of(came, old)
        theirs = _without(_of(foreign, old), _of(came, old)) + _of(others, old)
        # Renaming moves all of a series, so nothing that came to the old symbol is there any more.
        came = [*(each for each in came if each.symbol != old), *_within(ours, span)]
        others = [*(each for each in others if each.symbol != old), *_within(theirs, span)]
    return list(dict.fromkeys([*_without(direct, others), *came]))


def _of(stretches: Sequence[Stretch], symbol: str) -> list[Stretch]:
    return [each for each in stretches if each.symbol == symbol]


def _within(stretches: Sequence[Stretch], span: Stretch) -> list[Stretch]:
    """The parts that lie in a span, under its symbol."""
    parts = [Stretch(span.symbol, max(each.first, span.first), min(each.end, span.end)) for each in stretches]
    return [part for part in parts if part.first < part.end]


def _without(stretches: Sequence[Stretch], cut: Sequence[Stretch]) -> list[Stretch]:
    """What is left of some stretches without those of the same symbols."""
    left = list(stretches)
    for out in cut:
        left = [
            part
            for each in left
            for part in (
                (replace(each, end=min(each.end, out.first)), replace(each, first=max(each.first, out.end)))
                if each.symbol == out.symbol
                else (each,)
            )
            if part.first < part.end
        ]
    return left


def cut_window(stretch: Stretch, resolution: Resolution, facts: SourceFacts | None, wanted: Window) -> Window | None:
    """The bars of a stretch, as a range of their opens; None where none of them is wanted.

    Bars of a day and longer are dated; a day of shorter ones begins at midnight on the exchange's wall clock.
    """
    zone = facts.trading_calendar.zone if facts is not None and resolution.intraday else UTC
    edges = [
        datetime.combine(day, time(), zone).astimezone(UTC) if EARLIEST_DAY < day < LATEST_DAY else edge
        for day, edge in ((stretch.first, wanted.start), (stretch.end, wanted.end))
    ]
    start, end = max(edges[0], wanted.start), min(edges[1], wanted.end)
    return Window(start, end) if start < end else None


def read_stretches(
    stretches: Sequence[Stretch], read: Callable[[Stretch], pl.DataFrame | None]
) -> tuple[pl.DataFrame | None, list[Stretch]]:
    """The bars of some stretches, each moment once, and the stretches that have any; None where none has."""
    frames, having = [], []
    for stretch in stretches:
        try:
            frame = read(stretch)
        except (UnknownSeries, NoDataInRange):
            continue
        if frame is not None and frame.height:
            frames.append(frame)
            having.append(stretch)
    if not frames:
        return None, []
    return pl.concat(frames, how="vertical_relaxed").unique("timestamp", keep="first", maintain_order=True), having


def as_splits_alone(adjustment: PriceAdjustment | None) -> Adjustment | None:
    """What is done to prices across symbols.

    Raises:
        ConfigError: something else than nothing, prices as traded, or splits.
    """
    if adjustment is None:
        return None
    kind = adjustment.by_splits_alone
    if kind is None or adjustment.as_known is not None:
        raise ConfigError(
            "across symbols prices are read as stored, as traded or adjusted for splits",
            fix="use adjustment='splits'; dividends are in `corporate_actions`",
        )
    return kind


def apply_splits(
    tables: Tables,
    frame: pl.DataFrame,
    stretches: Sequence[Stretch],
    source: str,
    resolution: Resolution,
    facts: SourceFacts | None,
    as_of: datetime | None,
) -> pl.DataFrame:
    """Prices as traded, adjusted for the instrument's own splits, whichever symbol they were told under.

    Raises:
        ReadError: weeks or months that a split lies in.
    """
    rows = corporate_actions.read(tables, source, list({each.symbol for each in stretches}), as_of)
    own = [
        pl.col("symbol").eq(each.symbol) & pl.col("ex_date").is_between(each.first, each.end, closed="left")
        for each in stretches
    ]
    splits = rows.filter(pl.col("kind") == SPLIT, pl.any_horizontal(own)).drop("symbol")
    if splits.is_empty():
        return frame
    if resolution in {Resolution.WEEK, Resolution.MONTH}:
        raise ReadError(
            f"bars of {resolution} may hold prices of before and after a split",
            fix="read daily bars, and resample them once they are adjusted",
        )
    calendar = facts.trading_calendar if facts is not None else None
    bars = frame.drop("symbol", strict=False)
    adjusted = adjust(bars, splits, calendar=calendar, resolution=resolution)
    return frame.with_columns(adjusted.get_columns())
