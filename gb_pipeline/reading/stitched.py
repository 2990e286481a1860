"""The bars of one instrument under all the symbols that it had: which stretch of which series is its own.

A stretch ends where the symbol does, so that whoever has the symbol before or after is never read. What `gb rename` moved is
followed: the symbol of a day stays what it was, and the bars are read where they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    tables: Tables, rows: pl.DataFrame, source: str, resolution: Resolution, as_of: datetime | None
) -> list[Stretch]:
    """Where a source's bars of an instrument stand, the symbols of the time first, then where renaming moved them to.

    Args:
        rows: of the instrument, as they hold for the source.
    """
    spans = rows.sort("valid_from").select("symbol", "valid_from", until()).rows()
    found = [Stretch(*span) for span in spans]
    moved = removals.read(tables, source)
    moved = moved.filter(pl.col("action") == Action.RENAMED.value, pl.col("resolution") == resolution.value)
    if as_of is not None:
        moved = moved.filter(pl.col("known_at") <= instant_literal(as_of))
    # In the order in which it happened: what was moved on is followed as well.
    for old, new, first, last in moved.select("symbol", "renamed_to", "first_session", "last_session").rows():
        for each in list(found):
            start, end = max(each.first, first or EARLIEST_DAY), min(each.end, (last or LATEST_DAY - _DAY) + _DAY)
            if each.symbol == old and start < end and (more := Stretch(new, start, end)) not in found:
                found.append(more)
    return found


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
