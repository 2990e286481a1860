"""A lake to import into, and the one real bundle of zipline."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gb_pipeline import Lake

BUNDLE = "zipline-bundle/test/2016-12-13T19;59;34.153449"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake", create=True)


@pytest.fixture
def bundle(market_data: Callable[[str], Path]) -> Path:
    """Nobody writes it."""
    return market_data(BUNDLE)


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy, copy_function=shutil.copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy
