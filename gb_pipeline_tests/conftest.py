"""Fixtures that every area uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Machines are noisy, so no example has a deadline; where nobody watches, the examples are the same every time.
settings.register_profile("project", deadline=None, max_examples=40, derandomize=os.environ.get("CI") == "true")
settings.load_profile("project")

_REPOSITORY = Path(__file__).resolve().parents[1]


def _absent(reason: str) -> None:
    """Skip, or fail where the machine promised to have everything (`GB_REQUIRE_SERVICES=1`)."""
    if os.environ.get("GB_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} (GB_REQUIRE_SERVICES=1)")
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays in one process, unless it says how it can be parted; so do all tests that share the one running Dagster.

    First, because pytest-xdist looks at the marks in a hook of the same name: later ones part a file test by test.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is not None:
            continue
        group = "e2e" if item.path.parent.name == "e2e" else str(item.path.relative_to(_REPOSITORY))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def market_data() -> Callable[[str], Path]:
    """`market_data("sessions/xnys.csv")`: a file or folder of real market data, read where it lies.

    The collection is not part of the repository; `GB_MARKET_DATA` names its folder, `../shared/market-data` by default.
    """
    root = Path(os.environ.get("GB_MARKET_DATA") or _REPOSITORY.parent / "shared" / "market-data")

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            _absent(f"no real market data at {path}: set GB_MARKET_DATA to the folder that holds {relative}")
        return path

    return find
