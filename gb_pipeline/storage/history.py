"""New versions of rows in a table with history: what was current is superseded in the same commit.

A row's version holds from `known_at` until `superseded_at`. Files of current rows that lose some are rewritten without them; the
superseded versions go to files of their own, so that reading the present never meets the past. Does not belong here: deciding
which rows differ (`gb_pipeline.lake`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Draft, stamped
from gb_pipeline.storage.dataset import SUPERSEDED_AT
from gb_pipeline.storage.reading import FILE

# Called with the whole content of a file that is about to be rewritten; raises where it is not what was recorded of it.
Check = Callable[[pl.DataFrame], None]


def revise(
    draft: Draft, new: pl.DataFrame, replaced: pl.DataFrame, files: pl.DataFrame, *, check: Check | None = None
) -> None:
    """Fill a draft with new versions and what they replace.

    Args:
        new: columns of the content and its evidence, sorted by the dataset's order.
        replaced: current rows that end with this commit, all columns of the schema and `file`, their file in `files`.
        files: rows of `Snapshot.files` of the draft's base.
        check: sees every file before it is rewritten.

    Raises:
        DamagedFile: a file that would have to be rewritten is damaged; nothing is committed.
    """
    dataset = draft.table.dataset
    rows = stamped(new, draft.stamp, history=True)
    if replaced.is_empty():
        draft.add(rows)
        return
    affected = files[replaced[FILE].unique().sort().to_list()]
    whole = reading.read(draft.table.storage, dataset, affected)
    if check is not None:
        check(whole)
    kept = whole.join(replaced.select(dataset.key), on=list(dataset.key), how="anti")
    draft.remove(affected)
    columns = [name for name in dataset.schema.names if name in rows.columns]
    draft.add(
        pl.concat([rows.select(columns), kept.select(columns)]).sort(_sorting(dataset.order, dataset.partition_by))
    )
    ended = replaced.with_columns(pl.lit(draft.stamp).cast(pl.Datetime("us", "UTC")).alias(SUPERSEDED_AT))
    draft.add(ended.select(columns).sort(_sorting(dataset.order, dataset.partition_by)), current=False)


def _sorting(order: Sequence[str], partitions: Sequence[str]) -> list[str]:
    return list(dict.fromkeys((*partitions, *order)))
