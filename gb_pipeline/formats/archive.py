"""What a reader of another tool's files hands over: series that are read lazily, and all that their files say about them.

Nothing here reads a file, and nothing writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.market.symbol import AssetClass, Symbol
from gb_pipeline.market.window import Window
from gb_pipeline.quality.rules import Alignment, GapPolicy

# Rows that a reader yields at once, about: flat memory, whatever the file holds.
CHUNK_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a user says about files that do not say it themselves; None where nothing was said.

    Attributes:
        asset_class: the kind of the instruments.
        calendar: of their sessions.
        timezone: of stamps that have no zone.
        stamp: `open` or `close`, which end of a bar its time is.
        resolution: read only series of this length, and take bars for such where the files do not say how long they are.
        window: bars that begin in it are wanted; a reader may skip others, and need not.
    """

    asset_class: AssetClass | None = None
    calendar: str | None = None
    timezone: str | None = None
    stamp: str | None = None
    resolution: Resolution | None = None
    window: Window | None = None

    def resolution_or(self, found: Resolution | None, place: str) -> Resolution:
        """What the files say, else what the user says.

        Raises:
            ConfigError: neither does.
        """
        chosen = found or self.resolution
        if chosen is None:
            raise ConfigError(f"{place} does not say how long its bars are", fix="say it, such as --resolution 1m")
        return chosen

    def calendar_or_refuse(self, asset_class: AssetClass, place: object) -> str:
        """The sessions of files that do not say theirs: crypto trades round the clock, of others the user says it.

        Raises:
            ConfigError: nobody does.
        """
        if asset_class is AssetClass.CRYPTO:
            return "24/7"
        if self.calendar is None:
            raise ConfigError(f"{place} does not say which sessions there are", fix="say it, such as --calendar XNYS")
        return self.calendar


@dataclass(frozen=True, slots=True)
class ArchiveSeries:
    """Bars of one instrument and one length.

    Attributes:
        symbol: as the lake spells it.
        resolution: of the bars.
        origin: what the files call it, and where it lies: `sid 7`, `BTC_USDT-1h.feather`.
        read: frames of `market.schema.RECEIVED` and any of `RECEIVED_OPTIONAL` but `symbol`, in the order of time from one
            frame to the next: stamps are the opens of the bars in UTC, the session's midnight for a day and longer. It is called
            once or several times, and raises `FormatRefused` where the file is not what it should be.
    """

    symbol: Symbol
    resolution: Resolution
    origin: str
    read: Callable[[], Iterator[pl.DataFrame]]


@dataclass(frozen=True, slots=True)
class Archive:
    """All that a path holds.

    Attributes:
        series: what can be read, lazily.
        files: what it is read from: their names and content tell whether an import is the same one again.
        content: what tells that instead, of a database whose files change when it is read; empty of all others.
        asset_class, calendar, extended_hours, alignment, gap_policy, adjustment: of all series, as far as the files tell.
        actions: corporate actions, columns of `market.schema.ACTIONS_RECEIVED` and `symbol`; None where the format has none.
        notes: what the format cannot tell, and what was done about it; a sentence each.
        skipped: what is there and cannot be a series, and why.
    """

    series: tuple[ArchiveSeries, ...]
    files: tuple[Path, ...]
    content: str = ""
    asset_class: AssetClass = AssetClass.EQUITY
    calendar: str = "24/7"
    extended_hours: bool = False
    alignment: Alignment = Alignment.CLOCK
    gap_policy: GapPolicy = GapPolicy.NO_TRADE
    adjustment: Adjustment = Adjustment.RAW
    actions: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


Reader = Callable[[Path, ReadOptions], Archive]
