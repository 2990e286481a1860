"""Adding rows to a table that only grows.

An append may be prepared before it is committed: its file is written first, named in another table's entry, and taken over
afterwards, so that a crash in between is finished by whoever comes next. Does not belong here: tables with history (`history`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit, from_microseconds, stamped, wall_clock
from gb_pipeline.storage.snapshot import index_of
from gb_pipeline.storage.table import Table


def append(table: Table, rows: pl.DataFrame, *, clock: Clock = wall_clock) -> datetime | None:
    """Add rows in one commit.

    Args:
        rows: columns of the dataset's content.

    Returns:
        The moment they became known; None where there was nothing to add.
    """
    if rows.is_empty():
        return None

    def decide(draft: Draft) -> datetime:
        draft.add(_sorted(table, stamped(rows, draft.stamp, history=False)))
        return draft.stamp

    return commit(table, decide, clock=clock)


def prepare(table: Table, rows: pl.DataFrame, stamp: datetime) -> list[dict[str, Any]]:
    """Write rows as files that no entry names yet; their add actions, for `take_over`."""
    draft = Draft(table, table.newest(), stamp)
    draft.add(_sorted(table, stamped(rows, stamp, history=False)))
    return draft.write()


def take_over(
    table: Table,
    actions: Sequence[Mapping[str, Any]],
    stamp: datetime,
    mark: tuple[str, int],
    *,
    clock: Clock = wall_clock,
) -> None:
    """Commit prepared files, once: the mark says up to which version of another table that has been done.

    Rows of a moment that is no longer later than all others get a new one.
    """

    def decide(draft: Draft) -> None:
        name, version = mark
        if draft.base.transactions.get(name, -1) >= version:
            return
        draft.mark(name, version)
        if from_microseconds(draft.base.clock) < stamp:
            draft.stamp = stamp
            for action in actions:
                draft.add_file(action)
            return
        files = index_of(table.dataset, actions)
        rows = reading.read(table.storage, table.dataset, files, table.dataset.columns.names)
        draft.add(_sorted(table, stamped(rows, draft.stamp, history=False)))

    commit(table, decide, clock=clock)


def _sorted(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    dataset = table.dataset
    return rows.sort(list(dict.fromkeys((*dataset.partition_by, *dataset.order))))
