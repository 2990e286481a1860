"""What a writer of trades, quotes and books is: it says what its files can hold of a day, and writes that.

`streams.exporting` reads the lake and puts the files in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

import polars as pl

from gb_pipeline.formats.streams.days import Stream
from gb_pipeline.formats.writing.staging import StagedFolder


@dataclass(frozen=True, slots=True)
class Day:
    """The rows of at most one day of UTC, by table, each in the order in which they were heard.

    Attributes:
        start: of the day, or of the range.
        rows: columns of the table; empty where there are none.
    """

    start: datetime
    rows: Mapping[str, pl.DataFrame]

    @property
    def height(self) -> int:
        """All rows."""
        return sum(frame.height for frame in self.rows.values())


@dataclass(slots=True)
class Account:
    """What the files hold of a stream.

    Attributes:
        events: in the files.
        changed: numbers that the files give back otherwise than they are stored.
        examples: the first of them, in words.
        left_out: rows that the format cannot hold, by the reason.
        notes: what the files do not say, a sentence each.
    """

    events: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)

    def leave_out(self, reason: str, rows: int) -> None:
        """Count rows."""
        if rows:
            self.left_out[reason] = self.left_out.get(reason, 0) + rows


class StreamWriter:
    """Writes streams into a folder. All days of a stream are looked at (`inspect`) before one is written (`write`).

    Attributes:
        tables: that the format has a place for.
        alone: files of one export belong together, so that no other file may be in the folder.
    """

    tables: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False

    def __init__(self, market: str | None = None) -> None:
        """Take what the user says about all streams.

        Args:
            market: Nautilus' venue.
        """
        self.market = market

    def place_of(self, stream: Stream) -> str:
        """What the files call the stream: two streams of one place would become one."""
        raise NotImplementedError

    def inspect(self, stream: Stream, day: Day, account: Account) -> None:
        """Take note of a day that will be written, before the first one is."""
        raise NotImplementedError

    def write(self, stream: Stream, day: Day, folder: StagedFolder) -> None:
        """Write the next day of a stream."""
        raise NotImplementedError

    def end(self, stream: Stream, folder: StagedFolder) -> None:
        """Write what ends a stream."""
