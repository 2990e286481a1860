"""This module adds rows to tables that only grow.

Rows are appended in a commit of their own, or prepared as files that a commit of another table names. Tables with history are
revised in `history`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock, with_known_at
from gb_pipeline.storage.table import Table

# So many rows of a partition are looked at by themselves.
_MANY = 1_000


def append(
    table: Table,
    rows: pl.DataFrame,
    *,
    clock: Clock = wall_clock,
    after: datetime | None = None,
    check: Callable[[], None] | None = None,
) -> datetime | None:
    """Add rows in one commit.

    Args:
        rows: columns of the dataset's content.
        after: they become known later than this.
        check: raises where they must not be added. Whatever others commit to the table meanwhile, it has seen.

    Returns:
        The moment they became known; None where there was nothing to add.
    """
    if rows.is_empty():
        return None

    def decide(draft: Draft) -> datetime:
        if check is not None:
            check()
        if after is not None:
            draft.stamp = max(draft.stamp, after + MICROSECOND)
        draft.add(sort_rows(table, with_known_at(rows, draft.stamp, history=False)))
        return draft.stamp

    return commit(table, decide, clock=clock)


def prepare_files(table: Table, rows: pl.DataFrame, stamp: datetime) -> list[dict[str, Any]]:
    """Write rows, in the order of the table's files, as files that no entry of it names yet; their add actions."""
    draft = Draft(table, table.newest(), stamp)
    draft.add(with_known_at(rows, stamp, history=False))
    return draft.write()


def sort_rows(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of the table's files."""
    dataset = table.dataset
    order = [name for name in dataset.order if name not in dataset.partition_by]
    parts = _partitions(rows, dataset.partition_by)
    if parts is None or not order:
        return rows.sort(list(dict.fromkeys((*dataset.partition_by, *order))))
    # What was heard lies in its order already but for a few rows, and to compare is less than to sort.
    return pl.concat([part if _is_sorted(part, order) else part.sort(order) for part in parts])


def _partitions(rows: pl.DataFrame, names: Sequence[str]) -> list[pl.DataFrame] | None:
    """Many rows of few partitions, by partition; None of others."""
    if rows.height < _MANY or not names:
        return None
    parts = rows.partition_by(names, as_dict=True)
    if len(parts) * _MANY > rows.height or any(value is None for key in parts for value in key):
        return None
    return [parts[key] for key in sorted(parts)]


def _is_sorted(rows: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether whole numbers and moments of some columns rise, those of a column where the ones before are equal."""
    undecided: npt.NDArray[np.bool_] | None = None
    for name in names:
        column = rows[name]
        if column.null_count() or not (column.dtype.is_integer() or column.dtype.is_temporal()):
            return False
        numbers = column.to_physical().to_numpy()
        falls, equal = numbers[1:] < numbers[:-1], numbers[1:] == numbers[:-1]
        if undecided is not None:
            falls &= undecided
            equal &= undecided
        if falls.any():
            return False
        if not equal.any():
            return True
        undecided = equal
    return True
