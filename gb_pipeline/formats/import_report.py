"""What an import did, or would do: every row that was read is accounted for, series by series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gb_pipeline.lake.corporate_actions import ActionsReport
from gb_pipeline.lake.row_counts import RowCounts
from gb_pipeline.market.resolution import Resolution
from gb_pipeline.market.schema import Adjustment
from gb_pipeline.quality.rules import BarRules

# Rules that every bar of a source is stored by, beside its calendar and adjustment. What an absent bar means, and how many bad
# rows are put up with, is another question for each vendor.
_SETTINGS = ("alignment", "precision", "allow_negative_prices", "allow_unaligned")
# Refused rows that are shown of each series.
WORST = 3


@dataclass(slots=True)
class ImportedSeries:
    """One series of an import; always `received == stored + unchanged + quarantined + duplicates`.

    Attributes:
        symbol, resolution: under which it is stored.
        origin: what the files call it.
        counts: what became of its rows; of a dry run, what would, as if nothing were stored.
        first, last: opens of the first and the last row that was read.
        reasons: quarantined rows by code.
        worst: the first few of them: `timestamp`, `why` and `row`, as text.
        warnings: stored rows that look suspicious, by code.
        missing: bars that the calendar expects between the first and the last one, and that are not there.
        error: why its file could not be read to the end; empty where it could. What was read before is stored.
    """

    symbol: str
    resolution: Resolution
    origin: str
    counts: RowCounts = field(default_factory=RowCounts)
    first: datetime | None = None
    last: datetime | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    worst: list[Mapping[str, str]] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    error: str = ""

    def saw(self, first: datetime | None, last: datetime | None) -> None:
        """Widen the range."""
        self.first = min(filter(None, (self.first, first)), default=None)
        self.last = max(filter(None, (self.last, last)), default=None)

    def refused(self, rows: list[Mapping[str, str]]) -> None:
        """Keep the first few refused rows."""
        self.worst += rows[: WORST - len(self.worst)]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """One import.

    Attributes:
        format, path: what was read.
        source: under which it is stored.
        dry_run: whether nothing was written.
        import_id: names what was read: the same files in the same format have the same one.
        calendar, extended_hours, asset_class, adjustment: of the source.
        rules: other settings of a source that its bars were stored by, where they are not the default ones.
        series: each with its counts.
        actions: what became of corporate actions; None where there are none, and of a dry run.
        action_rows: corporate actions that were read.
        notes: what the format cannot tell.
        skipped: what is there and was not read, and why.
    """

    format: str
    path: str
    source: str
    dry_run: bool
    import_id: str
    calendar: str
    extended_hours: bool
    asset_class: str
    adjustment: Adjustment
    rules: Mapping[str, object]
    series: tuple[ImportedSeries, ...]
    actions: ActionsReport | None
    action_rows: int
    notes: tuple[str, ...]
    skipped: Mapping[str, str]

    @property
    def total(self) -> RowCounts:
        """What became of all rows."""
        return sum((item.counts for item in self.series), start=RowCounts())

    @property
    def errors(self) -> Mapping[str, str]:
        """Why series could not be read to the end, by what the files call them."""
        return {item.origin: item.error for item in self.series if item.error}

    @property
    def whole(self) -> bool:
        """Whether every series was read to its end; rows in quarantine are accounted for and change nothing here."""
        return not self.errors


def other_than_usual(rules: BarRules) -> dict[str, object]:
    """What gb.yaml has to say, so that a vendor's bars are stored as these were."""
    usual = BarRules()
    found = {name: getattr(rules, name) for name in _SETTINGS}
    return {name: getattr(value, "value", value) for name, value in found.items() if value != getattr(usual, name)}
