"""Terms over the last so many sessions of a symbol. `window` counts rows, the newest included; null where one is missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import NamedTuple

import polars as pl

from gb_pipeline.errors import ConfigError
from gb_pipeline.research.factors import doubling, windows
from gb_pipeline.research.factors.doubling import OverColumns
from gb_pipeline.research.factors.nodes import Axis, Build, Floats, Node, WindowRows
from gb_pipeline.research.factors.terms import Factor, Filter, Term, at_least

# A recursion that has run for so long has forgotten what it began with but for this part.
_FORGOTTEN = 1e-12


def rolling_mean(term: Term, window: int) -> Factor:
    """Mean; of a filter, the share of sessions at which it held."""
    return over_columns("mean", (term,), window, doubling.means)


def rolling_sum(term: Term, window: int) -> Factor:
    """Sum; of a filter, at how many sessions it held."""
    return over_columns("sum", (term,), window, doubling.sums)


def rolling_std(term: Term, window: int, *, ddof: int = 1) -> Factor:
    """Standard deviation, of a sample by default (`ddof=1`)."""
    return over_columns("std", (term,), window, doubling.standard_deviations(ddof), ddof)


def rolling_min(term: Term, window: int) -> Factor:
    """Smallest number."""
    return over_columns("min", (term,), window, doubling.smallest)


def rolling_max(term: Term, window: int) -> Factor:
    """Largest number."""
    return over_columns("max", (term,), window, doubling.largest)


def rolling_median(term: Term, window: int) -> Factor:
    """Median."""
    return over_windows("median", (term,), window, windows.quantile(0.5))


def rolling_quantile(term: Term, window: int, quantile: float) -> Factor:
    """Quantile, interpolated between neighbours."""
    if not 0 <= quantile <= 1:
        raise ConfigError(f"a quantile of {quantile}", fix="use 0 to 1")
    return over_windows("quantile", (term,), window, windows.quantile(quantile), quantile)


def rolling_skew(term: Term, window: int) -> Factor:
    """Skewness of a sample, corrected for bias as pandas does."""
    return over_rows("skew", term, window, lambda own, n: own.rolling_skew(n, bias=False, min_samples=n))


def rolling_kurtosis(term: Term, window: int) -> Factor:
    """Excess kurtosis of a sample, corrected for bias as pandas does."""
    return over_rows("kurtosis", term, window, lambda own, n: own.rolling_kurtosis(n, bias=False, min_samples=n))


def rolling_rank(term: Term, window: int) -> Factor:
    """Share of the newest number's rank in its window, ties by their average: above 0, at most 1."""
    return over_columns("rank in window", (term,), window, doubling.rank_of_newest) / at_least(window, 1, "rank")


def rolling_argmax(term: Term, window: int) -> Factor:
    """Where in the window the largest number stands: 1 is the oldest."""
    return over_columns("argmax", (term,), window, doubling.place_of_largest)


def rolling_argmin(term: Term, window: int) -> Factor:
    """Where in the window the smallest number stands: 1 is the oldest."""
    return over_columns("argmin", (term,), window, doubling.place_of_smallest)


def rolling_mean_deviation(term: Term, window: int) -> Factor:
    """Mean absolute deviation from the mean."""
    return over_windows("mean deviation", (term,), window, windows.mean_deviation)


def rolling_slope(term: Term, window: int) -> Factor:
    """Slope of the least-squares line through the window, per session."""
    return over_columns("slope", (term,), at_least(window, 2, "slope"), doubling.slopes)


def rolling_r_squared(term: Term, window: int) -> Factor:
    """Share of the variance that the least-squares line through the window explains; null where there is none."""
    count = at_least(window, 2, "r squared")
    spread = rolling_std(term, count, ddof=0)
    squares = (count * count - 1) / 12
    return (rolling_slope(term, count) ** 2 * squares / spread**2).clip(0.0, 1.0)


def rolling_residual(term: Term, window: int) -> Factor:
    """How far the newest number lies above the least-squares line through the window."""
    half = (at_least(window, 2, "residual") - 1) / 2
    return _number(term) - rolling_mean(term, window) - rolling_slope(term, window) * half


def weighted_mean(term: Term, window: int) -> Factor:
    """Mean with weights 1, 2, ... from the oldest to the newest."""
    return rolling_weights(term, tuple(range(1, at_least(window, 1, "weighted mean") + 1)))


def rolling_weights(term: Term, weights: tuple[float, ...]) -> Factor:
    """Mean with weights of one's own, the oldest first."""
    import numpy as np

    total = math.fsum(weights)
    if not weights or not math.isfinite(total) or total == 0:
        raise ConfigError("weights that sum to nothing", fix="use numbers whose sum is not 0")
    shares = np.array(weights, float) / total
    return over_windows("weighted", (term,), len(weights), windows.weighted(shares), *weights)


def rolling_correlation(first: Term, second: Term, window: int) -> Factor:
    """Pearson's correlation of two terms; null where one of them does not vary.

    Example:
        >>> rolling_correlation(Returns(), Returns().of("SPY"), 60)
    """
    return over_columns("pearson", (first, second), at_least(window, 2, "correlation"), doubling.correlations)


def rolling_rank_correlation(first: Term, second: Term, window: int) -> Factor:
    """Spearman's correlation of two terms; null where one of them does not vary."""
    return over_windows("spearman", (first, second), at_least(window, 2, "correlation"), windows.rank_correlation)


def rolling_covariance(first: Term, second: Term, window: int) -> Factor:
    """Covariance of a sample."""
    return over_columns("covariance", (first, second), at_least(window, 2, "covariance"), doubling.covariances)


class Regression(NamedTuple):
    """The least-squares line of a term by another one.

    Attributes:
        slope: per unit of the other one; the beta of returns.
        intercept: where the other one is 0; the alpha.
        r_squared: share of the variance that it explains.
        residual: how far the newest number lies above the line.
    """

    slope: Factor
    intercept: Factor
    r_squared: Factor
    residual: Factor


def linear_regression(term: Term, by: Term, window: int) -> Regression:
    """The least-squares line of a term by another one: another factor, or that of one symbol (`Factor.of`).

    Example:
        >>> linear_regression(Returns(), Returns().of("SPY"), 252).slope
    """
    count = at_least(window, 2, "a regression")
    slope = over_columns("regression slope", (term, by), count, doubling.regression_slopes)
    intercept = rolling_mean(term, count) - slope * rolling_mean(by, count)
    residual = _number(term) - slope * _number(by) - intercept
    return Regression(slope, intercept, rolling_correlation(term, by, count) ** 2, residual)


def recursive_mean(term: Term, window: int, alpha: float) -> Factor:
    """`alpha` times the newest number and `1 - alpha` times the mean before; it begins with the mean of `window` numbers.

    Behind a gap it begins anew. Each stretch of sessions that are computed together is begun so far back that what it begins with
    makes less than 1e-12 of a number.
    """
    count = at_least(window, 1, "a recursive mean")
    if not 0 < alpha <= 1:
        raise ConfigError(f"a recursive mean with alpha {alpha}", fix="use more than 0 and at most 1")
    forgotten = 0 if alpha == 1 else math.ceil(math.log(_FORGOTTEN) / math.log1p(-alpha))

    def build(own: pl.Expr) -> pl.Expr:
        place = pl.int_range(pl.len())
        seeded = (
            pl.when(place == count - 1).then(own.rolling_mean(count, min_samples=count)).when(place >= count).then(own)
        )
        return pl.when(own.is_not_null()).then(seeded.ewm_mean(alpha=alpha, adjust=False, ignore_nulls=True))

    node = _number(term).node
    return Factor(Node("recursive mean", (count, alpha), (node,), Axis.RUN, build, lookback=count + forgotten))


def over_rows(
    name: str, term: Term, window: int, build: Callable[[pl.Expr, int], pl.Expr], *parameters: Hashable
) -> Factor:
    """A term from an expression over the rows of one symbol.

    Args:
        name, parameters: what it is; a term with the same ones is computed once.
        build: from the term's column, in the order of time, and the window.
    """
    count = at_least(window, 1, name)

    def expression(own: pl.Expr) -> pl.Expr:
        return build(own, count)

    made: Build = expression
    node = Node(name, (count, *parameters), (_number(term).node,), Axis.SERIES, made, lookback=count - 1)
    return Factor(node)


def over_columns(
    name: str, terms: tuple[Term, ...], window: int, compute: OverColumns, *parameters: Hashable
) -> Factor:
    """A term from a function of columns that joins windows, as those of `doubling`."""
    count = at_least(window, 1, name)
    inputs = tuple(_number(term).node for term in terms)
    return Factor(Node(name, (count, *parameters), inputs, Axis.COLUMNS, columns=compute, lookback=count - 1))


def over_windows(
    name: str, terms: tuple[Term, ...], window: int, compute: Callable[[WindowRows], Floats], *parameters: Hashable
) -> Factor:
    """A term from a function of arrays of windows."""
    count = at_least(window, 1, name)
    inputs = tuple(_number(term).node for term in terms)
    return Factor(Node(name, (count, *parameters), inputs, Axis.WINDOWS, arrays=compute, lookback=count - 1))


def _number(term: Term) -> Factor:
    """A filter as 0 and 1."""
    if isinstance(term, Filter):
        return Factor(Node("number", (), (term.node,), build=lambda own: own.cast(pl.Float64)))
    if isinstance(term, Factor):
        return term
    raise ConfigError(f"a {type(term).__name__} has no numbers to roll over", fix="use a factor or a filter")
