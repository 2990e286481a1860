"""This module counts what became of the rows of an answer, and holds the law that none is lost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from gb_pipeline.errors import LakeError


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What became of the rows that a vendor sent for one symbol; `received == stored + unchanged + quarantined + duplicates`.

    Attributes:
        received: rows of the answer.
        stored: rows whose content the lake did not hold before, be they new or restated.
        unchanged: rows that it held already with this content.
        quarantined: rows that were refused; they are in quarantine as they were received, with their reasons. Good rows that
            differ from what a later request stored are among them.
        duplicates: rows that repeat another row of the same answer in every value.
        unplaced: how many of `quarantined` belong to no session of the window that was asked for.

    Raises:
        LakeError: the rows do not add up, which is a bug.

    Example:
        >>> RowCounts(received=1441, stored=1438, quarantined=2, duplicates=1) + RowCounts(received=1, unchanged=1)
        RowCounts(received=1442, stored=1438, unchanged=1, quarantined=2, duplicates=1, unplaced=0)
    """

    received: int = 0
    stored: int = 0
    unchanged: int = 0
    quarantined: int = 0
    duplicates: int = 0
    unplaced: int = 0

    def __post_init__(self) -> None:
        """Hold the law that no row is lost."""
        accounted = self.stored + self.unchanged + self.quarantined + self.duplicates
        numbers = [getattr(self, item.name) for item in fields(self)]
        if self.received != accounted or self.unplaced > self.quarantined or min(numbers) < 0:
            raise LakeError(
                f"{self.sentence}, which makes {accounted:,}",
                fix="this is a bug of gb_pipeline: please report it with these numbers",
            )

    def __add__(self, other: RowCounts) -> RowCounts:
        """The rows of both."""
        return RowCounts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def sentence(self) -> str:
        """`1,442 rows received: 1,438 stored, 1 unchanged, 2 quarantined, 1 duplicates`."""
        parts = (f"{getattr(self, name):,} {name}" for name in ("stored", "unchanged", "quarantined", "duplicates"))
        return f"{self.received:,} row{'' if self.received == 1 else 's'} received: {', '.join(parts)}"

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, in the order of the attributes."""
        return {item.name: getattr(self, item.name) for item in fields(self)}
