"""This module cuts rows into one piece for each partition, with the statistics of each piece for the log.

Rows are turned into Arrow once and cut without a copy: hundreds of small pieces would otherwise cost more than what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from gb_pipeline.quality.runs import Integers, expand, mark_changes, whole_numbers
from gb_pipeline.storage import parquet
from gb_pipeline.storage.dataset import IS_CURRENT, Dataset, Period
from gb_pipeline.storage.snapshot import format_statistic

_MICROSECONDS_A_DAY = 86_400_000_000
# From this many values on, one call gathers all of them.
_PLACES = 16
# Rows of a piece that are worth a conversion of their own.
_LARGE = 8_192
# Of a partition's columns, as text.
_Values = tuple[str, ...]


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


def cut_into_pieces(dataset: Dataset, rows: pl.DataFrame, fixed: Mapping[str, str]) -> list[Piece]:
    """One piece for each partition, in the order in which they come first; rows keep their order within it.

    Args:
        rows: all columns of the file schema, and the content's partition columns.
        fixed: partitions that are the same for all rows.
    """
    names = [name for name in dataset.partitions if name != IS_CURRENT]
    starts = _starts(dataset, rows)
    values = _partition_values(dataset, rows, starts)
    if len(set(values)) < len(values):
        rows, starts, values = _bring_together(rows, starts, values)
    ends = [*starts[1:], rows.height]
    content: pl.DataFrame | pa.Table = rows
    if rows.height < _LARGE * len(starts):
        content = parquet.to_arrow(rows, dataset.file_schema)
    statistics = _statistics(dataset, rows, starts)
    return [
        Piece({**dict(zip(names, value, strict=True)), **fixed}, content.slice(start, end - start), piece_statistics)
        for value, start, end, piece_statistics in zip(values, starts, ends, statistics, strict=True)
    ]


def single_piece(dataset: Dataset, partition: Mapping[str, str], rows: pl.DataFrame) -> Piece:
    """Rows that are known to be of one partition, in the file schema."""
    return Piece(partition, rows, _statistics(dataset, rows, [0])[0])


def _bring_together(
    rows: pl.DataFrame, starts: list[int], values: list[_Values]
) -> tuple[pl.DataFrame, list[int], list[_Values]]:
    """Rows of which each partition comes once; the runs of one follow each other in the order that they had."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    partition = np.array([numbers[value] for value in values])
    order = np.argsort(partition, kind="stable")
    lengths = np.diff(starts, append=rows.height)
    heights = np.bincount(partition, weights=lengths).astype(np.int64)
    moved = rows[expand(np.array(starts)[order], lengths[order])]
    return moved, (np.cumsum(heights) - heights).tolist(), list(numbers)


def _starts(dataset: Dataset, rows: pl.DataFrame) -> list[int]:
    if rows.height < 2:
        return [0]
    changes = np.zeros(rows.height, dtype=bool)
    for name in dataset.partition_by:
        mark_changes(changes, rows[name])
    if dataset.period is not None and dataset.time is not None:
        changes[1:][_period_changes(rows[dataset.time], dataset.period)] = True
    return [0, *np.flatnonzero(changes).tolist()]


def _period_changes(stamps: pl.Series, period: Period) -> Integers:
    """Rows before which another period begins; only where the day changes its period is looked up."""
    days = _days(stamps)
    changes: Integers = np.flatnonzero(days[1:] != days[:-1])
    if period is Period.DAY or not len(changes):
        return changes
    unit = "Y" if period is Period.YEAR else "M"
    before, after = (
        days[rows].astype("datetime64[D]").astype(f"datetime64[{unit}]") for rows in (changes, changes + 1)
    )
    is_first: npt.NDArray[np.bool_] = before != after
    return changes[is_first]


def _days(stamps: pl.Series) -> Integers:
    """Days since 1970 of timestamps in microseconds, or of dates."""
    numbers = whole_numbers(stamps)
    return numbers if stamps.dtype == pl.Date else np.floor_divide(numbers, _MICROSECONDS_A_DAY)


def _partition_values(dataset: Dataset, rows: pl.DataFrame, starts: list[int]) -> list[_Values]:
    columns = [_values_at(rows[name], starts) for name in dataset.partition_by]
    if dataset.period is not None and dataset.time is not None:
        columns.append([dataset.period.name_of(moment) for moment in _values_at(rows[dataset.time], starts)])
    if not columns:
        return [()]
    return [tuple(map(str, value)) for value in zip(*columns, strict=True)]


def _values_at(column: pl.Series, places: list[int]) -> list[Any]:
    """The values at some places; a few are taken one by one, which takes less than a call for all of them."""
    return [column[place] for place in places] if len(places) < _PLACES else column.gather(places).to_list()


def _statistics(dataset: Dataset, rows: pl.DataFrame, starts: list[int]) -> list[dict[str, Any]]:
    """Of each piece, as the log has them."""
    columns = {name: rows[name] for name in dataset.indexed}
    statistics = []
    for start, end in zip(starts, [*starts[1:], rows.height], strict=True):
        parts = {name: column.slice(start, end - start) for name, column in columns.items()}
        low, high = ({name: edge(part) for name, part in parts.items()} for edge in (pl.Series.min, pl.Series.max))
        statistics.append(
            {
                "numRecords": end - start,
                "minValues": {name: format_statistic(value) for name, value in low.items() if value is not None},
                "maxValues": {name: format_statistic(value) for name, value in high.items() if value is not None},
                "nullCount": {name: part.null_count() for name, part in parts.items()},
            }
        )
    return statistics
