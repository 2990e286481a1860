"""What an import of trades, quotes and books did, or would do: every row that was read is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gb_pipeline.lake.row_counts import RowCounts

# Refused rows that are shown of each stream.
WORST = 3


@dataclass(slots=True)
class ImportedStream:
    """One dataset of one symbol; always `received == stored + unchanged + quarantined + duplicates`.

    Attributes:
        symbol, table: where it is stored; of refused lines that name no instrument, the symbol is `*`.
        counts: what became of its rows; of a dry run, what would, as if nothing were stored.
        first_time, last_time: of its stored rows, ns since 1970 UTC; None without one.
        wide: how many of the stored rows are in the sibling table of 18 decimals.
        reasons: quarantined rows by code.
        worst: the first few of them: `why` and `row`, as text.
    """

    symbol: str
    table: str
    counts: RowCounts = field(default_factory=RowCounts)
    first_time: int | None = None
    last_time: int | None = None
    wide: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    worst: list[Mapping[str, str]] = field(default_factory=list)

    def saw(self, first: int, last: int) -> None:
        """Widen the range."""
        self.first_time = first if self.first_time is None else min(self.first_time, first)
        self.last_time = last if self.last_time is None else max(self.last_time, last)


@dataclass(frozen=True, slots=True)
class StreamImportReport:
    """One import.

    Attributes:
        format, path: what was read.
        source: under which it is stored.
        dry_run: whether nothing was written.
        import_id: names what was read: the same files in the same format have the same one.
        asset_class: of the instruments.
        streams: each with its counts.
        intervals: rows of `stream_intervals` that the files' own numbers prove, by kind.
        missing: numbers that are missing between those that are there.
        errors: why files could not be read to their end, by their names. What was read before is stored.
        notes: what the format cannot tell.
        skipped: what is there and was not read, and why.
    """

    format: str
    path: str
    source: str
    dry_run: bool
    import_id: str
    asset_class: str
    streams: tuple[ImportedStream, ...]
    intervals: Mapping[str, int]
    missing: int
    errors: Mapping[str, str]
    notes: tuple[str, ...]
    skipped: Mapping[str, str]

    @property
    def total(self) -> RowCounts:
        """What became of all rows."""
        return sum((item.counts for item in self.streams), start=RowCounts())

    @property
    def whole(self) -> bool:
        """Whether every file was read to its end."""
        return not self.errors
