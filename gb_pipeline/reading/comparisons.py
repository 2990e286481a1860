"""This module finds what there is to compare a source with: others that have its symbols, and its own daily bars.

It looks into the ledger only; the bars of a comparison are read by `comparison`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import polars as pl

from gb_pipeline.lake import ledger
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.reading.arguments import EARLIEST, LATEST, Moment, moment
from gb_pipeline.reading.comparison import PRICE_TOLERANCE, VOLUME_TOLERANCE, reconcile, roll_up

if TYPE_CHECKING:
    from gb_pipeline.reading.lake import Lake

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Comparison:
    """Series of a source that can be compared with those of another one, or with daily bars.

    Attributes:
        source, resolution: whose bars.
        other, other_resolution: with what; `1d` beside an intraday resolution is a roll-up.
        symbols: that both have, sorted.
        since, until: the first and the last session that both may have.
    """

    source: str
    resolution: Resolution
    other: str
    other_resolution: Resolution
    symbols: tuple[str, ...]
    since: date
    until: date

    @property
    def name(self) -> str:
        """`coinbase 1m and kraken 1m`."""
        return f"{self.source} {self.resolution} and {self.other} {self.other_resolution}"

    def run(
        self,
        lake: Lake,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        price_tolerance: float = PRICE_TOLERANCE,
        volume_tolerance: float = VOLUME_TOLERANCE,
    ) -> pl.DataFrame:
        """How far the other's sessions are off, as `reconcile` and `roll_up` say it."""
        clock = lake.store.clock
        # Sessions of some calendars begin on the evening before.
        first = max(moment(start, clock) or EARLIEST, _midnight(self.since) - _DAY)
        last = min(moment(end, clock) or LATEST, _midnight(self.until) + 2 * _DAY)
        tolerances = {"price_tolerance": price_tolerance, "volume_tolerance": volume_tolerance}
        if self.resolution is self.other_resolution:
            pair = (self.source, self.other)
            return reconcile(lake, pair, self.resolution, self.symbols, first, last, **tolerances)
        return roll_up(
            lake, self.source, self.resolution, self.symbols, first, last, daily_source=self.other, **tolerances
        )


def find_comparisons(
    lake: Lake,
    source: str,
    other: str | None = None,
    resolution: Resolution | str | None = None,
    symbols: Sequence[str] | None = None,
) -> list[Comparison]:
    """What a source's bars can be compared with, by the sessions that hold bars.

    Args:
        source: of the lake.
        other: the other one; by default every other one that has the same symbols, and the source's own daily bars. The source
            itself for its daily bars alone.
        resolution: of the source's bars; all by default.
        symbols: of the source; all by default.

    Returns:
        One entry per pair of series tables: the same resolution of two sources; intraday bars with daily ones of the same source,
        and with those of another one that has nothing else. Sorted.

    Example:
        >>> [comparison.name for comparison in find_comparisons(lake, "coinbase")]
        ['coinbase 1m and kraken 1m']
    """
    rows = ledger.scan(lake.store.tables, columns=["source", "resolution", "symbol", "session", "actual"])
    if symbols is not None:
        rows = rows.filter(pl.col("symbol").is_in(list(symbols)))
    keys = ["source", "resolution", "symbol"]
    sessions = rows.filter(pl.col("actual") > 0).group_by(keys)
    held = sessions.agg(pl.col("session").min().alias("first"), pl.col("session").max().alias("last")).collect()
    own = held.filter(pl.col("source") == source)
    if resolution is not None:
        own = own.filter(pl.col("resolution") == Resolution.parse(str(resolution)).value)
    if other is not None:
        held = held.filter(pl.col("source") == other)
    same = pl.col("source") == pl.col("source_other")
    alike = pl.col("resolution") == pl.col("resolution_other")
    intraday = [item.value for item in Resolution if item.intraday]
    rolls_up = pl.col("resolution").is_in(intraday) & (pl.col("resolution_other") == Resolution.DAY.value)
    pairs = own.join(held, on="symbol", suffix="_other").with_columns(
        since=pl.max_horizontal("first", "first_other"), until=pl.min_horizontal("last", "last_other")
    )
    # With bars of the same length to compare with, daily ones of another source say nothing new.
    has_alike = alike.any().over("source", "resolution", "source_other")
    pairs = pairs.filter((alike & ~same) | (rolls_up & (same | ~has_alike)))
    found = pairs.group_by("source", "resolution", "source_other", "resolution_other").agg(
        pl.col("symbol").unique().sort(), pl.col("since").min(), pl.col("until").max()
    )
    return [
        Comparison(name, Resolution(length), another, Resolution(its), tuple(codes), since, until)
        for name, length, another, its, codes, since, until in found.sort(
            "source", "resolution", "source_other", "resolution_other"
        ).rows()
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
