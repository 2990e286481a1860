"""Which instrument stands under a symbol on a day, from rows that say so: the arithmetic of intervals, on frames.

Rows are those of the dataset `instruments`, half-open intervals of days. Which rows a lake holds is known to `lake.instruments`.

What is said under the source `own` holds for every source: whoever runs the lake knows better. Of each instrument the first one
who says anything is believed and nobody else: `own`, then the source that is asked about, then the others in their order. What
other sources say of crypto and of prediction markets does not count, as each venue has instruments of its own under the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from gb_pipeline.market.symbol import AssetClass

OWN = "own"
# The first day of an interval whose beginning nobody says.
EARLIEST_DAY = date(1900, 1, 1)
LATEST_DAY = date(9999, 12, 31)
_OF_ONE_VENUE = (AssetClass.CRYPTO.value, AssetClass.PREDICTION.value)
RANK = "rank"


def until() -> pl.Expr:
    """The end of an interval, far away where it is open."""
    return pl.col("valid_until").fill_null(LATEST_DAY)


def stands_on(day: date) -> pl.Expr:
    """Whether an interval holds a day."""
    return (pl.col("valid_from") <= day) & (until() > day)


def find_overlaps(rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs of rows of one source that cannot both hold: two instruments under one symbol on one day, or the other way round.

    Args:
        rows: `source, symbol, instrument, valid_from, valid_until, name`.

    Returns:
        `source`, `by` (`symbol` or `instrument`), and of both rows `symbol, instrument, valid_from, valid_until, name`, of the
        second with `other_` before the name.

    Example:
        >>> find_overlaps(rows).height
        0
    """
    pairs = [_overlaps_by(rows, name) for name in ("symbol", "instrument")]
    return pl.concat(pairs)


def _overlaps_by(rows: pl.DataFrame, by: str) -> pl.DataFrame:
    names = ["symbol", "instrument", "valid_from", "valid_until", "name"]
    ordered = rows.select("source", *names).sort("source", by, "valid_from", "valid_until", nulls_last=True)
    # The row before whose end is the latest so far.
    group = ["source", by]
    ends = pl.col("valid_until").fill_null(LATEST_DAY)
    before = ordered.with_columns(ends.alias("end"), pl.int_range(pl.len()).alias("place")).with_columns(
        latest=pl.col("end").cum_max().shift().over(group, order_by="place")
    )
    clashing = before.filter(pl.col("valid_from") < pl.col("latest"))
    pairs = clashing.join(
        before.select(*group, *(pl.col(name).alias(f"other_{name}") for name in names), other_end="end", other="place"),
        on=group,
    ).filter(pl.col("other") < pl.col("place"), pl.col("other_end") == pl.col("latest"))
    pairs = pairs.unique("place", keep="last", maintain_order=True)
    return pairs.select("source", pl.lit(by).alias("by"), *names, *(f"other_{name}" for name in names))


def believed(rows: pl.DataFrame, source: str | None, order: Sequence[str] = ()) -> pl.DataFrame:
    """The rows that hold for a source, with `rank` (Int32): the less, the more it counts.

    Args:
        rows: of all sources.
        source: that is asked about; None for any.
        order: of the sources, the one that is asked first at the beginning; others follow by name.

    Returns:
        Of each instrument the rows of one source only.
    """
    others = [*order, *sorted(set(rows["source"].unique()) - {*order})]
    ranks = {name: number + 2 for number, name in enumerate(others)}
    ranks |= {OWN: 0} | ({source: 1} if source is not None else {})
    ranked = rows.with_columns(
        pl.col("source").replace_strict(list(ranks), list(ranks.values()), return_dtype=pl.Int32).alias(RANK)
    )
    if source is not None:
        ranked = ranked.filter((pl.col(RANK) <= 1) | ~pl.col("asset_class").is_in(_OF_ONE_VENUE))
    return ranked.filter(pl.col(RANK) == pl.col(RANK).min().over("instrument"))


def standing(rows: pl.DataFrame, code: str, day: date) -> pl.DataFrame:
    """The rows of a symbol on a day that count most; several instruments only where sources disagree.

    Args:
        rows: from `believed`.
    """
    found = rows.filter(pl.col("symbol") == code, stands_on(day))
    first = found.filter(pl.col(RANK) == pl.col(RANK).min())
    # Below the source that is asked about nobody has precedence: who is asked first for bars need not know names better.
    return first if first.height and first[RANK].min() in {0, 1} else found
