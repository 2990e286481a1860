"""Numbers of the last so many rows, computed for whole columns: windows of 1, 2, 4, ... rows are joined until they make up the one.

Every function takes columns of the same length and a window, and returns a number for each window in them: the first is that of
rows 0 to `window - 1`. What comes out depends on the numbers of the window alone, to the last bit, however the column is cut:
nothing is carried from one window to the next. A sum is made of pairs, and a variance of differences, so that both keep their
digits; where all numbers of a window are the same, its variance is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gb_pipeline.research.factors.nodes import Floats

# Columns and the window to a number for each window.
OverColumns = Callable[[Sequence[Floats], int], Floats]


def sums(columns: Sequence[Floats], window: int) -> Floats:
    """Sums."""
    table, size, offset, rows = columns[0], 1, 0, _windows(columns, window)
    total: Floats | None = None
    while True:
        if window & size:
            part = table[offset : offset + rows]
            total = part if total is None else total + part
            offset += size
        if 2 * size > window:
            break
        table = table[:-size] + table[size:]
        size *= 2
    assert total is not None
    return total


def means(columns: Sequence[Floats], window: int) -> Floats:
    """Means."""
    result: Floats = sums(columns, window) / window
    return result


def largest(columns: Sequence[Floats], window: int) -> Floats:
    """Largest numbers."""
    table, size = columns[0], 1
    while 2 * size <= window:
        table = np.maximum(table[:-size], table[size:])
        size *= 2
    # Two that overlap make up the rest.
    rows, rest = _windows(columns, window), window - size
    return np.maximum(table[:rows], table[rest:]) if rest else table


def smallest(columns: Sequence[Floats], window: int) -> Floats:
    """Smallest numbers."""
    return -largest([-columns[0]], window)


def place_of_largest(columns: Sequence[Floats], window: int) -> Floats:
    """How many rows from the window's beginning its largest number stands, from 1; the first of several."""
    table, size = columns[0], 1
    places = np.ones(len(table), np.int32)
    rows = _windows(columns, window)
    while 2 * size <= window:
        newer = table[size:] > table[:-size]
        places = np.where(newer, places[size:] + size, places[:-size])
        table = np.maximum(table[:-size], table[size:])
        size *= 2
    rest = window - size
    if rest:
        newer = table[rest:] > table[:rows]
        places = np.where(newer, places[rest:] + rest, places[:rows])
    return places.astype(np.float64)


def place_of_smallest(columns: Sequence[Floats], window: int) -> Floats:
    """The same of the smallest number."""
    return place_of_largest([-columns[0]], window)


def rank_of_newest(columns: Sequence[Floats], window: int) -> Floats:
    """Rank of the newest number of each window, from 1, ties by their average."""
    own, rows = columns[0], _windows(columns, window)
    newest = own[window - 1 :]
    # Twice the rank without its 2; small windows are counted in bytes.
    counts: npt.NDArray[Any] = np.zeros(rows, np.uint8 if 2 * window < 256 else np.int32)
    for step in range(window - 1):
        other = own[step : step + rows]
        counts += (other < newest).view(np.uint8)
        counts += (other <= newest).view(np.uint8)
    result: Floats = counts / 2 + 1
    return result


def slopes(columns: Sequence[Floats], window: int) -> Floats:
    """Slopes of the least-squares line through each window, per row."""
    own, rows = columns[0], _windows(columns, window)
    # Of a part: the sum of its numbers, and of each times its distance from the middle.
    total, turn, size, offset = own, np.zeros(len(own)), 1, 0
    result, reference = np.zeros(rows), None
    while True:
        if window & size:
            mean = total[offset : offset + rows] / size
            reference = mean if reference is None else reference
            middle = offset + (size - 1) / 2 - (window - 1) / 2
            result += turn[offset : offset + rows] + (mean - reference) * (middle * size)
            offset += size
        if 2 * size > window:
            break
        turn = turn[:-size] + turn[size:] + (total[size:] - total[:-size]) * (size / 2)
        total = total[:-size] + total[size:]
        size *= 2
    return result / (window * (window * window - 1) / 12)


def deviations(columns: Sequence[Floats], window: int, pairs: Sequence[tuple[int, int]]) -> list[Floats]:
    """For each pair of columns, the sum over each window of the products of their distances from their means."""
    rows, size, offset = _windows(columns, window), 1, 0
    totals = list(columns)
    spreads = [np.zeros(len(columns[0])) for _ in pairs]
    parts: list[tuple[int, list[Floats], list[Floats]]] = []
    while True:
        if window & size:
            cut = slice(offset, offset + rows)
            parts.append((size, [total[cut] / size for total in totals], [spread[cut] for spread in spreads]))
            offset += size
        if 2 * size > window:
            break
        apart = [total[size:] - total[:-size] for total in totals]
        spreads = [
            spread[:-size] + spread[size:] + apart[a] * apart[b] / (2 * size)
            for spread, (a, b) in zip(spreads, pairs, strict=True)
        ]
        totals = [total[:-size] + total[size:] for total in totals]
        size *= 2
    return _join(parts, pairs, window)


def standard_deviations(ddof: int) -> OverColumns:
    """Standard deviations; of a sample with `ddof=1`."""

    def compute(columns: Sequence[Floats], window: int) -> Floats:
        (spread,) = deviations(columns, window, [(0, 0)])
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Floats = np.sqrt(spread / (window - ddof))
        return result

    return compute


def covariances(columns: Sequence[Floats], window: int) -> Floats:
    """Covariances of a sample."""
    result: Floats = deviations(columns, window, [(0, 1)])[0] / (window - 1)
    return result


def correlations(columns: Sequence[Floats], window: int) -> Floats:
    """Pearson's correlations; NaN where one of the columns does not vary."""
    first, both, second = deviations(columns, window, [(0, 0), (0, 1), (1, 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = np.clip(both / (np.sqrt(first) * np.sqrt(second)), -1.0, 1.0)
    return result


def regression_slopes(columns: Sequence[Floats], window: int) -> Floats:
    """Slopes of the least-squares line of the first column by the second one; NaN where the second does not vary."""
    both, second = deviations(columns, window, [(0, 1), (1, 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = both / second
    return result


def _join(
    parts: Sequence[tuple[int, list[Floats], list[Floats]]], pairs: Sequence[tuple[int, int]], window: int
) -> list[Floats]:
    """The spreads of whole windows from those of their parts and from how far the means of these are apart."""
    if len(parts) == 1:
        return parts[0][2]
    # From the first part's mean, so that what never varies has no distance at all.
    apart = [[mean - first for mean, first in zip(means, parts[0][1], strict=True)] for _, means, _ in parts]
    centres = [
        sum(size * own[column] for (size, _, _), own in zip(parts[1:], apart[1:], strict=True)) / window
        for column in range(len(apart[0]))
    ]
    found: list[Floats] = []
    for place, (a, b) in enumerate(pairs):
        whole = sum(spreads[place] for _, _, spreads in parts)
        for (size, _, _), own in zip(parts, apart, strict=True):
            whole = whole + size * (own[a] - centres[a]) * (own[b] - centres[b])
        found.append(np.asarray(whole))
    return found


def _windows(columns: Sequence[Floats], window: int) -> int:
    """How many windows there are."""
    return len(columns[0]) - window + 1
