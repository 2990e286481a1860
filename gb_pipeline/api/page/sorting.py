"""This module sorts what a grid of the page shows by one of its columns: `sort=close` from the least, `sort=-close` from the most.

What has no value comes last in both directions, and rows that are equal keep the order that they had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gb_pipeline.errors import ConfigError


@dataclass(frozen=True)
class Sort:
    """By which column rows are sorted.

    Attributes:
        column: its name.
        descending: the largest first.
    """

    column: str
    descending: bool = False

    @classmethod
    def parse(cls, text: str | None) -> Sort | None:
        """What an address says; None where it says nothing.

        Example:
            >>> Sort.parse("-close")
            Sort(column='close', descending=True)
        """
        return None if not text else cls(text.removeprefix("-"), text.startswith("-"))

    def require_one_of(self, columns: Sequence[str]) -> None:
        """Refuse a column that the rows do not have.

        Raises:
            ConfigError: they have no such column.
        """
        if self.column not in columns:
            raise ConfigError(f"rows have no column {self.column[:60]!r}", fix=f"sort by {', '.join(columns)}")


def sort_rows(frame: pl.DataFrame, sort: Sort | None) -> pl.DataFrame:
    """The rows in an order; as they are where there is none.

    Args:
        frame: all rows; lists of text are sorted as the text that they are shown as.
        sort: by what.

    Raises:
        ConfigError: the frame has no such column.
    """
    if sort is None:
        return frame
    sort.require_one_of(frame.columns)
    key = pl.col(sort.column)
    if frame.schema[sort.column] == pl.List(pl.String):
        key = key.list.join(", ")
    elif frame.schema[sort.column].is_float():
        # It is shown as what has no value.
        key = key.fill_nan(None)
    return frame.sort(key, descending=sort.descending, nulls_last=True, maintain_order=True)
