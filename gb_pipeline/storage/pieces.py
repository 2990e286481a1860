"""Cutting rows into one piece for each partition, all of them at once.

Belongs here: where one partition ends and the next begins, the period of each, and the statistics of each piece for the log. Rows
are turned into Arrow once and cut without a copy: hundreds of small pieces would otherwise cost more than what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from gb_pipeline.storage import parquet
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset, Period
from gb_pipeline.storage.snapshot import statistic

_NUMBER = "piece of the rows"
# Rows of a piece that are worth a conversion of their own.
_LARGE = 8_192


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one partition that become one file.

    Attributes:
        partition: value by hive partition, as text.
        rows: in the file schema; large ones are turned into Arrow by who writes them, several at once.
        statistics: as the log has them.
    """

    partition: Mapping[str, str]
    rows: pl.DataFrame | pa.Table
    statistics: Mapping[str, Any]

    def table(self, dataset: Dataset) -> pa.Table:
        """The rows as Arrow, in the file schema."""
        return parquet.to_arrow(self.rows, dataset.file_schema) if isinstance(self.rows, pl.DataFrame) else self.rows


def pieces(dataset: Dataset, rows: pl.DataFrame, marked: Mapping[str, str]) -> list[Piece]:
    """One piece for each partition, in the order in which they come first; rows keep their order within it.

    Args:
        rows: all columns of the file schema, and the content's partition columns.
        marked: partitions that are the same for all rows.
    """
    names = [name for name in dataset.partitions if name != IS_CURRENT]
    starts = _starts(dataset, rows)
    values = _values(dataset, rows, starts)
    if len(set(values)) < len(values):
        # A partition that comes again is brought together first.
        keys = [pl.col(name) for name in dataset.partition_by]
        if dataset.period is not None and dataset.time is not None:
            keys.append(_period_number(dataset.time, dataset.period).alias(" period"))
        rows = rows.sort(keys, maintain_order=True)
        starts = _starts(dataset, rows)
        values = _values(dataset, rows, starts)
    ends = [*starts[1:], rows.height]
    whole: pl.DataFrame | pa.Table = rows
    if rows.height < _LARGE * len(starts):
        whole = parquet.to_arrow(rows, dataset.file_schema)
    statistics = _statistics(dataset, rows, starts)
    return [
        Piece({**dict(zip(names, value, strict=True)), **marked}, whole.slice(start, end - start), said)
        for value, start, end, said in zip(values, starts, ends, statistics, strict=True)
    ]


def piece_of(dataset: Dataset, partition: Mapping[str, str], rows: pl.DataFrame) -> Piece:
    """Rows that are known to be of one partition, in the file schema."""
    return Piece(partition, rows, _statistics(dataset, rows, [0])[0])


def _starts(dataset: Dataset, rows: pl.DataFrame) -> list[int]:
    marks = [pl.col(name).ne_missing(pl.col(name).shift()) for name in dataset.partition_by]
    if dataset.period is not None and dataset.time is not None:
        marks.append(_period_number(dataset.time, dataset.period).diff().fill_null(1) != 0)
    if not marks:
        return [0]
    changes = rows.select(pl.any_horizontal(marks)).to_series()
    return [0, *(place for place in changes.arg_true().to_list() if place)]


def _values(dataset: Dataset, rows: pl.DataFrame, starts: list[int]) -> list[tuple[str, ...]]:
    columns = [rows[name].gather(starts).to_list() for name in dataset.partition_by]
    if dataset.period is not None and dataset.time is not None:
        columns.append(rows[dataset.time].gather(starts).dt.strftime(dataset.period).to_list())
    if not columns:
        return [()]
    return [tuple(map(str, value)) for value in zip(*columns, strict=True)]


def _period_number(column: str, period: Period) -> pl.Expr:
    """Integers that differ between neighbouring periods."""
    stamp = pl.col(column).dt
    if period is Period.DAY:
        return stamp.epoch("d").cast(pl.Int64)
    years = stamp.year().cast(pl.Int64)
    return years if period is Period.YEAR else years * 12 + stamp.month()


def _statistics(dataset: Dataset, rows: pl.DataFrame, starts: list[int]) -> list[dict[str, Any]]:
    wanted = [pl.len().alias("rows")]
    for name in dataset.indexed:
        wanted += [
            pl.col(name).min().alias(f"min.{name}"),
            pl.col(name).max().alias(f"max.{name}"),
            pl.col(name).null_count().alias(f"null.{name}"),
        ]
    if len(starts) == 1:
        found = rows.select(wanted)
    else:
        first = pl.Series([0], dtype=pl.UInt32()).new_from_index(0, rows.height)
        numbers = first.scatter(starts[1:], 1).cum_sum().alias(_NUMBER)
        found = rows.with_columns(numbers).group_by(_NUMBER, maintain_order=True).agg(wanted)
    return [
        {
            "numRecords": row["rows"],
            "minValues": _edges(dataset, row, "min"),
            "maxValues": _edges(dataset, row, "max"),
            "nullCount": {name: row[f"null.{name}"] for name in dataset.indexed},
        }
        for row in found.iter_rows(named=True)
    ]


def _edges(dataset: Dataset, row: Mapping[str, Any], edge: str) -> dict[str, Any]:
    values = ((name, row[f"{edge}.{name}"]) for name in dataset.indexed)
    return {name: statistic(value) for name, value in values if value is not None}
