"""This module rewrites the files of a table without some of their rows, which a purge of bars or streams takes away."""

from __future__ import annotations

import numpy as np
import polars as pl

from gb_pipeline.errors import LakeError
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import IS_CURRENT, PERIOD, Dataset
from gb_pipeline.storage.table import Tables

# A column of the number of a row's file; quarantined rows have one called `row`.
_NUMBER = "number of the file"


def rewrite(tables: Tables, dataset: Dataset, source: str, symbol: str | None, gone: pl.Expr, clock: Clock) -> None:
    """Rewrite the files of a small table that hold such rows without them, in one commit.

    Args:
        symbol: of the rows; None for all of the source.
        gone: whether a row goes; where it is null it stays.
    """

    def decide(draft: Draft) -> None:
        holding = {"symbol": [symbol]} if symbol is not None and "symbol" in dataset.statistics else None
        leave_out(draft, draft.base.select({"source": source}, holding=holding), gone)

    commit(tables[dataset.name], decide, clock=clock)


def leave_out(draft: Draft, files: pl.DataFrame, gone: pl.Expr) -> int:
    """Let a draft rewrite those of some files that hold such rows without them; how many these are."""
    dataset = draft.base.dataset
    rows = reading.read(draft.table.storage, dataset, files)
    number = pl.Series(_NUMBER, np.repeat(np.arange(files.height), files["rows"].to_numpy()), pl.Int64())
    rows = rows.hstack([number]).with_columns(gone.fill_null(False).alias("is_gone"))
    count = int(rows["is_gone"].sum())
    if not count:
        return 0
    numbers = rows.filter("is_gone")[_NUMBER].unique().sort()
    affected = files[numbers.to_list()]
    kept = rows.filter(pl.col(_NUMBER).is_in(numbers.implode()), ~pl.col("is_gone"))
    if kept.height + count != int(affected["rows"].sum()):
        raise LakeError(
            f"{int(affected['rows'].sum()):,} rows of {dataset.name} are {kept.height:,} to keep and {count:,} to remove",
            fix="nothing was changed; this is a bug of gb_pipeline: please report it with these numbers",
        )
    draft.remove(affected)
    order = list(dict.fromkeys((*dataset.partition_by, *dataset.order)))
    columns = [column for column in dataset.schema.names if column not in {PERIOD, IS_CURRENT}]
    for is_current in (True, False) if dataset.history else (True,):
        part = kept.filter(pl.col(IS_CURRENT) == is_current) if dataset.history else kept
        draft.add(part.sort(order).select(columns), current=is_current)
    draft.write()
    return count
