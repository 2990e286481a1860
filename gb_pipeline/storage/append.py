"""This module adds rows to tables that only grow.

Rows are appended in a commit of their own, or prepared as files that a commit of another table names. Tables with history are
revised in `history`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.market.moments import MICROSECOND
from gb_pipeline.storage.commit import Clock, Draft, commit, wall_clock, with_known_at
from gb_pipeline.storage.table import Table


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
    return rows.sort(list(dict.fromkeys((*dataset.partition_by, *dataset.order))))
