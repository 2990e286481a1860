"""This module lets an entry of bars name rows of a small table: such a row holds from that entry on, or not at all.

The row is appended first. An entry names it as an application transaction, whose number is the entry's moment, so that a row and
what it says of bars come into force together, in one entry, wherever a process is killed.
"""

from __future__ import annotations

import polars as pl

from gb_pipeline.market.moments import INSTANT, from_microseconds, microseconds
from gb_pipeline.storage.commit import Draft
from gb_pipeline.storage.snapshot import Snapshot

APPLIED_AT = "applied_at"


def apply(draft: Draft, kind: str, row_id: str) -> None:
    """Let an entry name a row; its stamp must not change any more."""
    draft.set_transaction(f"{kind} {row_id}", microseconds(draft.stamp))


def read_applied(snapshot: Snapshot, kind: str, column: str) -> pl.DataFrame:
    """The rows that entries of a table name: their ids in `column`, and `applied_at`, since when they hold."""
    prefix = f"{kind} "
    found = {
        name.removeprefix(prefix): from_microseconds(number)
        for name, number in snapshot.transactions.items()
        if name.startswith(prefix)
    }
    return pl.DataFrame(
        {column: list(found), APPLIED_AT: list(found.values())}, schema={column: pl.String(), APPLIED_AT: INSTANT}
    )
