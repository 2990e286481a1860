"""This module keeps tables of rolls that a user made, as they are now and were at any moment. Rules are in `market.rolls`."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from gb_pipeline.lake.datasets import ROLLS
from gb_pipeline.market import rolls
from gb_pipeline.storage import reading
from gb_pipeline.storage.commit import Clock, Draft, commit
from gb_pipeline.storage.dataset import KNOWN_AT, SUPERSEDED_AT
from gb_pipeline.storage.history import revise
from gb_pipeline.storage.table import Tables

_NAMES = ROLLS.columns.names
ROLLS_STORED = pl.Schema({name: ROLLS.polars[name] for name in (*_NAMES, KNOWN_AT)})


def read(
    tables: Tables, root: str | None = None, source: str | None = None, as_of: datetime | None = None
) -> pl.DataFrame:
    """The rolls that hold now, or were known at a moment; columns of `ROLLS_STORED`, sorted by source, root and session."""
    files = tables.newest(ROLLS.name).select({} if source is None else {"source": source})
    rows = reading.read(tables.storage, ROLLS, files)
    valid = pl.col(SUPERSEDED_AT).is_null() if as_of is None else reading.valid_at(as_of, history=True)
    rows = rows.filter(valid)
    if root is not None:
        rows = rows.filter(pl.col("symbol") == root)
    return rows.select(ROLLS_STORED.names()).sort("source", "symbol", "session")


def write_rolls(tables: Tables, source: str, root: str, table: pl.DataFrame, clock: Clock) -> int:
    """See `LakeStore.write_rolls`."""
    checked = rolls.check_rolls(table)
    after = checked.with_columns(pl.lit(source).alias("source"), pl.lit(root).alias("symbol")).select(_NAMES)

    def decide(draft: Draft) -> int:
        files = reading.current_files(draft.base, draft.base.select({"source": source}))
        file_rows = reading.read(draft.table.storage, ROLLS, files, with_file=True)
        stored = file_rows.filter(pl.col("symbol") == root)
        added = after.join(stored, on=_NAMES, how="anti")
        replaced = stored.join(after, on=_NAMES, how="anti")
        if added.height or replaced.height:
            revise(draft, added.sort("session"), replaced, files, file_rows)
        return added.height + replaced.join(added, on="session", how="anti").height

    return commit(tables[ROLLS.name], decide, clock=clock)
