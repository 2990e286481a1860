"""Another tool's files come into a lake in a bucket as into a folder, whatever machine goes on with it."""

from __future__ import annotations

import pytest

from gb_pipeline.errors import LakeError
from gb_pipeline.formats.importing import import_bars
from gb_pipeline.reading.lake import Lake
from gb_pipeline_tests.formats.conftest import bundle, own_bundle

__all__ = ["bundle", "own_bundle"]


def test_another_machine_goes_on_with_an_import(machine, bundle, own_bundle):
    first = import_bars(machine("a"), "zipline", bundle, source="bundle", symbols=["AAPL", "DELL"])
    assert (first.total.stored, first.total.quarantined) == (5243, 20)
    second = import_bars(machine("b"), "zipline", bundle, source="bundle", symbols=["DELL", "AMD"])
    assert (second.total.unchanged, second.total.stored) == (2474, 2769)
    (own_bundle / "more.txt").write_text("other files", encoding="utf-8")
    with pytest.raises(LakeError, match="not of this import"):
        import_bars(machine("c"), "zipline", own_bundle, source="bundle")
    assert Lake(machine("c")).bars("AMD", "1d", source="bundle").height == 2769
