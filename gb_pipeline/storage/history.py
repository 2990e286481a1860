"""This module writes new versions of rows in a table with history, and supersedes what was current in the same commit.

A row's version is valid from `known_at` until `superseded_at`. Files of current rows that lose some are rewritten without them; the
superseded versions go to files of their own, so that reading the present never meets the past. Which rows differ is decided in
`gb_pipeline.lake`.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from gb_pipeline.market.moments import instant_literal
from gb_pipeline.storage.commit import Draft, with_known_at
from gb_pipeline.storage.dataset import SUPERSEDED_AT, Dataset
from gb_pipeline.storage.reading import FILE, ROW
from gb_pipeline.storage.workers import side_pool

# Called with the whole content of a file that is about to be rewritten; raises where it is not what was recorded of it.
Check = Callable[[pl.DataFrame], None]
# Fewer rows are sorted faster as a whole than partition by partition.
_FEW = 10_000


def revise(
    draft: Draft,
    added: pl.DataFrame,
    replaced: pl.DataFrame,
    files: pl.DataFrame,
    stored: pl.DataFrame,
    *,
    check: Check | None = None,
) -> None:
    """Fill a draft with new versions and what they replace.

    Args:
        added: columns of the content and its evidence, sorted by the dataset's partitions and order.
        replaced: rows of `stored` that end with this commit.
        files: rows of `Snapshot.files` of the draft's base.
        stored: everything that these files hold, as `reading.read(..., with_file=True)` gives it.
        check: sees what is in the files that are going to be rewritten, before they are.

    Raises:
        LakeError: what `check` raises; nothing is committed.
    """
    dataset = draft.table.dataset
    rows = with_known_at(added, draft.stamp, history=True)
    if replaced.is_empty():
        draft.add(rows)
        return
    file_numbers = replaced[FILE].unique().sort()
    affected = files[file_numbers.to_list()]
    affected_rows = stored.filter(pl.col(FILE).is_in(file_numbers.implode()))
    # Nothing is committed before this has answered.
    check_task = side_pool().submit(check, affected_rows) if check is not None else None
    try:
        is_replaced = (
            pl.Series([False], dtype=pl.Boolean()).new_from_index(0, stored.height).scatter(replaced[ROW], True)
        )
        remaining = affected_rows.filter(~is_replaced.gather(affected_rows[ROW]))
        draft.remove(affected)
        columns = [name for name in dataset.schema.names if name in rows.columns]
        draft.add(_sort_rows(dataset, pl.concat([rows.select(columns), remaining.select(columns)])))
        superseded = replaced.with_columns(instant_literal(draft.stamp).alias(SUPERSEDED_AT))
        draft.add(_sort_rows(dataset, superseded.select(columns)), current=False)
    finally:
        if check_task is not None:
            check_task.result()


def _sort_rows(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of partitions and files; rows of one partition are sorted by what is left of the key."""
    partitions, order = list(dataset.partition_by), [name for name in dataset.order if name not in dataset.partition_by]
    if not partitions or rows.height < _FEW:
        return rows.sort([*partitions, *order])
    groups = rows.partition_by(partitions, maintain_order=True)
    return pl.concat([group.sort(order) for group in groups]) if order else rows.sort(partitions)
