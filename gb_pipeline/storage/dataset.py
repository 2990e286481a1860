"""This module defines a dataset: one declaration of everything that storage has to know about a table.

A declaration has the schema, the key, partitions, the order within a file, statistics in the log and the period of a file.
Storage, catalog, compaction and verification work from it. The datasets themselves are declared in `gb_pipeline.lake`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property

import polars as pl
import pyarrow as pa

from gb_pipeline.errors import LakeError

TIMESTAMP = pa.timestamp("us", tz="UTC")
KNOWN_AT, SUPERSEDED_AT, IS_CURRENT, PERIOD = "known_at", "superseded_at", "is_current", "period"


class Period(StrEnum):
    """How much time the files of one partition cover."""

    DAY = "%Y-%m-%d"
    MONTH = "%Y-%m"
    YEAR = "%Y"

    def name_of(self, moment: date) -> str:
        """What the partition of a moment is called. `strftime` writes years before 1000 with fewer digits, and is not used.

        Example:
            >>> Period.MONTH.name_of(date(2024, 2, 29))
            '2024-02'
        """
        return moment.isoformat()[: _DIGITS[self]]


_DIGITS = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}


@dataclass(frozen=True)
class Dataset:
    """One table of a lake.

    Attributes:
        name: of the table and its folder.
        columns: Arrow fields of the content, partition columns of the content included (`source`, `symbol`).
        key: what tells rows apart at one moment; for a table with history, versions of one row share it.
        partition_by: hive partitions taken from the content, such as `source, symbol`.
        order: how rows lie within a file.
        statistics: columns whose minimum and maximum stand in the log, for pruning.
        time: the column that `period` is taken from; None for a table without periods.
        period: how much time one partition covers.
        history: whether rows have versions (`known_at`, `superseded_at`, `is_current`); else the table only grows.
        evidence: columns about how a row came here, which make no new version of it.
        repeated: columns of numbers of which the same come again and again, though far apart, as the levels of a book.
        distinct: columns of text of which hardly any comes twice.

    Example:
        >>> notes = Dataset("notes", pa.schema([pa.field("symbol", pa.string()), pa.field("text", pa.string())]), ("symbol",))
        >>> notes.schema.names
        ['symbol', 'text', 'known_at']
    """

    name: str
    columns: pa.Schema
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    time: str | None = None
    period: Period | None = None
    history: bool = False
    evidence: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    distinct: tuple[str, ...] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """Every column of the table: the content, the moments of a row, and the partitions that storage derives."""
        added = [_field(KNOWN_AT, TIMESTAMP, "when this lake first held this content", nullable=False)]
        if self.history:
            added.append(_field(SUPERSEDED_AT, TIMESTAMP, "when newer content took its place; null while current"))
        if self.period is not None:
            added.append(_field(PERIOD, pa.string(), "hive partition: the stretch of time of the file", nullable=False))
        if self.history:
            added.append(
                _field(IS_CURRENT, pa.bool_(), "hive partition: whether this is the newest version", nullable=False)
            )
        return pa.schema([*self.columns, *added])

    @cached_property
    def partitions(self) -> tuple[str, ...]:
        """All hive partitions, in the order of the folders."""
        derived = [PERIOD] if self.period is not None else []
        return (*self.partition_by, *derived, *([IS_CURRENT] if self.history else []))

    @cached_property
    def file_schema(self) -> pa.Schema:
        """The columns that are in the files: partitions stand in the log instead."""
        return pa.schema([field for field in self.schema if field.name not in self.partitions])

    @cached_property
    def indexed(self) -> tuple[str, ...]:
        """Columns with minimum and maximum in the log."""
        moments = (KNOWN_AT, *((SUPERSEDED_AT,) if self.history else ()))
        return tuple(name for name in dict.fromkeys((*self.statistics, *moments)) if name not in self.partitions)

    @cached_property
    def content(self) -> tuple[str, ...]:
        """The columns that make two versions of a row differ."""
        return tuple(name for name in self.columns.names if name not in (*self.key, *self.evidence))

    @cached_property
    def optional(self) -> dict[str, pl.DataType]:
        """The columns of the files that may be null, with their types."""
        types = self.polars
        return {field.name: types[field.name] for field in self.file_schema if field.nullable}

    @cached_property
    def no_rows(self) -> pl.DataFrame:
        """Every column, and no row."""
        return pl.DataFrame(pa.Table.from_batches([], schema=self.schema))

    @cached_property
    def no_files(self) -> pl.DataFrame:
        """Every column of `Snapshot.files`, and no file."""
        types = self.polars
        edges = {f"{edge}.{name}": types[name] for name in self.indexed for edge in ("min", "max")}
        partitions = {name: types[name] for name in self.partitions}
        return pl.DataFrame(schema={"path": pl.String(), "size": pl.Int64(), "rows": pl.Int64(), **partitions, **edges})

    @cached_property
    def polars(self) -> pl.Schema:
        """The schema in Polars' types."""
        return self.no_rows.schema


class Datasets:
    """The datasets that a lake knows, by name."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        """Every name once."""
        self._by_name = {dataset.name: dataset for dataset in datasets}

    def __iter__(self) -> Iterator[Dataset]:
        """In the order of declaration."""
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Dataset:
        """The dataset of that name.

        Raises:
            LakeError: there is none.
        """
        if name not in self._by_name:
            raise LakeError(f"a lake has no table {name!r}", fix=f"use one of {', '.join(self._by_name)}")
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a dataset of that name."""
        return name in self._by_name

    def __add__(self, more: Iterable[Dataset]) -> Datasets:
        """These and others; a later one of the same name takes the place of an earlier one."""
        return Datasets([*self, *more])


def _field(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"comment": meaning})
