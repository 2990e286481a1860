"""Numbers over windows that are made of joined halves are those of the windows themselves, wherever a column is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.research.factors import doubling
from gb_pipeline.research.factors.nodes import Floats

# Few different numbers, so that windows have ties, and numbers that are all the same; far from 0 as prices are.
NUMBERS = st.lists(st.sampled_from([-1.5, 99.5, 100.0, 100.25, 100.5, 1e6 / 3]), min_size=1, max_size=90)
ONE = {
    "sums": (doubling.sums, lambda own: own.sum()),
    "means": (doubling.means, lambda own: own.mean()),
    "largest": (doubling.largest, lambda own: own.max()),
    "smallest": (doubling.smallest, lambda own: own.min()),
    "place of largest": (doubling.place_of_largest, lambda own: own.argmax() + 1),
    "place of smallest": (doubling.place_of_smallest, lambda own: own.argmin() + 1),
    "rank": (doubling.rank_of_newest, lambda own: (own < own[-1]).sum() + ((own == own[-1]).sum() + 1) / 2),
    "std": (doubling.standard_deviations(0), lambda own: own.std() if np.ptp(own) else 0.0),
    "slope": (doubling.slopes, lambda own: np.polyfit(np.arange(len(own)), own, 1)[0] if len(own) > 1 else np.nan),
}
EXACT = {"largest", "smallest", "place of largest", "place of smallest", "rank"}


@pytest.mark.parametrize("name", ONE)
@given(NUMBERS, st.integers(1, 70))
def test_each_window_has_its_number(name: str, numbers: list[float], window: int) -> None:
    own = np.array(numbers)
    window = min(window, len(own)) if name != "slope" else max(2, min(window, len(own)))
    if window > len(own):
        return
    compute, by_hand = ONE[name]
    expected = [by_hand(part) for part in np.lib.stride_tricks.sliding_window_view(own, window)]
    tolerance = 0.0 if name in EXACT else 1e-9
    np.testing.assert_allclose(compute([own], window), expected, rtol=tolerance, atol=tolerance * 1e3)


@given(NUMBERS, st.integers(2, 70), st.randoms(use_true_random=False))
def test_two_columns_together(numbers: list[float], window: int, random: object) -> None:
    first = np.array(numbers)
    second = first.copy()
    random.shuffle(second)  # type: ignore[attr-defined]
    if window > len(first):
        return
    views = [np.lib.stride_tricks.sliding_window_view(own, window) for own in (first, second)]
    together = doubling.correlations([first, second], window)
    slopes, apart = doubling.regression_slopes([first, second], window), doubling.covariances([first, second], window)
    for place, (a, b) in enumerate(zip(*views, strict=True)):
        np.testing.assert_allclose(apart[place], np.cov(a, b)[0, 1], rtol=1e-9, atol=1e-3)
        if not np.ptp(b):
            assert np.isnan(slopes[place])
            assert np.isnan(together[place])
        else:
            np.testing.assert_allclose(slopes[place], np.cov(a, b)[0, 1] / b.var(ddof=1), rtol=1e-7, atol=1e-9)
            if np.ptp(a):
                np.testing.assert_allclose(together[place], np.corrcoef(a, b)[0, 1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ONE)
@given(NUMBERS, st.integers(2, 33), st.integers(0, 40))
def test_a_number_depends_on_its_window_alone_to_the_last_bit(
    name: str, numbers: list[float], window: int, begin: int
) -> None:
    own = np.array(numbers)
    begin = min(begin, len(own))
    if window > len(own) - begin:
        return
    compute = ONE[name][0]
    other: Floats = np.concatenate((np.full(begin, 1e300), own[begin:]))
    with np.errstate(over="ignore", invalid="ignore"):
        whole, cut, beside = compute([own], window), compute([own[begin:]], window), compute([other], window)
    assert whole[begin:].tobytes() == cut.tobytes() == beside[begin:].tobytes()


@given(st.floats(-1e9, 1e9), st.integers(2, 100))
def test_what_never_varies_has_no_variance_and_no_slope(number: float, window: int) -> None:
    own = np.full(window, number)
    assert doubling.standard_deviations(1)([own], window)[0] == 0
    assert doubling.slopes([own], window)[0] == 0
    assert np.isnan(doubling.correlations([own, np.arange(float(window))], window)[0])
