"""Operations over all symbols of one session, as expressions. Rows come in the order of symbols, so that ties have one order.

Each takes the numbers of a session (or of a group in it), null where a symbol takes no part, and leaves null there.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl


def rank(method: str, *, descending: bool) -> Callable[[pl.Expr], pl.Expr]:
    """Places from 1."""
    return lambda own: own.rank(method, descending=descending).cast(pl.Float64)  # type: ignore[arg-type]


def demean(own: pl.Expr) -> pl.Expr:
    """Distances from the mean."""
    return own - own.mean()


def zscore(own: pl.Expr) -> pl.Expr:
    """Distances from the mean in standard deviations of the population."""
    return pl.when(own.max() > own.min()).then((own - own.mean()) / own.std(ddof=0))


def winsorize(low: float, high: float) -> Callable[[pl.Expr], pl.Expr]:
    """Numbers limited to those at two percentiles, by place."""

    def build(own: pl.Expr) -> pl.Expr:
        count = own.count()
        places = own.rank("ordinal")
        few, many = (count * low).floor(), count - (count * (1 - high)).floor()
        smallest = own.filter(places > few).min()
        largest = own.filter(places <= many).max()
        return own.clip(smallest, largest)

    return build


def quantiles(bins: int) -> Callable[[pl.Expr], pl.Expr]:
    """The bin of each number, by its share of places."""
    return lambda own: ((own.rank("average") - 0.5) / own.count() * bins).floor().clip(0, bins - 1).cast(pl.Int32)


def percentile_between(low: float, high: float) -> Callable[[pl.Expr], pl.Expr]:
    """Whether each number lies between two percentiles."""
    return lambda own: own.is_between(own.quantile(low, "linear"), own.quantile(high, "linear"))
