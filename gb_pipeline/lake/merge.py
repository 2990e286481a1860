"""Deciding what a window becomes.

Belongs here: comparing new rows with stored ones; pure frames in, pure frames out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from gb_pipeline.market.schema import CONTENT

KEY = ["symbol", "timestamp"]


@dataclass(frozen=True, slots=True)
class Merge:
    """What new rows mean for a window.

    Attributes:
        rows: every row the window is to hold: `symbol, session, timestamp`, content, `known_at`; sorted.
        touched: `symbol, session, timestamp` of rows that are new or have new content; empty means no commit.
        restated: `symbol, session, timestamp`, new content, `old_<content>`, `old_known_at`.
        withdrawn: `symbol, session, timestamp` of stored rows that the vendor no longer sends; they are in `rows`.
        unchanged: how many rows were stored already with this content.
    """

    rows: pl.DataFrame
    touched: pl.DataFrame
    restated: pl.DataFrame
    withdrawn: pl.DataFrame
    unchanged: int


def merge(new: pl.DataFrame, stored: pl.DataFrame, refused: pl.DataFrame, known_at: datetime) -> Merge:
    """Compare.

    Args:
        new: good rows, `symbol, session, timestamp` and content in stored types.
        stored: rows of the same symbols and window: the same columns and `known_at`.
        refused: `symbol, timestamp` of rows that the vendor sent and that were refused: it has not withdrawn these.
        known_at: the moment for everything that is new.
    """
    names = ["symbol", "session", "timestamp"]
    moment = pl.lit(known_at).cast(pl.Datetime("us", "UTC"))
    if stored.is_empty():
        rows = new.with_columns(moment.alias("known_at"))
        nothing = stored.select(names)
        return Merge(rows, new.select(names), _restated(new, stored).clear(), nothing, 0)
    joined = _restated(new, stored, how="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in CONTENT)
    there = pl.col("old_known_at").is_not_null()
    marked = joined.with_columns(there.alias("there"), (there & same).alias("same"))
    kept = stored.join(new, on=KEY, how="anti")
    arrived = marked.with_columns(pl.when("same").then("old_known_at").otherwise(moment).alias("known_at"))
    columns = [*names, *CONTENT, "known_at"]
    rows = pl.concat([arrived.select(columns), kept.select(columns)]).sort(KEY)
    return Merge(
        rows=rows,
        touched=marked.filter(~pl.col("same")).select(names),
        restated=marked.filter(pl.col("there") & ~pl.col("same")).drop("there", "same"),
        withdrawn=kept.join(refused, on=KEY, how="anti").select(names),
        unchanged=int(marked["same"].sum()),
    )


def _restated(new: pl.DataFrame, stored: pl.DataFrame, how: str = "inner") -> pl.DataFrame:
    old = stored.select(
        *KEY, *(pl.col(name).alias(f"old_{name}") for name in CONTENT), pl.col("known_at").alias("old_known_at")
    )
    return new.join(old, on=KEY, how=how, maintain_order="left")  # type: ignore[arg-type]
