"""Another content under the same log: every checksum holds, and only the ledger, or a pin, knows better."""

from __future__ import annotations

import polars as pl

from gb_pipeline.lake.store import LakeStore
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Draft, commit


def exchange(store: LakeStore, change: pl.Expr | None = None, *, where: pl.Expr, table: str = "bars_1m") -> int:
    """Rewrite the rows of a table for which something holds, every version of them, or drop them; how many those were."""
    opened = store.tables[table]
    touched = 0

    def decide(draft: Draft) -> None:
        nonlocal touched
        draft.advances_clock = False
        for current in (True, False):
            files = draft.base.files.filter(pl.col("is_current") == current)
            rows = reading.read(store.storage, opened.dataset, files).drop("period", "is_current")
            touched += rows.filter(where).height
            draft.remove(files)
            kept = rows.filter(~where)
            changed = rows.filter(where).clear() if change is None else rows.filter(where).with_columns(change)
            draft.add(pl.concat([kept, changed]).sort("source", "symbol", "timestamp"), current=current)

    commit(opened, decide)
    return touched
