"""This module chooses the files that may hold a row for which an Arrow expression is true, by what the log says of them.

Engines hand their filters over as expressions of Arrow, which only Arrow can read. So Arrow itself is asked whether an expression
can be true where a column lies between a file's minimum and maximum. It is asked once for each distinct range of a column instead
of once for each file, and for many neighbours at a time before that: a choice among 100,000 files is some hundred questions.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import reduce
from operator import and_

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from gb_pipeline.storage.dataset import IS_CURRENT, SUPERSEDED_AT, Dataset
from gb_pipeline.storage.snapshot import SLACK

# So many questions are asked at a time; each takes a few microseconds.
_QUESTIONS = 256
_FORMAT, _NOWHERE = ds.ParquetFileFormat(), fs.LocalFileSystem()


class FilePruner:
    """Some files of a table, among which expressions choose. Safe to share between threads.

    Attributes:
        dataset: the table's declaration.
        files: rows of `Snapshot.files`.
    """

    def __init__(self, dataset: Dataset, files: pl.DataFrame) -> None:
        """Nothing is computed before it is needed."""
        self.dataset, self.files = dataset, files
        self._schema = dataset.schema.remove_metadata()
        self._columns: dict[str, _Column | None] = {}
        self._guard = threading.Lock()

    def select(self, condition: ds.Expression | None) -> pl.DataFrame:
        """The files that may hold a row for which a condition is true; never fewer.

        Args:
            condition: over the columns of the table; without one, all files.

        Example:
            >>> FilePruner(dataset, snapshot.files).select(ds.field("symbol") == "BTC-USD").height
            12
        """
        if condition is None or self.files.is_empty():
            return self.files
        text = str(condition)
        # A column of which the condition says nothing leaves every file.
        named = [name for name in (*self.dataset.partitions, *self.dataset.indexed) if name in text]
        columns = [column for name in named if (column := self._column(name)) is not None]
        chosen = np.ones(self.files.height, dtype=bool)
        for column in columns:
            chosen &= column.may_satisfy(condition)
        places = np.flatnonzero(chosen)
        if " or " in text and 1 < len(places) <= _QUESTIONS:
            # What one column leaves may be excluded by two of them together.
            guarantees = (
                reduce(and_, (column.guarantee(place) for column in columns), pc.scalar(True))
                for place in places.tolist()
            )
            places = places[list(_satisfiable(_questions(self._schema, guarantees), condition))]
        return self.files if len(places) == self.files.height else self.files[places]

    def _column(self, name: str) -> _Column | None:
        with self._guard:
            if name not in self._columns:
                edges = _edges(self.dataset, self.files, name)
                self._columns[name] = None if edges is None else _Column(self._schema, name, *edges)
            return self._columns[name]


def _edges(dataset: Dataset, files: pl.DataFrame, name: str) -> tuple[pl.Series, pl.Series] | None:
    """Between what every row of each file lies, null where that is not known; None where it is known of no file."""
    if name in dataset.partitions:
        return files[name], files[name]
    low, high = files[f"min.{name}"], files[f"max.{name}"]
    if name == SUPERSEDED_AT:
        # Rows that hold now have no such moment.
        is_past = ~files[IS_CURRENT]
        low, high = (pl.select(pl.when(is_past).then(edge)).to_series() for edge in (low, high))
    elif dataset.schema.field(name).nullable:
        return None
    if isinstance(high.dtype, pl.Datetime):
        # Statistics of other writers may be cut to milliseconds.
        high = high + timedelta(microseconds=SLACK)
    return low, high


class _Column:
    """The distinct ranges of one column, and which of them each file has."""

    def __init__(self, schema: pa.Schema, name: str, low: pl.Series, high: pl.Series) -> None:
        ranges = pl.DataFrame({"low": low, "high": high})
        distinct = ranges.unique().drop_nulls().sort("low", "high").with_row_index("number")
        numbers = ranges.join(distinct, on=["low", "high"], how="left", maintain_order="left")["number"]
        # Of some files the log says nothing: they stand for a range after the last one, which always stays.
        self._of_file = numbers.fill_null(distinct.height).to_numpy()
        self._schema, self._name = schema, name
        kind = schema.field(name).type
        self._low, self._high = (distinct[edge].to_arrow().cast(kind) for edge in ("low", "high"))
        self._width = max(1, -(-distinct.height // _QUESTIONS))
        together = distinct.group_by(pl.col("number") // self._width, maintain_order=True)
        groups = together.agg(pl.col("low").first(), pl.col("high").max())
        lows, highs = (groups[edge].to_arrow().cast(kind) for edge in ("low", "high"))
        self._groups = _questions(schema, map(self._between, lows, highs))

    def guarantee(self, file: int) -> ds.Expression:
        """What is true of every row of a file."""
        number = int(self._of_file[file])
        return self._between(self._low[number], self._high[number]) if number < len(self._low) else pc.scalar(True)

    def may_satisfy(self, condition: ds.Expression) -> npt.NDArray[np.bool_]:
        """Whether each file may hold a row for which a condition is true."""
        possible = np.zeros(len(self._low) + 1, dtype=bool)
        for group in _satisfiable(self._groups, condition):
            possible[group * self._width : (group + 1) * self._width] = True
        members = np.flatnonzero(possible[:-1])
        if self._width > 1 and 0 < len(members) <= 2 * _QUESTIONS:
            guarantees = (self._between(self._low[member], self._high[member]) for member in members.tolist())
            possible[:] = False
            possible[members[list(_satisfiable(_questions(self._schema, guarantees), condition))]] = True
        possible[-1] = True
        chosen: npt.NDArray[np.bool_] = possible[self._of_file]
        return chosen

    def _between(self, low: pa.Scalar, high: pa.Scalar) -> ds.Expression:
        field = ds.field(self._name)
        return field == low if low == high else (field >= low) & (field <= high)


def _questions(schema: pa.Schema, guarantees: Iterable[ds.Expression]) -> ds.Dataset:
    """What is true of some rows each, as a dataset of files that do not exist: Arrow chooses of them without looking for them."""
    fragments = [
        _FORMAT.make_fragment(str(number), _NOWHERE, partition_expression=guarantee)
        for number, guarantee in enumerate(guarantees)
    ]
    return ds.FileSystemDataset(fragments, schema, _FORMAT, _NOWHERE)


def _satisfiable(questions: ds.Dataset, condition: ds.Expression) -> Iterator[int]:
    """The numbers of the guarantees under which a condition may be true."""
    return (int(fragment.path) for fragment in questions.get_fragments(condition))
