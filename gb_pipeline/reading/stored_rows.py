"""Rows of chosen files as they lie, now or as of a moment: read at once, or lazily where more is done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, pairwise

import polars as pl

from gb_pipeline.market.window import Window
from gb_pipeline.storage import reading
from gb_pipeline.storage.address import Storage
from gb_pipeline.storage.dataset import KNOWN_AT, SUPERSEDED_AT, Dataset
from gb_pipeline.storage.decoding import Between
from gb_pipeline.storage.numbers import Numbers


@dataclass(frozen=True)
class StoredRows:
    """Rows of one table in a window.

    Attributes:
        storage, dataset: of the table.
        files: rows of `Snapshot.files`, in the order of time.
        names: columns that can be had.
        window: half-open range of timestamps.
        as_of: rows that were valid at this moment; None for the present, whose files were chosen already.
        symbols: of a table whose files hold many symbols, those that are wanted; None for all of the files'.
        stretches: by file, the first row of the only symbol that is wanted and the one after its last; None if not known.
    """

    storage: Storage
    dataset: Dataset
    files: pl.DataFrame
    names: tuple[str, ...]
    window: Window
    as_of: datetime | None
    symbols: tuple[str, ...] | None = None
    stretches: Mapping[str, tuple[int, int]] | None = None

    def scan(self) -> pl.LazyFrame:
        """Lazily: columns and filters that follow are pushed down into the files."""
        rows = reading.scan(self.storage, self.dataset, self.files, self.names, between=self._between)
        if self.symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(self.symbols))
        if self.as_of is not None:
            rows = rows.filter(reading.valid_at(self.as_of, history=True)).with_columns(self._ends)
        return rows

    def read(self, columns: Sequence[str], numbers: Numbers = Numbers.DECIMALS) -> pl.DataFrame:
        """Some columns at once, in this order, decimals of up to 18 digits as they are, as floats or as whole numbers."""
        needed = list(columns)
        if self.stretches is not None and "symbol" not in columns:
            held = [path in self.stretches for path in self.files["path"]]
            files = self.files if all(held) else self.files.filter(held)
            stretches = [self.stretches[path] for path in files["path"]]
            return self._of_moment(files, needed, numbers, stretches)
        if self.symbols is not None and "symbol" not in needed:
            needed.append("symbol")
        rows = self._of_moment(self.files, needed, numbers)
        if self.symbols is not None:
            rows = rows.filter(pl.col("symbol").is_in(self.symbols))
        return rows if rows.columns == list(columns) else rows.select(columns)

    def _of_moment(
        self,
        files: pl.DataFrame,
        columns: list[str],
        numbers: Numbers,
        stretches: Sequence[tuple[int, int]] | None = None,
    ) -> pl.DataFrame:
        """The rows of files, or of a stretch of each, that hold, or held then."""
        needed = list(columns)
        if self.as_of is not None:
            needed += [KNOWN_AT, SUPERSEDED_AT]
        needed = list(dict.fromkeys(needed))
        rows = reading.read(
            self.storage,
            self.dataset,
            files,
            needed,
            between=self._between,
            contiguous=False,
            numbers=numbers,
            stretches=stretches,
        )
        if self.as_of is not None:
            rows = rows.filter(reading.valid_at(self.as_of, history=True)).with_columns(self._ends)
        return rows if rows.columns == columns else rows.select(columns)

    @property
    def is_plain(self) -> bool:
        """Whether all that is asked of the files is a range of time."""
        return self.as_of is None and self.symbols is None and self.stretches is None

    @property
    def _between(self) -> Between:
        return "timestamp", self.window.start, self.window.end

    @property
    def _ends(self) -> pl.Expr:
        # At that moment nobody knew what would take the place of what held.
        return pl.lit(None, self.dataset.polars[SUPERSEDED_AT]).alias(SUPERSEDED_AT)


def read_together(
    contents: Sequence[object], columns: Sequence[str], numbers: Numbers
) -> tuple[pl.DataFrame, list[int]] | None:
    """Some columns of several series of one table, one after the other, and how many rows each has.

    Returns:
        None where they are not of one table and range, or rows have to be left out one by one.
    """
    rows = [content for content in contents if isinstance(content, StoredRows) and content.is_plain]
    if len(rows) < len(contents):
        return None
    first = rows[0]
    if any(content.dataset.name != first.dataset.name or content.window != first.window for content in rows):
        return None
    files = [file for content in rows for file in content.files.rows(named=True)]
    read = reading.read_in_order(first.storage, first.dataset, files, columns, first._between, numbers)
    if read is None:
        return None
    frame, heights = read
    ends = list(accumulate((content.files.height for content in rows), initial=0))
    return frame, [sum(heights[begin:end]) for begin, end in pairwise(ends)]
