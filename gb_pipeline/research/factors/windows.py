"""Numbers of the last so many rows of a series that Polars has no expression for, computed from arrays of windows.

Every function takes what `WindowRows` describes, windows without a hole, and may change them. What comes out depends on
the numbers of the window alone, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gb_pipeline.research.factors.nodes import Floats, WindowRows


def quantile(share: float) -> Callable[[WindowRows], Floats]:
    """The quantile of each window, interpolated between neighbours."""

    def compute(rows: WindowRows) -> Floats:
        windows = rows.windows[0]
        windows.sort(axis=1)
        place = share * (windows.shape[1] - 1)
        below = math.floor(place)
        above = min(below + 1, windows.shape[1] - 1)
        result: Floats = windows[:, below] + (windows[:, above] - windows[:, below]) * (place - below)
        return result

    return compute


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
