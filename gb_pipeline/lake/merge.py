"""Deciding what new rows mean for what is stored.

Belongs here: comparing an answer with the current rows of its window; pure frames in, pure frames out. Does not belong here: how
versions are written (`storage.history`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from gb_pipeline.market.moments import instant_literal
from gb_pipeline.market.schema import CONTENT

KEY = ["symbol", "timestamp"]
_NAMES = ["symbol", "session", "timestamp"]
_BAR = [*_NAMES, *CONTENT]


@dataclass(frozen=True, slots=True)
class Merge:
    """What new rows mean for a window.

    Attributes:
        added: new versions: `symbol, session, timestamp`, content, `withdrawn`, `fetched_at`; sorted by symbol and timestamp.
        replaced: the stored rows that end with them, all columns of `stored`.
        restated: `symbol, session, timestamp` of stored bars whose content changed.
        withdrawn: the same of stored bars that the vendor has returned no more since this answer.
        late: rows of the answer that differ from what was stored by a later question: they change nothing.
        unchanged: how many rows were stored already with this content.
    """

    added: pl.DataFrame
    replaced: pl.DataFrame
    restated: pl.DataFrame
    withdrawn: pl.DataFrame
    late: pl.DataFrame
    unchanged: int

    @property
    def nothing(self) -> bool:
        """Whether everything is stored as it came."""
        return self.added.is_empty()


def merge(new: pl.DataFrame, stored: pl.DataFrame, refused: pl.DataFrame, asked: pl.DataFrame) -> Merge:
    """Compare an answer with what is stored.

    Args:
        new: good rows, `symbol, session, timestamp` and content in stored types, sorted by symbol and timestamp.
        stored: current rows of the same symbols and window: the same columns, `withdrawn`, `fetched_at`, and any others.
        refused: `symbol, timestamp` of rows that the vendor sent and that were refused: it has not withdrawn these.
        asked: `symbol`, `fetched_at`: when the vendor was asked about each symbol.
    """
    arriving = _with_moment(new.select(_BAR), asked).with_columns(pl.lit(None, pl.Boolean).alias("withdrawn"))
    arriving = arriving.select(*_BAR, "withdrawn", "fetched_at")
    if stored.is_empty():
        nothing = new.select(_NAMES).clear()
        return Merge(arriving, stored, nothing, nothing, new.select(_BAR).clear(), 0)
    before = stored.select(
        *KEY,
        *(pl.col(name).alias(f"old {name}") for name in CONTENT),
        pl.col("withdrawn").fill_null(False).alias("was withdrawn"),
        pl.col("fetched_at").alias("old fetch"),
    )
    joined = arriving.join(before, on=KEY, how="left", maintain_order="left")
    alike = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"old {name}")) for name in CONTENT)
    there = pl.col("old fetch").is_not_null()
    marked = joined.with_columns(
        there.alias("there"),
        (there & alike & ~pl.col("was withdrawn")).alias("same"),
        alike.alias("alike"),
    )
    late = pl.col("there") & ~pl.col("same") & (pl.col("fetched_at") < pl.col("old fetch"))
    marked = marked.with_columns(late.alias("late"))
    changed = marked.filter(~pl.col("same") & ~pl.col("late"))
    absent = _with_moment(stored.join(new.select(KEY), on=KEY, how="anti").rename({"fetched_at": "old fetch"}), asked)
    gone = absent.filter(~pl.col("withdrawn").fill_null(False) & (pl.col("fetched_at") >= pl.col("old fetch"))).join(
        refused.select(KEY), on=KEY, how="anti"
    )
    added = changed.select(arriving.columns)
    if gone.height:
        marked_gone = gone.with_columns(pl.lit(True).alias("withdrawn")).select(arriving.columns)
        added = pl.concat([added, marked_gone]).sort(KEY)
    ended = pl.concat([changed.filter("there").select(KEY), gone.select(KEY)])
    return Merge(
        added=added,
        replaced=stored.join(ended, on=KEY, how="semi", maintain_order="left"),
        restated=changed.filter(pl.col("there") & ~pl.col("alike")).select(_NAMES),
        withdrawn=gone.select(_NAMES).sort(KEY),
        late=marked.filter("late").select(_BAR),
        unchanged=int(marked["same"].sum()),
    )


def _with_moment(rows: pl.DataFrame, asked: pl.DataFrame) -> pl.DataFrame:
    moments = asked["fetched_at"]
    if moments.n_unique() == 1:
        return rows.with_columns(instant_literal(moments[0]).alias("fetched_at"))
    return rows.join(asked, on="symbol", how="left", maintain_order="left")
