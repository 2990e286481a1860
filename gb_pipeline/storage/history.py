"""This module writes new versions of rows in a table with history, and supersedes what was current in the same commit.

A row's version is valid from `known_at` until `superseded_at`. Files of current rows that lose some are rewritten without them; the
superseded versions go to files of their own, so that reading the present never meets the past. Which rows differ is decided in
`gb_pipeline.lake`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from gb_pipeline.market.moments import instant_literal
from gb_pipeline.quality.runs import row_runs
from gb_pipeline.storage.commit import Draft, with_known_at
from gb_pipeline.storage.dataset import SUPERSEDED_AT, Dataset
from gb_pipeline.storage.reading import FILE, ROW
from gb_pipeline.storage.workers import side_pool

# Called with the whole content of a file that is about to be rewritten; raises where it is not what was recorded of it.
Check = Callable[[pl.DataFrame], None]
# Fewer rows are sorted faster as a whole than partition by partition.
_FEW = 10_000
# More stretches than this are copied together.
_MANY = 32


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
        replaced: rows of `stored` that end with this commit; where `superseded_at` is filled in, they ended then.
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
    file_numbers = replaced[FILE].unique().sort().to_list()
    affected = files[file_numbers]
    is_kept = np.ones(stored.height, dtype=bool)
    is_kept[replaced[ROW].to_numpy()] = False
    ends = np.cumsum(files["rows"].to_numpy())
    spans = [(int(ends[number] - files["rows"][number]), int(ends[number])) for number in file_numbers]
    affected_rows = pl.concat([stored.slice(start, end - start) for start, end in spans])
    # Nothing is committed before this has answered.
    check_task = side_pool().submit(check, affected_rows) if check is not None else None
    try:
        draft.remove(affected)
        columns = [name for name in dataset.schema.names if name in rows.columns]
        blocks = [block for start, end in spans for block in _kept_blocks(stored[columns], is_kept, start, end)]
        starts, counts = row_runs(rows, dataset.partition_by)
        blocks += [
            rows[columns].slice(start, count) for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
        ]
        if blocks:
            draft.add(_in_order(dataset, blocks))
        superseded = replaced.with_columns(pl.col(SUPERSEDED_AT).fill_null(instant_literal(draft.stamp)))
        draft.add(_sort_rows(dataset, superseded.select(columns)), current=False)
    finally:
        if check_task is not None:
            check_task.result()


def _kept_blocks(rows: pl.DataFrame, is_kept: npt.NDArray[np.bool_], start: int, end: int) -> list[pl.DataFrame]:
    """What is kept of a file: the stretches between what is replaced, which are not copied, or one frame if these are many."""
    edges = np.flatnonzero(np.diff(is_kept[start:end], prepend=False, append=False))
    if len(edges) > _MANY:
        return [rows.slice(start, end - start).filter(pl.Series(is_kept[start:end]))]
    return [
        rows.slice(start + first, last - first)
        for first, last in zip(*(edges[at::2].tolist() for at in (0, 1)), strict=True)
    ]


def _in_order(dataset: Dataset, blocks: list[pl.DataFrame]) -> pl.DataFrame:
    """Blocks that are sorted as one frame that is; it need not be sorted where each begins after another ends, as days do."""
    keys = [*dict.fromkeys([*dataset.partition_by, *dataset.order])]
    ranges = [(block[keys].row(0), block[keys].row(-1), number) for number, block in enumerate(blocks)]
    if any(None in edge for first, last, _ in ranges for edge in (first, last)):
        return _sort_rows(dataset, pl.concat(blocks))
    ranges.sort()
    rows = pl.concat([blocks[number] for *_, number in ranges])
    overlaps = any(before[1] > after[0] for before, after in pairwise(ranges))
    return _sort_rows(dataset, rows) if overlaps else rows


def _sort_rows(dataset: Dataset, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of partitions and files; rows of one partition are sorted by what is left of the key."""
    partitions, order = list(dataset.partition_by), [name for name in dataset.order if name not in dataset.partition_by]
    if not partitions or rows.height < _FEW:
        return rows.sort([*partitions, *order])
    groups = rows.partition_by(partitions, maintain_order=True)
    return pl.concat([group.sort(order) for group in groups]) if order else rows.sort(partitions)
