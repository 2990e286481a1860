"""Laws: what holds for whatever happens, tried on a few examples in every run and on many in the long suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

MANY = 500
_ALLOWED = [HealthCheck.too_slow, HealthCheck.data_too_large]


def law(*strategies: SearchStrategy[Any], few: int, many: int = MANY) -> Callable[[Callable[..., None]], Any]:
    """Make a test of a function that takes one value of each strategy and asserts what must hold of them."""

    def decorate(check: Callable[..., None]) -> Any:
        @pytest.mark.parametrize("examples", [few, pytest.param(many, marks=pytest.mark.long)])
        def test(examples: int) -> None:
            settings(max_examples=examples, deadline=None, suppress_health_check=_ALLOWED)(given(*strategies)(check))()

        test.__doc__, test.tried = check.__doc__, given(*strategies)(check)  # type: ignore[attr-defined]
        return test

    return decorate
