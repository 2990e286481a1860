"""What an export wrote, or would write: the account of each series, and what its files do not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gb_pipeline.formats.writing.base import AS_STORED
from gb_pipeline.formats.writing.conversion import ChangedValue


@dataclass(frozen=True, slots=True)
class ExportedSeries:
    """What became of one series.

    Attributes:
        series: `source:symbol resolution`.
        rows: bars in the files.
        start, end: the first and last of them; None without one.
        files, bytes: those that it stands in. Files that hold several series count for each of them.
        adjustment: of the prices: `none`, `splits`, `splits+dividends`, or `stored`.
        changed: values that the files give back otherwise than they are stored.
        examples: the first of them.
        left_out: bars that the format cannot hold, by the reason.
        notes: what the files do not say, a sentence each.
    """

    series: str
    rows: int
    start: datetime | None
    end: datetime | None
    files: int = 0
    bytes: int = 0
    adjustment: str = AS_STORED
    changed: int = 0
    examples: tuple[ChangedValue, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote, or a dry run would write.

    Attributes:
        format: its name.
        target: the folder.
        dry_run: whether nothing is there now.
        series: one by one.
        files, bytes: all of them.
        as_of: the moment whose knowledge was read.
        removed: what killed exports into the same folder had left beside it, and is gone.
    """

    format: str
    target: str
    dry_run: bool
    series: tuple[ExportedSeries, ...]
    files: int
    bytes: int
    as_of: datetime
    removed: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Bars in the files."""
        return sum(item.rows for item in self.series)

    @property
    def is_exact(self) -> bool:
        """Whether the files hold every bar, and every value as it is."""
        return not any(item.changed or item.left_out for item in self.series)
