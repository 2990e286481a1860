"""Fixtures of everything that asks vendors."""

from __future__ import annotations

import pytest

from gb_pipeline_tests.providers.set_clock import SetClock, install


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """The pace follows a clock that only moves when somebody waits."""
    return install(monkeypatch)
