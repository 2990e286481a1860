"""`gb changes`: what became known after a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gb_pipeline.lake.store import LakeStore
from gb_pipeline_tests.bars import SetClock, changed, day, minutes
from gb_pipeline_tests.cli.console import Gb


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    store = LakeStore.at(tmp_path, clock=SetClock(datetime(2024, 2, 1, tzinfo=UTC)))
    frame = minutes("2024-01-02", 4)
    for content in (frame, changed(frame, 2, close="102.5").head(3)):
        store.write_bars("sim", "BTC-USD", "1m", day("2024-01-02"), content)
    return tmp_path


def test_a_write_is_a_line_and_every_bar_is_in_json(gb: Gb, lake: Path) -> None:
    told = gb("changes", "--since", "2024-02-01T00:00Z", "--lake", lake)
    assert "restated      1  2024-01-02 00:02" in told.out
    assert "withdrawn     1  2024-01-02 00:03" in told.out
    assert "2 changes: 1 restated, 1 withdrawn" in told.err
    [restated, withdrawn] = gb("changes", "BTC-USD", "--since", "0", "-r", "1m", "--json", "--lake", lake).json
    assert (restated["old_close"], restated["new_close"], withdrawn["kind"]) == ("102.75", "102.5", "withdrawn")


def test_nothing_is_said_to_be_so_and_bad_moments_are_usage(gb: Gb, lake: Path) -> None:
    assert "nothing became known then" in gb("changes", "--since", "2030-01-01", "--lake", lake).err
    assert gb("changes", "--lake", lake).code == 2
    assert gb("changes", "--since", "soon", "--lake", lake).code == 2
