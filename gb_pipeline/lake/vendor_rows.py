"""This module decides what a vendor's whole answer means for the stored rows of a table with history. Nothing here reads or writes.

A row that the vendor changed gets a new version, and one that it no longer returns gets a version that says `withdrawn`. An answer
that was fetched before a stored row never replaces it. `fundamentals` and `listings` are kept like this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from gb_pipeline.quality.fundamentals import Validated
from gb_pipeline.storage.dataset import IS_CURRENT, PERIOD, SUPERSEDED_AT, Dataset

NEW, RESTATED, UNCHANGED, LATE, WITHDRAWN = "new", "restated", "unchanged", "late", "withdrawn"
STORED = "_stored"
# Of a row: what became of it.
CHANGE = "change"


@dataclass(frozen=True)
class Comparison:
    """What differs.

    Attributes:
        sent: the answer's good rows with `change` (`new`, `restated`, `unchanged` or `late`), and the columns of the stored version
            of each under the same names with the suffix `_stored`, null where there is none.
        gone: stored rows that the vendor no longer returns.
    """

    sent: pl.DataFrame
    gone: pl.DataFrame

    @property
    def late(self) -> pl.DataFrame:
        """Rows that differ from what a later request brought."""
        return self.sent.filter(pl.col(CHANGE) == LATE)

    @property
    def changed(self) -> pl.DataFrame:
        """Rows that are new or restated."""
        return self.sent.filter(pl.col(CHANGE).is_in([NEW, RESTATED]))

    def counts(self) -> pl.DataFrame:
        """`symbol, change, len`: how many rows of each symbol became what."""
        gone = self.gone.select("symbol", pl.lit(WITHDRAWN).alias(CHANGE))
        return pl.concat([self.sent.select("symbol", CHANGE), gone]).group_by("symbol", CHANGE).len()


def compare(
    dataset: Dataset,
    key: Sequence[str],
    good: pl.DataFrame,
    stored: pl.DataFrame,
    validation: Validated,
    *,
    derived: Sequence[str] = (),
    covered: pl.Series,
) -> Comparison:
    """Compare an answer with what is stored.

    Args:
        dataset: the table.
        key: of a row, without the source.
        good: the answer's rows, with `fetched_at`.
        stored: current rows of what was asked for.
        validation: of the answer: of a row that was refused nobody knows whether it is gone.
        derived: columns that the lake adds to the content itself.
        covered: for each stored row whether the answer speaks of it: true where its absence means that it is gone.
    """
    own = {"withdrawn", *derived}
    content = [name for name in dataset.content if name not in own]
    beside = stored.select(
        *key, *(pl.col(name).alias(name + STORED) for name in (*content, *sorted(own), "fetched_at"))
    )
    sent = good.join(beside, on=list(key), how="left", nulls_equal=True, maintain_order="left")
    is_stored = pl.col("fetched_at" + STORED).is_not_null()
    same = is_stored & ~pl.col("withdrawn" + STORED).fill_null(False)
    for name in content:
        same = same & pl.col(name).eq_missing(pl.col(name + STORED))
    overtaken = (pl.col("fetched_at" + STORED) > pl.col("fetched_at")).fill_null(False)
    change = (
        pl.when(same).then(pl.lit(UNCHANGED)).when(overtaken).then(pl.lit(LATE))
        .when(is_stored).then(pl.lit(RESTATED)).otherwise(pl.lit(NEW))
    )  # fmt: skip
    asked = good.group_by("symbol").agg(pl.col("fetched_at").first().alias("asked_at"))
    gone = stored.filter(covered, ~pl.col("withdrawn").fill_null(False))
    gone = gone.join(good, on=list(key), how="anti", nulls_equal=True, maintain_order="left")
    gone = gone.join(validation.refused, on=list(key), how="anti", nulls_equal=True, maintain_order="left")
    gone = gone.join(asked, on="symbol", how="left", maintain_order="left")
    gone = gone.filter(pl.col("asked_at").is_null() | (pl.col("fetched_at") <= pl.col("asked_at")))
    return Comparison(sent.with_columns(change.alias(CHANGE)), gone.drop("asked_at"))


def added_rows(dataset: Dataset, source: str, changed: pl.DataFrame, gone: pl.DataFrame) -> pl.DataFrame:
    """The new versions, in the table's columns and order.

    Args:
        changed: rows that are new or restated, with every column of the content but `withdrawn`.
        gone: rows that are withdrawn, with the `fetched_at` of the answer that lacks them.
    """
    names = dataset.columns.names
    types = pl.Schema({name: dataset.polars[name] for name in names})
    new = changed.with_columns(pl.lit(source).alias("source"), pl.lit(False).alias("withdrawn")).select(names)
    ended = gone.with_columns(pl.lit(True).alias("withdrawn")).select(names)
    rows = pl.concat([new.cast(types), ended.cast(types)])
    return rows.sort(list(dict.fromkeys([*dataset.partition_by, *dataset.order])))


def select_versions(rows: pl.DataFrame, *, withdrawn: bool) -> pl.DataFrame:
    """Rows without those that were withdrawn, unless they are wanted; `withdrawn` is never null then."""
    rows = rows.with_columns(pl.col("withdrawn").fill_null(False))
    return rows if withdrawn else rows.filter(~pl.col("withdrawn"))


def stored_schema(dataset: Dataset) -> pl.Schema:
    """Columns of a valid row; when it ended is not among them."""
    hidden = {SUPERSEDED_AT, IS_CURRENT, PERIOD}
    return pl.Schema({name: kind for name, kind in dataset.polars.items() if name not in hidden})
