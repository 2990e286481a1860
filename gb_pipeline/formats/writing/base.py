"""What a writer of another tool's format is: it says what its files can hold of a series, and writes that.

`exporting` reads the lake, compares value by value, and puts the files in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.formats.writing.staging import StagedFolder
from gb_pipeline.market.calendar import Calendar
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import PRICES
from gb_pipeline.market.symbol import AssetClass

NUMBERS = (*PRICES, "volume")
AS_STORED = "stored"


@dataclass(frozen=True, slots=True)
class Exported:
    """One series, and what is known of it.

    Attributes:
        source, symbol, resolution: of its bars.
        start, end: the first and last bar that is exported.
        calendar: of the source.
        asset_class: of the instrument; None where nobody said.
        actions: the rows of `Lake.corporate_actions`; None where they were never fetched.
        adjustment: `none`, `splits`, `splits+dividends` or `stored`: what is done to the prices that are written.
    """

    source: str
    symbol: str
    resolution: Resolution
    start: datetime
    end: datetime
    calendar: Calendar
    asset_class: AssetClass | None = None
    actions: pl.DataFrame | None = None
    adjustment: str = AS_STORED

    @property
    def name(self) -> str:
        """`source:symbol resolution`, for messages."""
        return f"{self.source}:{self.symbol} {self.resolution}"


@dataclass(frozen=True, slots=True)
class Converted:
    """Bars as the files will hold them.

    Attributes:
        bars: those that can be written at all, as they are stored.
        values: the same rows, `open` to `volume` as they read back from the files.
        left_out: stamps of bars that cannot be written, by the reason.
    """

    bars: pl.DataFrame
    values: pl.DataFrame
    left_out: Mapping[str, pl.Series] = field(default_factory=dict)


class FormatWriter:
    """Writes series into a folder. Every series is looked at (`inspect`) before any is written (`write`).

    Attributes:
        resolutions: what the format calls the resolutions that it has.
        adjustment: of prices, where the user says none.
        alone: files of one export belong together, so that no other file may be in the folder.
        needs_raw: `write` also gets `raw_close`, where prices are adjusted.
    """

    resolutions: ClassVar[Mapping[Resolution, str]] = {}
    adjustment: ClassVar[str] = AS_STORED
    alone: ClassVar[bool] = False
    needs_raw: ClassVar[bool] = False

    def __init__(self, market: str | None = None) -> None:
        """Take what the user says about all series.

        Args:
            market: LEAN's market, Nautilus' venue.
        """
        self.market = market

    def place_of(self, series: Exported) -> str:
        """What the files call the series: two series of one place would become one.

        Raises:
            ConfigError: the format has no name for it.
        """
        raise NotImplementedError

    def adjustment_of(self, series: Exported) -> str:
        """The adjustment of a series where the user says none."""
        return self.adjustment

    def convert(self, series: Exported, bars: pl.DataFrame) -> Converted:
        """What the files can hold of some bars.

        Args:
            bars: `timestamp` (Datetime us UTC), `open` to `volume` (decimals), and `raw_close` where it is needed.
        """
        return Converted(bars, bars.select(NUMBERS))

    def inspect(self, series: Exported, bars: pl.DataFrame) -> None:
        """Take note of bars that will be written, before the first one is."""

    def write(self, series: Exported, bars: pl.DataFrame, folder: StagedFolder) -> None:
        """Write the next bars of a series; those of one series come one after another, in the order of time."""
        raise NotImplementedError

    def end(self, series: Exported, folder: StagedFolder) -> None:
        """Write what ends a series."""

    def finish(self, folder: StagedFolder) -> None:
        """Write what belongs to all series."""

    def notes(self, series: Exported) -> list[str]:
        """What the files do not say of a series, a sentence each; also what was written otherwise than it is stored."""
        return []

    def resolution_name(self, series: Exported) -> str:
        """What the format calls the resolution.

        Raises:
            ConfigError: it has no bars of this length.
        """
        name = self.resolutions.get(series.resolution)
        if name is None:
            raise ConfigError(
                f"{series.name}: the format has no bars of {series.resolution}",
                fix=f"choose another one, such as --resolution {next(iter(self.resolutions))}; "
                f"it has {', '.join(self.resolutions)}",
            )
        return name
