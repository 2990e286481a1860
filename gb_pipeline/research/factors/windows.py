"""Numbers of the last so many rows of a series that Polars has no expression for, computed from arrays of windows.

Every function takes what `WindowRows` describes, windows without a hole, and may change them. What comes out depends on
the numbers of the window alone, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gb_pipeline.research.factors.nodes import Floats, WindowRows


def position_of_largest(rows: WindowRows) -> Floats:
    """How many rows from the window's beginning its largest number stands, from 1; the first of several."""
    found: Floats = rows.windows[0].argmax(axis=1) + 1.0
    return found


def position_of_smallest(rows: WindowRows) -> Floats:
    """The same of its smallest number."""
    found: Floats = rows.windows[0].argmin(axis=1) + 1.0
    return found


def slope(rows: WindowRows) -> Floats:
    """Slope of the least-squares line through the window, per session."""
    windows = rows.windows[0]
    length = windows.shape[1]
    steps = np.arange(length) - (length - 1) / 2
    result: Floats = np.einsum("ij,j->i", windows, steps / (steps @ steps))
    return result


def regression_slope(rows: WindowRows) -> Floats:
    """Slope of the least-squares line of the first input by the second one; NaN where the second does not vary."""
    y, x = rows.windows[:2]
    steady = _constant(x)
    _centre(y)
    _centre(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = _products(x, y) / _products(x, x)
    result[steady] = np.nan
    return result


def correlation(rows: WindowRows) -> Floats:
    """Pearson's correlation of two inputs; NaN where one of them does not vary."""
    return _pearson(*rows.windows[:2])


def rank_correlation(rows: WindowRows) -> Floats:
    """Spearman's correlation: Pearson's of the ranks, ties by their average."""
    return _pearson(*(_ranks(windows) for windows in rows.windows[:2]))


def mean_deviation(rows: WindowRows) -> Floats:
    """Mean absolute distance from the mean."""
    windows = rows.windows[0]
    _centre(windows)
    result: Floats = np.abs(windows).mean(axis=1)
    return result


def weighted(weights: Floats) -> Callable[[WindowRows], Floats]:
    """The sum of the numbers times weights, the oldest first."""

    def compute(rows: WindowRows) -> Floats:
        result: Floats = np.einsum("ij,j->i", rows.windows[0], weights)
        return result

    return compute


def _pearson(first: Floats, second: Floats) -> Floats:
    steady = _constant(first) | _constant(second)
    _centre(first)
    _centre(second)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = _products(first, second) / np.sqrt(_products(first, first) * _products(second, second))
    result[steady] = np.nan
    return np.clip(result, -1.0, 1.0)


def _constant(windows: Floats) -> npt.NDArray[np.bool_]:
    """Where a window has one number only: what rounding makes of its variance means nothing."""
    steady: npt.NDArray[np.bool_] = windows[:, 0] == windows[:, -1]
    # Few windows end as they begin, and only those are looked at whole.
    suspects = np.flatnonzero(steady)
    steady[suspects] = (windows[suspects] == windows[suspects, :1]).all(axis=1)
    return steady


def _centre(windows: Floats) -> None:
    """Subtract the mean of each window, in place: a portion of windows is laid out for one function."""
    windows -= windows.mean(axis=1, keepdims=True)


def _products(first: Floats, second: Floats) -> Floats:
    result: Floats = np.einsum("ij,ij->i", first, second)
    return result


def _ranks(windows: Floats) -> Floats:
    """Ranks within each row, ties by their average."""
    order = np.argsort(windows, axis=1, kind="stable")
    ordered = np.take_along_axis(windows, order, axis=1)
    length = windows.shape[1]
    places = np.arange(length)
    begins = np.ones(windows.shape, bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(windows.shape, bool)
    ends[:, :-1] = begins[:, 1:]
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, length - 1)[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(windows.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    return ranks
